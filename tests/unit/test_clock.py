"""The system's clock."""

from __future__ import annotations

import asyncio

from eventmill.adapters.clock import SystemClock


async def test_a_wait_that_is_cancelled_just_when_its_event_comes_is_cancelled() -> None:
    event = asyncio.Event()
    waiting = asyncio.ensure_future(SystemClock().wait(event, 60))
    for _ in range(3):
        await asyncio.sleep(0)
    event.set()
    waiting.cancel()
    await asyncio.wait({waiting})
    assert waiting.cancelled()


async def test_a_wait_ends_with_its_event_or_its_time() -> None:
    event = asyncio.Event()
    await SystemClock().wait(event, 0.001)
    event.set()
    await SystemClock().wait(event, 60)
