"""A store that knows which calls of it are under way: what a test waits for instead of a while.

A database answers when it answers. As long as a call is under way the node is not at rest, however
silent its loops are; `Host.settle` asks here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from inspect import iscoroutinefunction
from typing import Any, TypeVar, cast

from eventmill.model.commit import Commit, Timer
from eventmill.model.placement import Placement
from eventmill.ports.store import Journal, Parking, Store, ViewTables

Part = TypeVar("Part")


class WatchedStore:
    """Wraps a store; everything passes through and is counted while it lasts.

    Of a fresh store with several shards its only node holds all.
    """

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.under_way = 0
        """Calls that have not returned yet."""
        self.written = 0
        """Commits that have ended, well or not: as long as it stays, so does what is stored."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.inner!r} [{self.under_way} calls under way]>"

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Count a call."""
        self.under_way += 1
        try:
            yield
        finally:
            self.under_way -= 1

    @property
    def placement(self) -> Placement:
        return self.inner.placement

    @property
    def journal(self) -> Journal:
        return self._watched(self.inner.journal)

    @property
    def parking(self) -> Parking:
        return self._watched(self.inner.parking)

    @property
    def views(self) -> ViewTables:
        return self._watched(self.inner.views)

    def _watched(self, part: Part) -> Part:
        return cast(Part, _WatchedPart(part, self))

    async def open(self) -> None:
        await self.inner.open()
        for shard in range(self.placement.shards):
            self.inner.hold(shard, 0)

    async def close(self) -> None:
        await self.inner.close()

    async def place(self, topics: Collection[str]) -> Placement:
        with self.watching():
            return await self.inner.place(topics)

    def hold(self, shard: int, epoch: int) -> None:
        self.inner.hold(shard, epoch)

    def let_go(self, shard: int) -> None:
        self.inner.let_go(shard)

    async def commit(self, commit: Commit) -> None:
        with self.watching():
            try:
                await self.inner.commit(commit)
            finally:
                self.written += 1

    async def offsets(self) -> dict[tuple[str, int], int]:
        with self.watching():
            return await self.inner.offsets()

    async def registry(self) -> dict[str, bytes]:
        with self.watching():
            return await self.inner.registry()

    async def due_timers(self, until: int, shards: Collection[int], *, limit: int) -> list[Timer]:
        with self.watching():
            return await self.inner.due_timers(until, shards, limit=limit)

    async def timers(self, *, after: str = "", limit: int) -> list[Timer]:
        with self.watching():
            return await self.inner.timers(after=after, limit=limit)

    async def trim(self, sources: Sequence[str], shard: int, after: int, until: int) -> int:
        with self.watching():
            return await self.inner.trim(sources, shard, after, until)

    async def sweep(self, now: int, *, limit: int) -> int:
        with self.watching():
            return await self.inner.sweep(now, limit=limit)


class _WatchedPart:
    """A part of a store, whose calls are counted as the store's."""

    def __init__(self, part: object, store: WatchedStore) -> None:
        self._part = part
        self._store = store

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._part, name)
        return self._counted(found) if iscoroutinefunction(found) else found

    def _counted(self, call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def counted(*arguments: Any, **options: Any) -> Any:
            with self._store.watching():
                return await call(*arguments, **options)

        return counted
