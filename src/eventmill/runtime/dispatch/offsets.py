"""Offsets: how far a subscription has come durably, and what stores that.

Place on the road: dispatch, the end of a batch. Offsets and marks are written in the commit of what
the batch caused, so neither is ever true without the other. They lag behind where the subscription is
as long as nothing of interest was seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import NamedTuple

from eventmill.model.commit import Commit, Offset
from eventmill.runtime.committer import Committer
from eventmill.runtime.dispatch.marks import Marks, Outbox
from eventmill.runtime.dispatch.tails import Positions


class _Write(NamedTuple):
    """Offsets and marks on their way into the store."""

    done: asyncio.Future[None]
    positions: Positions
    marks: Mapping[Outbox, int]


class Offsets:
    """What is stored of one subscription's positions, by shard."""

    def __init__(self, subscription: str, committer: Committer) -> None:
        self._name = subscription
        self._committer = committer
        self.stored: dict[int, int] = {}
        self.marks = Marks(subscription)
        """Of shards that the broker holds."""
        self._latest: _Write | None = None

    def __repr__(self) -> str:
        return f"<Offsets of {self._name} [{len(self.stored)} shards]>"

    def follow(self, positions: Positions, stored: Mapping[tuple[str, int], int]) -> None:
        """Begin in shards at positions, with what is stored of all subscriptions."""
        self.marks.follow(positions, stored)
        self.stored.update(positions)

    def leave(self, shard: int) -> None:
        """Forget a shard."""
        del self.stored[shard]
        self.marks.leave(shard)

    def late(self, positions: Positions, by: int = 0) -> dict[int, int]:
        """Return those of the positions behind which more than so many are not stored."""
        return {shard: at for shard, at in positions.items() if at - self.stored[shard] > by}

    async def write(
        self,
        positions: Positions,
        fill: Callable[[Commit], None] | None = None,
        marks: Mapping[Outbox, int] | None = None,
    ) -> None:
        """Write offsets, and what `fill` adds. A stop in the middle does not undo them: `settle`
        waits.

        Parameter: `marks` are those at the positions, if the batch under way does not tell them.
        """
        marks = self.marks.at_positions(positions) if marks is None else marks
        moved = [
            Offset(self._name, shard, self.stored[shard], at) for shard, at in positions.items()
        ]
        moved += self.marks.moved(marks)

        def add(commit: Commit) -> None:
            if fill is not None:
                fill(commit)
            commit.offsets += moved

        done = self._committer.submit(add)
        self._latest = _Write(done, positions, marks)
        await asyncio.shield(done)
        self.stored.update(positions)
        self.marks.stored(marks)

    async def write_late(self, positions: Positions) -> None:
        """Write those that are not stored yet."""
        if late := self.late(positions):
            await self.write(late)

    async def settle(self) -> None:
        """Wait for the latest write, of which nobody may have seen the end."""
        if self._latest is None:
            return
        done, positions, marks = self._latest
        await asyncio.wait({done})
        if done.exception() is None:
            self.marks.stored(marks)
            for shard, at in positions.items():
                if shard in self.stored:
                    self.stored[shard] = max(self.stored[shard], at)
