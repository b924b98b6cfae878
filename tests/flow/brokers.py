"""Stores whose topics are in a broker."""

from __future__ import annotations

import secrets
from collections.abc import Collection
from typing import Protocol, runtime_checkable

import pytest

from eventmill.adapters.clock import SystemClock
from eventmill.adapters.memory.broker import Broker as MemoryBroker
from eventmill.adapters.memory.broker import Topics
from eventmill.adapters.memory.store import Store as MemoryStore
from eventmill.adapters.nats.broker import Broker as NatsBroker
from eventmill.model.entry import Entry
from eventmill.model.placement import Placement
from eventmill.ports.broker import Broker, TopicLayout
from eventmill.ports.clock import Clock
from eventmill.ports.store import Store
from eventmill.testing import FaultyStore


@runtime_checkable
class TopicsElsewhere(Protocol):
    """What tests ask of a store that has only the outbox."""

    async def messages(self) -> list[Entry]:
        """What is in the topics."""
        ...


class MemoryAndBroker(FaultyStore):
    """Both in memory; one home shard, and one for each topic."""

    def __init__(self) -> None:
        super().__init__(_Apart(), broker=self.new_broker)
        self.topics: Topics | None = None

    async def messages(self) -> list[Entry]:
        """What is in the topics."""
        if self.topics is None:
            return []
        self.topics.expire()
        return [entry for stream in self.topics.streams.values() for entry in stream.entries]

    def new_broker(self, clock: Clock) -> Broker:
        """One node's way to the topics."""
        self.topics = self.topics or Topics(clock)
        return MemoryBroker(self.topics)


class PostgresAndNats(FaultyStore):
    """Real servers. Parameter: `url` is the NATS server's; each store has streams of its own."""

    def __init__(self, inner: Store, url: str) -> None:
        super().__init__(inner, broker=self.new_broker)
        self._url = url
        self._prefix = secrets.token_hex(4)

    async def messages(self) -> list[Entry]:
        """What is in the topics."""
        placement = self.placement
        broker = self.new_broker(SystemClock())
        layouts = {topic: TopicLayout(number) for topic, number in placement.topics.items()}
        await broker.open(
            placement.shards, layouts, placement.entity, lambda shard: None, owner=placement.store
        )
        found: list[Entry] = []
        for shard in range(placement.shards, placement.all().stop):
            after, end = 0, await broker.end(shard)
            while after < end:
                scan = await broker.read(shard, after, limit=1_000, until=end)
                found += scan.entries
                after = scan.position
        await broker.close()
        return found

    def new_broker(self, clock: Clock) -> Broker:
        """One node's way to the topics. Its time is not the test's: servers keep their own."""
        return NatsBroker([self._url], SystemClock(), service="flow", prefix=self._prefix)


def need_time_in_hand(store: FaultyStore) -> None:
    """Skip a test that moves the time by which messages are kept."""
    if isinstance(store, PostgresAndNats):
        pytest.skip("the NATS server has a clock of its own")


class _Apart(MemoryStore):
    """A store that keeps messages in shards of their own although it has one home shard."""

    async def place(self, topics: Collection[str]) -> Placement:
        for topic in topics:
            self._topics.setdefault(topic, len(self._topics) + 1)
        return self.placement
