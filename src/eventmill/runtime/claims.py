"""Claims: what is asked for twice at the same time is done once.

A claim is the task that does the work of a key. Everybody who asks for the key, the first one too,
waits for that task, so a caller that gives up takes nothing from the others, and the claim stands
until the work is really done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, Generic, TypeVar

K = TypeVar("K")
T = TypeVar("T")


class Claims(Generic[K, T]):
    """Owns the tasks of the keys that are being worked on."""

    def __init__(self) -> None:
        self._tasks: dict[K, asyncio.Task[T]] = {}

    def __repr__(self) -> str:
        return f"<Claims [{len(self._tasks)} keys]>"

    def get(self, key: K) -> asyncio.Task[T] | None:
        """Return the work of a key that is under way; await it behind `asyncio.shield`."""
        return self._tasks.get(key)

    def start(self, keys: Iterable[K], work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin the work of keys that nobody works on."""
        claimed = list(keys)
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.update(dict.fromkeys(claimed, task))
        task.add_done_callback(lambda done: self._ended(claimed, done))
        return task

    def _ended(self, keys: list[K], task: asyncio.Task[T]) -> None:
        for key in keys:
            del self._tasks[key]
        if not task.cancelled():
            task.exception()  # looked at: it may have no waiter left, which is no error of the loop
