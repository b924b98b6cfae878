"""The clock port: wall time, monotonic time, waiting. Nothing else in the runtime reads a clock."""

from __future__ import annotations

import asyncio
from typing import Protocol


class Clock(Protocol):
    """Time as the runtime sees it."""

    def now(self) -> int:
        """Wall clock, microseconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go backwards; only differences mean anything."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait that long."""
        ...

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """Wait until the event is set, at most that long."""
        ...
