"""A clock that stands still until a test moves it.

Sleepers wake when the time that they wait for has come, earliest first. There is no automatic jump
whenever all tasks wait, as in trio's MockClock: a node's periodic loops always wait for the clock,
so time would run away while a real disk is written. `Host` moves the clock instead, and knows when
the node has nothing left to do.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

SETTLING_ROUNDS = 10
"""Turns of the loop given to what was woken, before the next sleeper is looked at."""

MIDNIGHT = datetime(2026, 1, 1, tzinfo=UTC)


class VirtualClock:
    """Time under control. Parameter: `start` is the wall clock at the beginning."""

    def __init__(self, start: datetime = MIDNIGHT) -> None:
        self._set = round(start.timestamp() * 1e6)
        """What the wall clock shows when no time has passed."""
        self._passed = 0
        self._sleepers: dict[asyncio.Future[None], int] = {}
        """By what will have passed when they wake: nobody sleeps longer because a clock is set."""

    def __repr__(self) -> str:
        return f"<VirtualClock {self.time.isoformat()} [{len(self._sleepers)} sleepers]>"

    @property
    def time(self) -> datetime:
        """The wall clock."""
        return datetime.fromtimestamp(self.now() / 1e6, UTC)

    @property
    def next_wake(self) -> int | None:
        """When the first sleeper wakes, microseconds since the epoch; None if nobody sleeps."""
        first = min((at for f, at in self._sleepers.items() if not f.done()), default=None)
        return None if first is None else self._set + first

    def now(self) -> int:
        return self._set + self._passed

    def monotonic(self) -> float:
        return self._passed / 1e6

    def jump(self, by: timedelta) -> None:
        """Set the wall clock forward or back; no time passes."""
        self._set += round(by.total_seconds() * 1e6)

    async def sleep(self, seconds: float) -> None:
        sleeper = self._sleeper(seconds)
        try:
            await sleeper
        finally:
            del self._sleepers[sleeper]

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        sleeper = self._sleeper(seconds)
        happening: asyncio.Future[Any] = asyncio.get_running_loop().create_task(event.wait())
        try:
            await asyncio.wait({sleeper, happening}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            happening.cancel()
            del self._sleepers[sleeper]

    def move_to(self, time: int) -> None:
        """Let time pass until the wall clock shows this, in microseconds since the epoch, and wake who
        waited for it."""
        assert time >= self.now(), "time does not go backwards: see jump"
        self._passed = time - self._set
        for sleeper, at in sorted(self._sleepers.items(), key=lambda item: item[1]):
            if at <= self._passed and not sleeper.done():
                sleeper.set_result(None)

    async def advance(self, seconds: float | timedelta) -> None:
        """Move on by that long; every sleeper on the way wakes at its own time."""
        if isinstance(seconds, timedelta):
            seconds = seconds.total_seconds()
        target = self.now() + round(seconds * 1e6)
        while (wake := self.next_wake) is not None and wake <= target:
            self.move_to(wake)
            await self._settle()
        self.move_to(target)
        await self._settle()

    def _sleeper(self, seconds: float) -> asyncio.Future[None]:
        sleeper: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # At least one microsecond: a sleep that rounds to nothing would never let time pass.
        self._sleepers[sleeper] = self._passed + max(1, round(seconds * 1e6))
        return sleeper

    async def _settle(self) -> None:
        for _ in range(SETTLING_ROUNDS):
            await asyncio.sleep(0)
