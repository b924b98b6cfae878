"""Counting requests: plain numbers in dicts, cheap enough for the path of every command.

`http.metrics` reads them when somebody asks. Names come from the service's definition only, so the
number of series is bounded.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from eventmill.errors import EventmillError

BUCKETS: Final = 26
"""Bucket `i` counts what took less than 2^i microseconds; the last one, everything from 17 s on."""

SAMPLED: Final = 7
"""Mask of a counter: one command in eight is timed, which costs a third of timing each."""


class Timing:
    """One handler's answers: all are counted, some are timed."""

    __slots__ = ("buckets", "count", "seconds")

    def __init__(self) -> None:
        self.count = 0
        self.buckets = [0] * BUCKETS
        self.seconds = 0.0

    def note(self, seconds: float) -> None:
        """Add a duration."""
        self.seconds += seconds
        self.buckets[min(int(seconds * 1e6).bit_length(), BUCKETS - 1)] += 1


class Meter:
    """Everything that the front counts."""

    def __init__(self) -> None:
        self.timings: defaultdict[tuple[str, str], Timing] = defaultdict(Timing)
        """By component and handler: answered requests."""
        self.failures: defaultdict[tuple[str, str, str], int] = defaultdict(int)
        """By component, handler and kind of error."""
        self.refusals: defaultdict[str, int] = defaultdict(int)
        """By kind of error: requests that reached no handler."""
        self.published: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
        """By topic: events accepted, and duplicates."""

    def failed(self, component: str, name: str, error: EventmillError) -> None:
        """Count an error that a handler answered with."""
        self.failures[component, name, type(error).code] += 1

    def refused(self, error: EventmillError) -> None:
        """Count a request that reached no handler."""
        self.refusals[type(error).code] += 1

    def accepted(self, topic: str, fresh: int, duplicates: int) -> None:
        """Count published events."""
        counts = self.published[topic]
        counts[0] += fresh
        counts[1] += duplicates
