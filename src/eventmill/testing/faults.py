"""A store that fails when a test says so: the way to crash a node between two instructions.

A fault `before` the commit is a disk that refuses; a fault `after` it is the worst case: the commit
is durable and its writer never hears of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Literal

from eventmill.errors import StoreUnavailable
from eventmill.model.commit import Commit, Timer
from eventmill.model.placement import Placement
from eventmill.ports.broker import Broker
from eventmill.ports.clock import Clock
from eventmill.ports.store import Journal, Parking, Store, ViewTables

When = Literal["before", "after"]

TURNS_PER_COMMIT = 4
"""Turns of the loop that a commit takes at least: no disk is instant, so others go on meanwhile."""


class _Fault:
    def __init__(
        self, nth: int, when: When, matching: Callable[[Commit], bool], error: Exception
    ) -> None:
        self.left = nth
        self.when = when
        self.matching = matching
        self.error = error


class FaultyStore:
    """Wraps a store; commits fail as told by `fail`, everything else passes through.

    Parameter: `latency` is how many real seconds a read may take. So long a `Host` waits before it
    takes silence for rest; 0 where reads are done at once, in process. `broker` makes a node's way
    to the broker that has the topics, if they are not in the store.
    """

    def __init__(
        self,
        inner: Store,
        *,
        latency: float = 0.0,
        broker: Callable[[Clock], Broker] | None = None,
    ) -> None:
        self.inner = inner
        self.latency = latency
        self.broker = broker
        self.commits = 0
        """Commits that were asked for."""
        self.injected = 0
        """Commits that were made to fail: a test proves with it that its fault happened."""
        self._faults: list[_Fault] = []

    def __repr__(self) -> str:
        return f"<FaultyStore {self.inner!r} [{len(self._faults)} faults to come]>"

    def fail(
        self,
        nth: int = 1,
        *,
        when: When = "before",
        matching: Callable[[Commit], bool] = lambda commit: True,
        error: Exception | None = None,
    ) -> None:
        """Let the `nth` commit from now on fail, of those that `matching` accepts.

        Parameters: `when` is before or after the inner store's commit; `error` is raised instead
        of `StoreUnavailable`.
        """
        error = error or StoreUnavailable(f"a fault of the test, {when} the commit")
        self._faults.append(_Fault(nth, when, matching, error))

    def forget_faults(self) -> None:
        """Drop the faults that have not happened yet."""
        self._faults.clear()

    @property
    def placement(self) -> Placement:
        return self.inner.placement

    async def place(self, topics: Collection[str]) -> Placement:
        return await self.inner.place(topics)

    def hold(self, shard: int, epoch: int) -> None:
        self.inner.hold(shard, epoch)

    def let_go(self, shard: int) -> None:
        self.inner.let_go(shard)

    async def commit(self, commit: Commit) -> None:
        self.commits += 1
        for _ in range(TURNS_PER_COMMIT):
            await asyncio.sleep(0)
        fault = self._next_fault(commit)
        if fault is not None and fault.when == "before":
            self.injected += 1
            raise fault.error
        await self.inner.commit(commit)
        if fault is not None:
            self.injected += 1
            raise fault.error

    @property
    def to_come(self) -> int:
        """Faults that have not happened yet."""
        return len(self._faults)

    def _next_fault(self, commit: Commit) -> _Fault | None:
        matching = [fault for fault in self._faults if fault.matching(commit)]
        for fault in matching:
            fault.left -= 1
        ripe = next((fault for fault in matching if fault.left <= 0), None)
        if ripe is not None:
            self._faults.remove(ripe)
        return ripe

    @property
    def journal(self) -> Journal:
        return self.inner.journal

    @property
    def parking(self) -> Parking:
        return self.inner.parking

    @property
    def views(self) -> ViewTables:
        return self.inner.views

    async def open(self) -> None:
        await self.inner.open()

    async def close(self) -> None:
        await self.inner.close()

    async def offsets(self) -> dict[tuple[str, int], int]:
        return await self.inner.offsets()

    async def registry(self) -> dict[str, bytes]:
        return await self.inner.registry()

    async def due_timers(self, until: int, shards: Collection[int], *, limit: int) -> list[Timer]:
        return await self.inner.due_timers(until, shards, limit=limit)

    async def timers(self, *, after: str = "", limit: int) -> list[Timer]:
        return await self.inner.timers(after=after, limit=limit)

    async def trim(self, sources: Sequence[str], shard: int, after: int, until: int) -> int:
        return await self.inner.trim(sources, shard, after, until)

    async def sweep(self, now: int, *, limit: int) -> int:
        return await self.inner.sweep(now, limit=limit)
