"""A guard of development: tells of functions that hold up the node while they do not wait.

All of a node's work takes turns on one loop. An `async` function that computes for long, or calls
something that blocks, stops every command and stream; what must block is written with `def`.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar

import structlog

from eventmill.model import limits

log = structlog.get_logger()

T = TypeVar("T")


async def watched(work: Coroutine[Any, Any, T], monotonic: Callable[[], float], place: str) -> T:
    """Await a coroutine; warn of each step that takes `BLOCKING_SECONDS`."""
    return await _stepped(work, monotonic, place)


@types.coroutine
def _stepped(
    work: Coroutine[Any, Any, T], monotonic: Callable[[], float], place: str
) -> Generator[Any, Any, T]:
    step: Callable[[Any], Any] = work.send
    value: Any = None
    while True:
        began = monotonic()
        try:
            waits_for = step(value)
        except StopIteration as stop:
            result: T = stop.value
            return result
        finally:
            seconds = monotonic() - began
            if seconds >= limits.BLOCKING_SECONDS:
                log.warning(
                    "endpoint holds up the node: await what it waits for, or write it with `def`",
                    place=place,
                    seconds=round(seconds, 3),
                )
        try:
            value = yield waits_for
            step = work.send
        except BaseException as error:  # a cancellation is for the coroutine to take
            step, value = work.throw, error
