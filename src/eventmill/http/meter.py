"""Counting requests: plain numbers in dicts, cheap enough for the path of every command.

`http.metrics` reads them when somebody asks. Names come from the service's definition only, so the
number of series is bounded.
"""

from __future__ import annotations

from typing import Final

from eventmill.errors import EventmillError

BUCKETS: Final = 26
"""Bucket `i` counts what took less than 2^i microseconds; the last one, everything from 17 s on."""

_LAST: Final = BUCKETS - 1


class Timing:
    """Durations of one handler's answers."""

    __slots__ = ("buckets", "seconds")

    def __init__(self) -> None:
        self.buckets = [0] * BUCKETS
        self.seconds = 0.0


class Meter:
    """Everything that the front counts."""

    def __init__(self) -> None:
        self.timings: dict[tuple[str, str], Timing] = {}
        """By component and handler: answered requests."""
        self.failures: dict[tuple[str, str, str], int] = {}
        """By component, handler and kind of error."""
        self.refusals: dict[str, int] = {}
        """By kind of error: requests that reached no handler."""
        self.published: dict[str, list[int]] = {}
        """By topic: events accepted, and duplicates."""

    def answered(self, component: str, name: str, seconds: float) -> None:
        """Count an answer of a handler."""
        timing = self.timings.get((component, name))
        if timing is None:
            timing = self.timings[component, name] = Timing()
        timing.seconds += seconds
        timing.buckets[min(int(seconds * 1e6).bit_length(), _LAST)] += 1

    def failed(self, component: str, name: str, error: EventmillError) -> None:
        """Count an error that a handler answered with."""
        key = (component, name, type(error).code)
        self.failures[key] = self.failures.get(key, 0) + 1

    def refused(self, error: EventmillError) -> None:
        """Count a request that reached no handler."""
        kind = type(error).code
        self.refusals[kind] = self.refusals.get(kind, 0) + 1

    def accepted(self, topic: str, fresh: int, duplicates: int) -> None:
        """Count published events."""
        counts = self.published.setdefault(topic, [0, 0])
        counts[0] += fresh
        counts[1] += duplicates
