"""The supervisor: owner of every long-running task of a node.

A loop that ends with an error, or cancelled by anybody but `stop`, is a defect: it is logged with its name and makes the node unhealthy;
nothing is restarted blindly, because what the loop knew can no longer be trusted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

log = structlog.get_logger()


class Supervisor:
    """Starts, watches and ends tasks."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[Any]] = {}
        self._stopping: set[str] = set()
        """Names of running tasks that `stop` has cancelled."""
        self.failures: dict[str, BaseException] = {}
        self.failed = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Supervisor [{len(self._tasks)} tasks, {len(self.failures)} failed]>"

    def start(self, name: str, loop: Coroutine[Any, Any, Any]) -> None:
        """Run a loop under a name that is not in use."""
        assert name not in self._tasks, name
        task = asyncio.get_running_loop().create_task(loop, name=name)
        self._tasks[name] = task
        task.add_done_callback(lambda done: self._ended(name, done))

    async def stop(self, *names: str) -> None:
        """Cancel tasks and wait for their end; names that are not running are fine."""
        running = [name for name in names if name in self._tasks]
        self._stopping.update(running)
        tasks = [self._tasks[name] for name in running]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def join(self, name: str) -> None:
        """Wait until a task ends by itself."""
        if name in self._tasks:
            await asyncio.wait({self._tasks[name]})

    def names(self) -> list[str]:
        """Names of what is running."""
        return list(self._tasks)

    def _ended(self, name: str, task: asyncio.Task[Any]) -> None:
        del self._tasks[name]
        was_asked = name in self._stopping
        self._stopping.discard(name)
        error: BaseException | None
        if not task.cancelled():
            error = task.exception()
        elif was_asked:
            return
        else:
            error = asyncio.CancelledError("cancelled, but not by its supervisor")
        if error is not None:
            self.failures[name] = error
            self.failed.set()
            log.critical("loop ended by an error", loop=name, exc_info=error)
