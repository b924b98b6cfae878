"""The virtual clock: sleepers wake in order, at their own times, and only when a test says so."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from eventmill.testing import VirtualClock
from eventmill.testing.clock import MIDNIGHT


async def note(clock: VirtualClock, woken: list[tuple[str, float]], name: str, wait: float) -> None:
    await clock.sleep(wait)
    woken.append((name, clock.monotonic()))


async def test_it_stands_still() -> None:
    clock = VirtualClock()
    before = clock.now(), clock.monotonic(), clock.time
    await asyncio.sleep(0.002)
    assert (clock.now(), clock.monotonic(), clock.time) == before
    assert clock.time == MIDNIGHT


async def test_sleepers_wake_in_order_at_their_own_times() -> None:
    clock, woken = VirtualClock(), list[tuple[str, float]]()
    async with asyncio.TaskGroup() as group:
        for name, wait in (("c", 3.0), ("a", 1.0), ("b", 2.5)):
            group.create_task(note(clock, woken, name, wait))
        await asyncio.sleep(0)
        await clock.advance(2.4)
        assert woken == [("a", 1.0)]
        await clock.advance(timedelta(seconds=10))
    assert woken == [("a", 1.0), ("b", 2.5), ("c", 3.0)]
    assert clock.monotonic() == 12.4


async def test_who_sleeps_again_wakes_again_on_the_way() -> None:
    clock, ticks = VirtualClock(), list[float]()

    async def tick() -> None:
        while True:
            await clock.sleep(1)
            ticks.append(clock.monotonic())

    task = asyncio.get_running_loop().create_task(tick())
    await asyncio.sleep(0)
    await clock.advance(5)
    assert ticks == [1, 2, 3, 4, 5]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert clock.next_wake is None


async def test_wait_ends_with_the_event_or_the_time() -> None:
    clock, event = VirtualClock(), asyncio.Event()
    waiting = asyncio.get_running_loop().create_task(clock.wait(event, 10))
    await clock.advance(9)
    assert not waiting.done()
    event.set()
    await waiting
    assert clock.next_wake is None
    event.clear()
    waiting = asyncio.get_running_loop().create_task(clock.wait(event, 10))
    await asyncio.sleep(0)
    await clock.advance(10)
    assert waiting.done()


async def test_a_sleep_of_nothing_still_waits_for_the_clock() -> None:
    clock = VirtualClock()
    sleeping = asyncio.get_running_loop().create_task(clock.sleep(0))
    await asyncio.sleep(0)
    assert not sleeping.done()
    await clock.advance(0.001)
    assert sleeping.done()


async def test_a_jump_sets_the_wall_clock_and_wakes_nobody_sooner_or_later() -> None:
    clock, woken = VirtualClock(), list[tuple[str, float]]()
    async with asyncio.TaskGroup() as group:
        group.create_task(note(clock, woken, "a", 10.0))
        await asyncio.sleep(0)
        clock.jump(timedelta(hours=1))
        assert clock.time == MIDNIGHT + timedelta(hours=1)
        assert (woken, clock.monotonic()) == ([], 0.0)
        assert clock.next_wake == clock.now() + 10_000_000
        await clock.advance(4)
        clock.jump(timedelta(hours=-2))
        await clock.advance(5.9)
        assert woken == []
        await clock.advance(0.1)
    assert woken == [("a", 10.0)]
    assert clock.time == MIDNIGHT - timedelta(hours=1) + timedelta(seconds=10)
