"""A coroutine under a time limit behaves as under `asyncio.timeout`, whether it waits or not."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from eventmill.runtime.dispatch.time_limit import within

LONG = 60.0
SOON = 0.01


async def answer(waits: int) -> str:
    for _ in range(waits):
        await asyncio.sleep(0)
    return "answer"


async def fail(waits: int) -> str:
    await answer(waits)
    raise ValueError("no")


@pytest.mark.parametrize("waits", [0, 1, 3])
async def test_its_result_is_returned(waits: int) -> None:
    assert await within(LONG, answer(waits)) == "answer"


@pytest.mark.parametrize("waits", [0, 1, 3])
async def test_its_error_is_raised(waits: int) -> None:
    with pytest.raises(ValueError, match="no"):
        await within(LONG, fail(waits))


async def test_it_gets_what_it_waits_for() -> None:
    loop = asyncio.get_running_loop()
    values = [loop.create_future() for _ in range(3)]

    async def collect() -> list[str]:
        got = []
        for value in values:
            try:
                got.append(await value)
            except KeyError as error:
                got.append(repr(error))
        return got

    loop.call_soon(values[0].set_exception, KeyError("a"))
    loop.call_soon(values[1].set_result, "b")
    loop.call_soon(values[2].set_exception, KeyError("c"))
    assert await within(LONG, collect()) == ["KeyError('a')", "b", "KeyError('c')"]


@pytest.mark.parametrize("waits", [0, 1])
async def test_it_ends_with_an_error_when_its_time_is_over(waits: int) -> None:
    ended = []

    async def endless() -> None:
        await answer(waits)
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    with pytest.raises(TimeoutError):
        await within(SOON, endless())
    assert ended == [True]
    assert not cancelling()


async def test_it_may_have_time_limits_of_its_own() -> None:
    async def patient() -> str:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SOON):
                await asyncio.Event().wait()
        return await answer(2)

    assert await within(LONG, patient()) == "answer"
    assert not cancelling()


async def test_its_own_longer_limit_does_not_take_the_end_for_its_own() -> None:
    async def impatient() -> None:
        async with asyncio.timeout(LONG):
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await within(SOON, impatient())
    assert not cancelling()


async def test_it_may_have_tasks_of_its_own() -> None:
    async def together() -> list[str]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(answer(waits)) for waits in (0, 2)]
        return [task.result() for task in tasks]

    assert await within(LONG, together()) == ["answer", "answer"]


async def test_an_error_in_a_task_of_its_own_reaches_it() -> None:
    async def together() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail(1))
            await asyncio.Event().wait()

    with pytest.raises(ExceptionGroup):
        await within(LONG, together())
    assert not cancelling()


@pytest.mark.parametrize("waits", [0, 1])
async def test_it_is_cancelled_with_its_task(waits: int) -> None:
    begun, ended = asyncio.Event(), []

    async def endless() -> None:
        await answer(waits)
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await answer(2)  # it may wait while it ends
            ended.append(True)
            raise

    task = asyncio.create_task(within(LONG, endless()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [True]


async def test_it_is_closed_with_whoever_awaits_it() -> None:
    ended = []

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    outer = within(LONG, endless())
    outer.send(None)
    outer.close()
    assert ended == [True]


def cancelling() -> int:
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()
