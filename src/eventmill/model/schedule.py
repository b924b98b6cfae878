"""Schedules: when something runs again and again, by a cron expression or an interval. Pure.

A *tick* is a moment at which a schedule is due, in microseconds since the epoch. The ticks of a
schedule follow from the schedule alone, so every node finds the same ones: those of an interval are
its multiples since 1970-01-01 in UTC, those of a cron expression are in `model.cron`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSimError

from eventmill.errors import ConfigurationError
from eventmill.model import codec, cron, limits

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_MINUTE: Final = 60_000_000


class Missed(StrEnum):
    """What becomes of ticks at which no node was there."""

    SKIP = "skip"
    """They have no run, unless the last of them is younger than `limits.TICK_GRACE_SECONDS`."""
    ONCE = "once"
    """They have one run together: the last of them."""
    ALL = "all"
    """Each has a run, in order; of many the last `limits.MISSED_TICKS_MAX`."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """When something is due: by `cron` in a `timezone`, or `every` so many microseconds."""

    cron: str = ""
    timezone: str = "UTC"
    every: int = 0
    missed: Missed = Missed.ONCE

    def __str__(self) -> str:
        if self.every:
            return f"every {written_span(self.every)}"
        return f"{self.cron} ({self.timezone})"

    @property
    def fingerprint(self) -> bytes:
        """What its ticks follow from, as JSON: another one means other ticks."""
        if self.every:
            return codec.encode({"every": self.every})
        return codec.encode({"cron": self.cron, "timezone": self.timezone})

    def check(self) -> None:
        """Raise `ConfigurationError` for what has no ticks, or too many."""
        if self.every:
            least, most = limits.INTERVAL_SECONDS_MIN, limits.INTERVAL_SECONDS_MAX
            if not least * 1_000_000 <= self.every <= most * 1_000_000:
                raise ConfigurationError(f"an interval is {least:,} to {most:,} seconds: {self}")
            return
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ConfigurationError(
                f"there is no time zone {self.timezone!r} here: use a name as Europe/Berlin; if "
                "this machine has no time zones at all, install the package tzdata"
            ) from error
        try:
            first = self.next_after(0)
        except CronSimError as error:
            raise ConfigurationError(
                f"cron expression {self.cron!r}: {error}; write minute, hour, day of month, month, "
                "day of week, as '0 3 * * *'"
            ) from error
        if first is None:
            raise ConfigurationError(f"cron expression {self.cron!r} is never due")

    def ticks(self, after: int) -> Iterator[int]:
        """Yield the ticks after a moment, in order."""
        if self.every:
            tick = (after // self.every + 1) * self.every
            while True:
                yield tick
                tick += self.every
        begin = EPOCH + timedelta(microseconds=after)
        for moment in cron.moments(self.cron, ZoneInfo(self.timezone), begin):
            yield (moment - EPOCH) // _MICROSECOND

    def next_after(self, time: int) -> int | None:
        """Return the first tick after a moment; None if there is none within 50 years."""
        return next(self.ticks(time), None)

    def last_between(self, after: int, until: int, most: int) -> list[int]:
        """Return the last ticks, at most so many, after a moment and up to another.

        It looks back further and further, so that years without a node cost no more than the ticks
        that are asked for.
        """
        found: deque[int] = deque(maxlen=most)
        begin, span = until, self.every or _MINUTE
        while begin > after and len(found) < most:
            begin, span = max(after, until - span), span * 4
            found.clear()
            for tick in self.ticks(begin):
                if tick > until:
                    break
                found.append(tick)
        return list(found)

    def runs(self, due: int, now: int) -> list[int]:
        """Return the ticks that have a run now, of those from `due` on."""
        most = limits.MISSED_TICKS_MAX if self.missed is Missed.ALL else 1
        found = self.last_between(due - 1, now, most)
        late = limits.TICK_GRACE_SECONDS * 1_000_000
        if self.missed is Missed.SKIP and found and now - found[-1] > late:
            return []
        return found


def written_span(microseconds: int) -> str:
    """Write a span for people, as `1 h 30 min`."""
    rest, small = divmod(microseconds, 1_000_000)
    seconds = f"{rest % 60 + small / 1_000_000:g} s"
    parts = [(rest // 86_400, "d"), (rest // 3_600 % 24, "h"), (rest // 60 % 60, "min")]
    written = [f"{number} {unit}" for number, unit in parts if number]
    return " ".join(written if written and seconds == "0 s" else [*written, seconds])
