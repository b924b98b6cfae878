"""The end of a message shard that is in the broker, as this node reads it.

Place on the road: between the broker and dispatch, beside the tails of the store's shards.

Invariants: everything above `_floor` up to `position` is in memory, in order; an end never moves
back, unless there is none any more.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable

from eventmill.model import limits
from eventmill.model.entry import Entry, size_of_all
from eventmill.ports.broker import Broker
from eventmill.ports.store import Scan
from eventmill.runtime.dispatch.tails import within


class StreamTail:
    """End of one message shard in the broker; as `tails.Tail`, but positions have gaps.

    Parameters: `look` is called when there is more than is known here; `share` of what all tails
    together may keep in memory.
    """

    def __init__(
        self, broker: Broker, shard: int, look: Callable[[int], None], *, share: float
    ) -> None:
        self._broker = broker
        self.shard = shard
        self._look = look
        self.position = 0
        self.seen = 0
        """The furthest end that somebody asked for: what is up to there is read, or is gone."""
        self.expected = 0
        """Of what this node stored itself, the last position."""
        self._entries: list[Entry] = []
        self._positions: list[int] = []
        """Of these entries."""
        self._floor = 0
        self.is_there = True
        """Whether the broker has it; not yet, perhaps, if it is another service's."""
        self.is_begun = False
        """Whether the end was found, and what follows it is taken."""
        self._bytes = 0
        self._entries_max = limits.TAIL_RECORDS * share
        self._bytes_max = limits.TAIL_BYTES * share

    def __repr__(self) -> str:
        return f"<StreamTail {self.shard} [position {self.position}, {len(self._entries)} kept]>"

    async def begin(self) -> None:
        """Find the end and go on there: what lies before is read from the broker.

        Raises `BrokerUnavailable`.
        """
        end = await self._broker.end(self.shard)
        if not self.is_there:
            return
        self.is_begun = True
        if end > self.position:
            self._entries, self._positions, self._bytes = [], [], 0
            self.position = self._floor = end

    def forget(self) -> None:
        """Nothing of it can be read, and perhaps what comes back is something else: nobody is
        behind it until it is begun anew."""
        self.is_there = self.is_begun = False
        self._entries, self._positions, self._bytes = [], [], 0
        self.position = self.seen = self._floor = 0

    def take(self, scan: Scan) -> bool:
        """Take what follows, or that nothing does; return whether the end has moved."""
        before = self.position
        self.position = max(before, scan.position)
        new = [entry for entry in scan.entries if entry.position > before]
        self._entries += new
        self._positions += [entry.position for entry in new]
        self._bytes += size_of_all(new)
        if len(self._entries) > 2 * self._entries_max or self._bytes > 2 * self._bytes_max:
            self._trim(len(self._entries) // 2)
        return self.position > before

    async def read(self, after: int, *, limit: int, sources: frozenset[str]) -> Scan:
        if after < self._floor:
            scan = await self._broker.read(self.shard, after, limit=limit, until=self._floor)
            return within(scan, limits.SCAN_BYTES_MAX)
        first = bisect_right(self._positions, after)
        found = self._entries[first : first + limit]
        is_all = first + len(found) == len(self._entries)
        end = max(after, self.position) if is_all else found[-1].position
        return within(Scan(found, end), limits.SCAN_BYTES_MAX)

    async def between(self, low: int, high: int, sources: frozenset[str]) -> Scan:
        if not self.is_there:
            return Scan([], high)
        scan = await self._broker.read(self.shard, low, limit=limits.SCAN_ROWS, until=high)
        found = [entry for entry in scan.entries if entry.position <= high]
        is_all = len(found) < len(scan.entries) or not found
        return Scan(found, high if is_all else found[-1].position)

    async def find_end(self) -> int:
        if not self.is_there:
            return self.position
        end = await self._broker.end(self.shard)
        if end > max(self.position, self.seen):
            self.seen = end
            self._look(self.shard)
        return end

    async def position_at(self, time: int, *, after: int = 0) -> int:
        if not self.is_there:
            return self.position
        return max(after, await self._broker.position_at(self.shard, time))

    def _trim(self, count: int) -> None:
        self._floor = self._positions[count - 1] if count else self._floor
        self._bytes -= size_of_all(self._entries[:count])
        del self._entries[:count], self._positions[:count]
