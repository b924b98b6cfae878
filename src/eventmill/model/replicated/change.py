"""Changes: what an operation of a replicated type returns. Nothing happens until a command returns it.

A change is applied later than it is made, one after the other, so two changes of one command never
take the same dot. What it needs of the user's values is encoded when it is made: applying it cannot
fail.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import msgspec

from eventmill.model.replicated.causal import Path, Writer

notes: ContextVar[list[Change] | None] = ContextVar("eventmill_changes", default=None)
"""In development and tests, the changes that were made by the handler that runs."""


class Change(msgspec.Struct, eq=False, gc=False):
    """A change of one replicated value, to be returned with `self.update(…)`."""

    function: Callable[..., object]
    """Called with a writer, the path and the arguments."""
    path: Path
    arguments: tuple[Any, ...] = ()
    size: int = 0
    """Bytes of the values that it brings."""

    def __post_init__(self) -> None:
        made = notes.get()
        if made is not None:
            made.append(self)

    def __repr__(self) -> str:
        return f"<Change {self.function.__name__.strip('_')} of {'.'.join(self.path)}>"


def deletion() -> Change:
    """Return the change that deletes an entity. Nothing ever removes it; no field has its name."""
    return Change(Writer.put, ("",), ((),))
