"""A store whose topics are in a broker."""

from __future__ import annotations

from collections.abc import Collection

from eventmill.adapters.memory.broker import Broker, Topics
from eventmill.adapters.memory.store import Store
from eventmill.model.entry import Entry
from eventmill.model.placement import Placement
from eventmill.ports.clock import Clock
from eventmill.testing import FaultyStore


class MemoryAndBroker(FaultyStore):
    """Both in memory; one home shard, and one for each topic."""

    def __init__(self) -> None:
        super().__init__(_Apart(), broker=self.new_broker)
        self.topics: Topics | None = None

    def messages(self) -> list[Entry]:
        """What is in the topics."""
        if self.topics is None:
            return []
        self.topics.expire()
        return [entry for stream in self.topics.streams.values() for entry in stream.entries]

    def new_broker(self, clock: Clock) -> Broker:
        """One node's way to the topics."""
        self.topics = self.topics or Topics(clock)
        return Broker(self.topics)


class _Apart(Store):
    """A store that keeps messages in shards of their own although it has one home shard."""

    async def place(self, topics: Collection[str]) -> Placement:
        for topic in topics:
            self._topics.setdefault(topic, len(self._topics) + 1)
        return self.placement
