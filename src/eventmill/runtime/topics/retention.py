"""Retention: removes messages that their topics need not keep any longer.

Place on the road: beside the scheduler, behind everybody who reads. In the store a topic's messages
lie scattered in the journal, so the way through it is taken once after each start, and then only what
has become removable since.

Where topics live in a broker, that removes by itself what is old; what goes here is what everybody
has read, if the topic says so, and of the store the outbox: messages that were relayed.

Invariants: a message goes only when it is older than its topic's retention, or that is `WHEN_READ`,
and every subscription to the topic has read it (`runtime.topics.readers`), or when it was relayed; at most
`TRIM_POSITIONS` positions of the journal are looked at in one go.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import structlog

from eventmill.errors import Conflict, Unavailable
from eventmill.model.topic import WHEN_READ, Topic
from eventmill.ports.broker import Broker
from eventmill.runtime.topics import relay
from eventmill.runtime.topics.shelf import Shelf

if TYPE_CHECKING:
    from eventmill.runtime.runtime import Runtime

log = structlog.get_logger()

TRIM_POSITIONS = 2_000
TRIM_SECONDS = 10.0
TRIM_MORE_SECONDS = 0.05
"""Pause when there is more to look at: commands go first."""


class Retention:
    """Owns the loop that trims topics. Parameter: `broker` has them, if the store has not."""

    def __init__(self, runtime: Runtime, broker: Broker | None) -> None:
        topics = runtime.service.topics.values()
        self.topics = [t for t in topics if broker or t.retention is not None]
        self._store = runtime.store
        self._clock = runtime.clock
        self._held = runtime.held
        self._subscriptions = runtime.subscriptions
        self._readers = runtime.readers
        self._broker = broker
        self.shelf = Shelf(topics, runtime.store)
        self._trimmed: dict[tuple[str, int], int] = {}
        """By topic and shard: up to this position everything that may go is gone."""
        self._old: dict[tuple[str, int], int] = {}
        """By topic and shard: up to this position all is older than the retention."""
        self._purged: dict[int, int] = {}
        """Of the broker's shards: up to this position all is gone."""

    def __repr__(self) -> str:
        return f"<Retention {self._trimmed}>"

    async def run(self) -> None:
        """Trim until cancelled."""
        while True:
            is_done = True
            try:
                await self._look()
                for topic in self.topics:
                    is_done &= await self._trim(topic)
            except (Unavailable, Conflict) as error:
                log.warning("topics not trimmed", error=str(error))
            await self._clock.sleep(TRIM_SECONDS if is_done else TRIM_MORE_SECONDS)

    async def _look(self) -> None:
        """Find out what was read, if it matters."""
        ours = [t for t in self.topics if t.retention is WHEN_READ or self._broker is None]
        try:
            if ours:
                await self._readers.look()
        except Unavailable as error:  # what was read before is still read
            log.warning("not known what else was read", error=str(error))

    async def _trim(self, topic: Topic[Any]) -> bool:
        """Look at the next stretches; return whether they were the last ones for now."""
        shards = [s for home in self._held for s in self._store.placement.read_by(home, [topic.id])]
        if self._broker is not None and self._broker.layouts[topic.id].when_read:
            for shard in shards:
                await self._purge(self._broker, topic, shard)
        return all([await self._trim_shard(topic, shard) for shard in shards])

    async def _trim_shard(self, topic: Topic[Any], shard: int) -> bool:
        last = await self._last(topic, shard)
        if self._broker is None and topic.id in self.shelf.bounds:
            await self.shelf.trim(topic.id, shard, last)
            return True
        after = self._trimmed.get((topic.id, shard), 0)
        until = min(last, after + TRIM_POSITIONS)
        if until > after:
            await self._store.trim([topic.id], shard, after, until)
            self._trimmed[topic.id, shard] = until
        return until >= last

    async def _last(self, topic: Topic[Any], shard: int) -> int:
        """Return the last position that may go."""
        if self._broker is not None:
            return self._subscriptions[relay.NAME].positions.get(shard, 0)
        read = self._readers.read(topic.id, shard)
        if not isinstance(topic.retention, timedelta):
            return read or 0  # as long as nobody follows it, nobody has read it
        age = round(topic.retention.total_seconds() * 1e6)
        known, now = self._old.get((topic.id, shard), 0), self._clock.now()
        old = await self._store.journal.position_at(shard, now - age, after=known)
        self._old[topic.id, shard] = old
        return old if read is None else min(old, read)

    async def _purge(self, broker: Broker, topic: Topic[Any], shard: int) -> None:
        """Remove from the broker what everybody has read, if the settings say it, too."""
        read = self._readers.read(topic.id, shard) if topic.retention is WHEN_READ else None
        if read and read > self._purged.get(shard, 0):
            await broker.trim(shard, read)
            self._purged[shard] = read
