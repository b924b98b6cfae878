"""Bounded tails: the same shards, as if they ended where somebody shall stop reading.

Place on the road: between the tails and a replay's subscription.
"""

from __future__ import annotations

from collections.abc import Mapping

from eventmill.ports.store import Scan
from eventmill.runtime.dispatch.tails import Source, Tails


class BoundedTails(Tails):
    """The tails up to positions, which nothing new moves; a shard without one is empty."""

    def __init__(self, tails: Tails, ends: Mapping[int, int]) -> None:
        super().__init__(tails.journal)
        for shard, end in ends.items():
            self.add(shard, _Bounded(tails, shard, end))
        self._beneath = tails
        tails.above.append(self)

    def detach(self) -> None:
        """Be woken no more."""
        self._beneath.above.remove(self)


class _Bounded:
    """A shard as it was when it ended there; see `tails.Source`."""

    def __init__(self, tails: Tails, shard: int, end: int) -> None:
        self._tails = tails
        self._shard = shard
        self._end = end

    def __repr__(self) -> str:
        return f"<_Bounded {self._source!r} [up to {self._end}]>"

    @property
    def _source(self) -> Source:
        return self._tails.source(self._shard)

    @property
    def position(self) -> int:
        return min(self._source.position, self._end)

    @property
    def is_there(self) -> bool:
        return self._source.is_there

    async def read(self, after: int, *, limit: int, sources: frozenset[str]) -> Scan:
        return self._cut(await self._source.read(after, limit=limit, sources=sources))

    async def between(self, low: int, high: int, sources: frozenset[str]) -> Scan:
        return self._cut(await self._source.between(low, min(high, self._end), sources))

    async def find_end(self) -> int:
        return min(await self._source.find_end(), self._end)

    async def position_at(self, time: int, *, after: int = 0) -> int:
        return min(await self._source.position_at(time, after=after), self._end)

    def _cut(self, scan: Scan) -> Scan:
        if scan.position <= self._end:
            return scan
        return Scan([entry for entry in scan.entries if entry.position <= self._end], self._end)
