"""The shelf: bounded topics in an embedded store, and how many bytes they have.

Place on the road: behind everybody who reads. A topic's messages lie scattered in the journal, so
they are counted on the way through it, once after each start; then what came since is added, and
what is removed subtracted.

Invariant: the bytes are those of the messages above `_floor` up to `_counted`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from eventmill.model import limits
from eventmill.model.entry import size_of_all
from eventmill.model.topic import Topic
from eventmill.ports.broker import Size
from eventmill.ports.store import Scan, Store

SHARD = 0
"""The only one of an embedded store."""


class Shelf:
    """Bounded topics of a store that this node has for itself."""

    def __init__(self, topics: Iterable[Topic[Any]], store: Store) -> None:
        self.bounds = {topic.id: topic.bytes_max for topic in topics if topic.bytes_max}
        self._store = store
        self._bytes = dict.fromkeys(self.bounds, 0)
        self._floor = dict.fromkeys(self.bounds, 0)
        self._counted = dict.fromkeys(self.bounds, 0)
        self._changing = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<Shelf {self._bytes}>"

    async def size(self, topic: str) -> Size:
        """Count what is new; return how large a topic is."""
        async with self._changing:
            end = await self._store.journal.end(SHARD)
            while (counted := self._counted[topic]) < end:
                scan = await self._read(topic, counted)
                self._bytes[topic] += size_of_all(scan.entries)
                self._counted[topic] = scan.position
                await asyncio.sleep(0)  # a long way must not hold up the node's work
        return Size(self._bytes[topic], self._floor[topic] + 1, self._counted[topic])

    async def trim(self, topic: str, shard: int, position: int) -> None:
        """Remove messages up to a position that was counted."""
        async with self._changing:
            position = min(position, self._counted[topic])
            while (floor := self._floor[topic]) < position:
                scan = await self._read(topic, floor)
                until = min(position, scan.position)
                gone = [entry for entry in scan.entries if entry.position <= until]
                await self._store.trim([topic], shard, floor, until)
                self._bytes[topic] -= size_of_all(gone)
                self._floor[topic] = until
                await asyncio.sleep(0)

    async def _read(self, topic: str, after: int) -> Scan:
        sources = frozenset({topic})
        return await self._store.journal.read(SHARD, after, limit=limits.SCAN_ROWS, sources=sources)
