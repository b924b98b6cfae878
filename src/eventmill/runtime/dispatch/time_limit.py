"""A time limit for coroutines of which most never wait for anything.

Place on the road: around a user's asynchronous handler. A limit costs more than such a handler does,
and could not end it: so the first step is run without one, and the limit is made for the rest.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar

import structlog

log = structlog.get_logger()

T = TypeVar("T")


async def within(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """Await a coroutine for at most that long, from where it first waits.

    Raises `TimeoutError` where it waits when the time is over; what never waits is not limited.
    """
    try:
        waits_for = work.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    async with asyncio.timeout(seconds):
        return await _rest(work, waits_for)


@types.coroutine
def _rest(work: Coroutine[Any, Any, T], waits_for: Any) -> Generator[Any, Any, T]:
    """Go on with a coroutine that waits for something already, as `await` would."""
    step: Callable[[Any], Any]
    while True:
        was_cancelled = False
        try:
            value = yield waits_for
            step = work.send
        except GeneratorExit:
            work.close()
            raise
        except BaseException as error:  # a cancellation is for the coroutine to take
            step, value = work.throw, error
            was_cancelled = isinstance(error, asyncio.CancelledError)
        try:
            waits_for = step(value)
            if was_cancelled:
                _tell(work)
        except StopIteration as stop:
            result: T = stop.value
            return result


def _tell(work: Any) -> None:
    frame = work.cr_frame
    log.warning(
        "handler outlives its cancellation, and holds up what is behind it",
        handler=work.__qualname__,
        place=f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame else "",
    )
