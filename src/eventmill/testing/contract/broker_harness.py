"""What the broker's contract is written with: its topics, entries as the outbox has them, and news."""

from __future__ import annotations

import asyncio
from typing import Any
from zlib import crc32

from eventmill.model import limits
from eventmill.model.entry import Entry
from eventmill.ports.broker import Broker, TopicLayout

SHARDS = 4
ORDERS = "orders"
NEIGHBOUR = "neighbour"
"""Another service."""
ODD = "pay.ments to Zoë > *"
TOPICS = {ORDERS: TopicLayout(1), ODD: TopicLayout(2)}
LONG = 20.0
"""Seconds that nothing takes in a green run."""


def partition_of(key: str) -> int:
    """Hash a key."""
    return crc32(key.encode()) % SHARDS


def shard_of(key: str, topic: str = ORDERS) -> int:
    """The message shard of a key."""
    return TOPICS[topic].number * SHARDS + partition_of(key)


def outgoing(position: int, key: str = "k", topic: str = ORDERS, **fields: Any) -> Entry:
    """Make an entry of the outbox."""
    values: dict[str, Any] = {
        "type": "OrderPlaced",
        "version": 1,
        "time": 1_700_000_000_000_000 + position,
        "payload": b'{"n":%d}' % position,
        "shard": 3,
        "position": position,
    }
    return Entry(topic, key, 0, **{**values, **fields})


class News:
    """What a broker told."""

    def __init__(self) -> None:
        self.shards: set[int] = set()
        self._happened = asyncio.Event()

    def tell(self, shard: int) -> None:
        self.shards.add(shard)
        self._happened.set()

    async def of(self, shard: int) -> None:
        """Wait until a shard has news; they are then no news any more."""
        async with asyncio.timeout(LONG):
            while shard not in self.shards:
                self._happened.clear()
                await self._happened.wait()
        self.shards.discard(shard)


def event_headers(**attributes: str) -> dict[str, str]:
    """Headers of an event in binary mode."""
    values = {"specversion": "1.0", "id": "e1", "source": "/till", "type": "Placed", **attributes}
    return {f"ce-{name}": value.replace(" ", "%20") for name, value in values.items()}


async def taken(
    broker: Broker,
    news: News,
    shard: int,
    count: int,
    after: int = 0,
    limit: int = limits.SCAN_ROWS,
) -> list[Entry]:
    """Read a shard until so many entries are there; fail if there are more."""
    found: list[Entry] = []
    position = after
    while True:
        scan = await broker.read(shard, position, limit=limit)
        found += scan.entries
        position = scan.position
        if len(found) >= count:
            break
        if not scan.entries:
            await news.of(shard)
    assert (await broker.read(shard, position, limit=1)).entries == []
    assert len(found) == count
    return found
