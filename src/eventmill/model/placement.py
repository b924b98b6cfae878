"""Placement: in which shard of a store something lives. Pure, stable for ever, equal on every node.

The slice of a subject is a hash of its id alone, not of its component: whatever has the same
subject (entities of all components, messages with that key, view rows) lives in one *home* shard,
which one node owns. Messages have shards of their own, `topics[topic] * shards` behind the home
shards, because any node may append to them; each of those has a home shard too.
"""

from __future__ import annotations

from collections.abc import Iterable
from zlib import crc32

import msgspec

from eventmill.model import limits


class Placement(msgspec.Struct, frozen=True):
    """The shards of a store. The number of home shards never changes, topics are only added."""

    shards: int = 1
    """Home shards, numbered from 0."""
    topics: dict[str, int] = {}
    """Numbers of topics, from 1. Messages of those without one live in the home shard of their key:
    in an embedded store all but other services' (`service/topic`)."""
    store: str = ""
    """Identity of a store, made with it: what is kept for it elsewhere bears it."""

    def entity(self, id: str) -> int:
        """Home shard of an entity's id, a message's key or any other subject."""
        if self.shards == 1:
            return 0
        return crc32(id.encode()) % limits.SLICES * self.shards // limits.SLICES

    def message(self, topic: str, key: str) -> int:
        """Shard that a topic's message is written to."""
        if self.shards == 1:  # perhaps an embedded store
            return self.topics.get(topic, 0)
        if not self.topics:
            return self.entity(key)
        return self.topics[topic] * self.shards + self.entity(key)

    def home(self, shard: int) -> int:
        """Home shard whose owner reads a shard."""
        return shard % self.shards

    def read_by(self, home: int, sources: Iterable[str]) -> list[int]:
        """Shards of a home in which entries of these sources are."""
        return sorted({self.topics.get(source, 0) * self.shards + home for source in sources})

    def of_topic(self, topic: str) -> range:
        """All shards that hold messages of a topic."""
        first = self.topics.get(topic, 0) * self.shards
        return range(first, first + self.shards)

    def all(self) -> range:
        """Every shard, those of messages included."""
        return range(self.shards * (1 + max(self.topics.values(), default=0)))


def overlapping(home: int, shards: int, others: int) -> range:
    """Of `others` home shards of another store, those that have subjects of this one's `home`."""
    first = -(-home * limits.SLICES // shards)
    last = -(-(home + 1) * limits.SLICES // shards) - 1
    return range(first * others // limits.SLICES, last * others // limits.SLICES + 1)


EMBEDDED = Placement()
"""One shard for everything."""

EVERY_SHARD = -1
"""Shard of an offset that holds in every shard in which its subscription has none yet: what is known
of a subscription that came from a store with other shards."""
