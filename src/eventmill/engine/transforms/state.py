"""The state of one key of a transform in memory, and what every stage does with it. Pure.

A stage takes events in the order of their key and gives results. What it does depends on the key's
events alone (their own times, their order, when they were taken), never on a clock, on how a batch is
cut, or on other keys: so a replay gives the same results, on any number of shards.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

from eventmill.model.entry import Entry

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)
EVER: Final = 1 << 62
"""Later than all times."""


class State:
    """What all stages keep of a key."""

    __slots__ = ("due", "generation", "seen")

    def __init__(self, generation: int) -> None:
        self.generation = generation
        """Which beginning of its shard it belongs to: a reset begins anew."""
        self.seen = 0
        """When its last event was taken."""
        self.due = 0
        """When its timer fires; 0: it has none."""


class Stage(Protocol):
    """What a transform does with the events of a key."""

    def new(self, generation: int) -> Any:
        """Return the state of a key that has had no event."""
        ...

    def take(
        self, state: Any, key: str, side: int, time: int, value: Any, entry: Entry
    ) -> list[Any] | None:
        """Take an event, change the state, return results; None for an event that is late.

        Parameters: `side` is 1 for the right input of a join, else 0; `time` is when it happened;
        `value` is what the steps made of it.
        """
        ...

    def close(self, state: Any, key: str) -> list[Any]:
        """End what is open, as if the watermark had passed it; return results."""
        ...

    def is_open(self, state: Any) -> bool:
        """Whether there is something to close."""
        ...

    def encode(self, state: Any) -> bytes:
        """Return the state as JSON.

        Raises `HandlerFailed` for a state that would not be read back as it is.
        """
        ...

    def decode(self, stored: str, generation: int) -> Any:
        """Return the state that `encode` made.

        Raises `HandlerFailed` if another definition made it.
        """
        ...


def moment(time: int) -> datetime:
    """Return a time as users see it."""
    return EPOCH + time * MICROSECOND


def microseconds(span: timedelta) -> int:
    """Return a span as a number."""
    return span // MICROSECOND
