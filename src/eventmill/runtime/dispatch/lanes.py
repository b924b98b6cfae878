"""Lanes: entries of different keys handled at the same time, those of one key in order.

Place on the road: inside a reaction. A key always goes to the same lane; a lane is one task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar
from zlib import crc32

from eventmill.errors import HandlerFailed

T = TypeVar("T")


def split(items: Iterable[T], key: Callable[[T], str], count: int) -> list[list[T]]:
    """Split items into at most `count` lanes by their key, each in order."""
    lanes: dict[int, list[T]] = {}
    for item in items:
        lanes.setdefault(crc32(key(item).encode()) % count, []).append(item)
    return list(lanes.values())


async def run(lanes: list[list[T]], work: Callable[[list[T]], Awaitable[None]], who: str) -> None:
    """Let `work` go through all lanes at the same time.

    Raises `HandlerFailed` if a lane ended early because something in it cancelled its task.
    """

    async def lane(items: list[T]) -> None:
        await work(items)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(lane(items)) for items in lanes]
    if any(task.cancelled() for task in tasks):
        # A group takes that for an end like any other, and the rest of the lane is lost.
        raise HandlerFailed(f"{who} cancelled the task it runs in")


def is_ending() -> bool:
    """Whether somebody asked this task to end. If not, a `CancelledError` is foreign: it comes from
    something that was waited for and that somebody else had cancelled."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
