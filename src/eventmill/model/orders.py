"""Built-in commands of workflows: what operators and events ask of one, wherever it lives.

They travel as every command does, under names that no user's handler can have; the engine turns them
into what happens to the workflow (`engine.workflows`).
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from eventmill.model.handler import Handler
from eventmill.model.transition import Order

ARRIVED: Final = "$arrived"
"""What it waits for has happened."""

OUTCOME: Final = "$outcome"
"""An attempt of a step has ended. Never leaves the node that ran it."""

DUE: Final = "$due"
"""Type of the command of a workflow's timers, which no journal sees: `runtime.workflows` acts on them."""


def _arrived(self: Any, number: int, event: msgspec.Raw) -> None:
    """Give a workflow the event that it waits for."""


def _order(self: Any) -> None:
    """Do what an operator wants."""


def _made(function: Any, name: str) -> Handler[Any, Any]:
    handler: Handler[Any, Any] = Handler(function)
    handler.name = name
    handler.resolve()
    return handler


BUILT_IN: Final = {ARRIVED: _made(_arrived, ARRIVED)} | {
    f"${order}": _made(_order, f"${order}") for order in Order
}
"""Those that others may send, by name."""

LOCAL: Final = frozenset({OUTCOME, DUE})
"""Those that only the node itself gives to its turns."""
