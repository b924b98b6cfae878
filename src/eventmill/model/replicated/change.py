"""Changes: what an operation of a replicated type returns. Nothing happens until a command returns it.

A change is applied later than it is made, one after the other, so two changes of one command never
take the same dot. What it needs of the user's values is encoded when it is made: applying it cannot
fail.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from eventmill.model.replicated.causal import Path

notes: ContextVar[list[Change] | None] = ContextVar("eventmill_changes", default=None)
"""In development and tests, the changes that were made by the handler that runs."""


class Change:
    """A change of one replicated value, to be returned with `self.update(…)`."""

    __slots__ = ("arguments", "function", "path", "size")

    def __init__(
        self, function: Callable[..., None], path: Path, *arguments: Any, size: int = 0
    ) -> None:
        self.function = function
        self.path = path
        self.arguments = arguments
        self.size = size
        """Bytes of the values that it brings."""
        made = notes.get()
        if made is not None:
            made.append(self)

    def __repr__(self) -> str:
        return f"<Change {self.function.__name__.strip('_')} of {'.'.join(self.path)}>"
