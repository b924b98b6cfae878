"""Retention: removes old messages of topics that do not keep them for ever.

Place on the road: beside the scheduler, behind everybody who reads. A topic's messages lie scattered
in the journal, so the way through it is taken once after each start, and then only what has become
old since.

Where topics live in a broker, that keeps them as long as they are to be kept, and what goes here is
the outbox: a message that was relayed.

Invariants: a message goes only when it is older than its topic's retention and every subscription
to the topic has read it, or when it was relayed; at most `TRIM_POSITIONS` positions are looked at in one go.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import structlog

from eventmill.errors import Conflict, Unavailable
from eventmill.model.topic import Topic
from eventmill.ports.clock import Clock
from eventmill.ports.store import Store
from eventmill.runtime.subscription import Subscription

log = structlog.get_logger()

TRIM_POSITIONS = 2_000
TRIM_SECONDS = 10.0
TRIM_MORE_SECONDS = 0.05
"""Pause when there is more to look at: commands go first."""


class Retention:
    """Owns the loop that trims topics.

    Parameter: `relay` is the subscription that brings messages to a broker, if there is one.
    """

    def __init__(
        self,
        topics: Mapping[str, Topic[Any]],
        store: Store,
        clock: Clock,
        held: Collection[int],
        subscriptions: Mapping[str, Subscription],
        relay: str = "",
    ) -> None:
        self.topics = [t for t in topics.values() if relay or t.retention is not None]
        self._relay = relay
        self._store = store
        self._clock = clock
        self._held = held
        self._subscriptions = subscriptions
        self._trimmed: dict[tuple[str, int], int] = {}
        """By topic and shard: up to this position everything that may go is gone."""
        self._old: dict[tuple[str, int], int] = {}
        """By topic and shard: up to this position all is older than the retention."""

    def __repr__(self) -> str:
        return f"<Retention {self._trimmed}>"

    async def run(self) -> None:
        """Trim until cancelled."""
        while True:
            is_done = True
            try:
                for topic in self.topics:
                    is_done &= await self._trim(topic)
            except (Unavailable, Conflict) as error:
                log.warning("topics not trimmed", error=str(error))
            await self._clock.sleep(TRIM_SECONDS if is_done else TRIM_MORE_SECONDS)

    async def _trim(self, topic: Topic[Any]) -> bool:
        """Look at the next stretches; return whether they were the last ones for now."""
        shards = [s for home in self._held for s in self._store.placement.read_by(home, [topic.id])]
        return all([await self._trim_shard(topic, shard) for shard in shards])

    async def _trim_shard(self, topic: Topic[Any], shard: int) -> bool:
        last = await self._last(topic, shard)
        after = self._trimmed.get((topic.id, shard), 0)
        until = min(last, after + TRIM_POSITIONS)
        if until > after:
            await self._store.trim([topic.id], shard, after, until)
            self._trimmed[topic.id, shard] = until
        return until >= last

    async def _last(self, topic: Topic[Any], shard: int) -> int:
        """Return the last position that may go."""
        if self._relay:
            return self._subscriptions[self._relay].positions.get(shard, 0)
        assert topic.retention is not None
        age = round(topic.retention.total_seconds() * 1e6)
        known, now = self._old.get((topic.id, shard), 0), self._clock.now()
        old = await self._store.journal.position_at(shard, now - age, after=known)
        self._old[topic.id, shard] = old
        readers = [s for s in self._subscriptions.values() if topic.id in s.reaction.sources]
        return min([old, *(reader.positions.get(shard, 0) for reader in readers)])
