"""Built-in commands: what the platform, operators and events ask of an entity, wherever it lives.

They travel as every command does, under names that no user's handler can have. `runtime.turns` ends
entities; the engine turns the others into what happens to a workflow (`engine.workflows`).
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from eventmill.model.handler import Handler
from eventmill.model.transition import Order

EXPIRE: Final = "$expire"
"""Delete the entity unless it changed since the timer was set."""

PURGE: Final = "$purge"
"""Remove everything about a deleted entity."""

ARRIVED: Final = "$arrived"
"""What it waits for has happened."""

ORPHANED: Final = "$orphaned"
"""The workflow that started it as its child has ended: so does it, unless it has, or is being undone."""

OUTCOME: Final = "$outcome"
"""An attempt of a step has ended. Never leaves the node that ran it."""

DUE: Final = "$due"
"""Type of the command of a workflow's timers, which no journal sees: `runtime.workflows` acts on them."""


def _end(self: Any, sequence: int) -> None:
    """End an entity that had this sequence when its timer was set."""


def _arrived(self: Any, number: int, event: msgspec.Raw, position: int = 0) -> None:
    """Give a workflow the event that it waits for."""


def _order(self: Any) -> None:
    """Do what an operator, or the end of its parent, wants."""


def _made(function: Any, name: str) -> Handler[Any, Any]:
    handler: Handler[Any, Any] = Handler(function)
    handler.name = name
    handler.resolve()
    return handler


OF_ENTITIES: Final = {name: _made(_end, name) for name in (EXPIRE, PURGE)}
"""Those of every entity, by name."""

OF_WORKFLOWS: Final = (
    OF_ENTITIES
    | {ARRIVED: _made(_arrived, ARRIVED)}
    | {name: _made(_order, name) for name in (ORPHANED, *(f"${order}" for order in Order))}
)
"""Those of a workflow."""

LOCAL: Final = frozenset({OUTCOME, DUE})
"""Those that only the node itself gives to its turns."""
