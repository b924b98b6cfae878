"""Publishing to topics from outside an effect: HTTP, clients, `ctx.publish`.

A message with a dedupe key (a CloudEvent's source and id) that was published before has no second
effect: its outcome is stored in the same commit as the message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

import msgspec

from eventmill.engine import outgoing
from eventmill.model import limits
from eventmill.model.commit import Commit, Outcome
from eventmill.model.entry import Entry
from eventmill.model.topic import Topic
from eventmill.ports.clock import Clock
from eventmill.ports.store import Store
from eventmill.runtime.claims import Claims
from eventmill.runtime.committer import Committer
from eventmill.runtime.room import Room


class Message(msgspec.Struct, gc=False):
    """A message on its way to a topic, its payload already encoded."""

    type: str
    version: int
    subject: str
    payload: bytes
    metadata: bytes | None = None
    dedupe: str | None = None


class Publisher:
    """Appends messages to topics."""

    def __init__(self, store: Store, committer: Committer, clock: Clock, room: Room) -> None:
        self._store = store
        self._committer = committer
        self._clock = clock
        self._room = room
        self._claims: Claims[tuple[str, bytes], int] = Claims()

    async def events(
        self,
        topic: Topic[Any],
        events: tuple[Any, ...],
        *,
        metadata: bytes | None = None,
        dedupe: str | None = None,
        key: str | None = None,
    ) -> int:
        """Publish Python events, under `key` if the topic shall not make it; see `messages`."""
        now, placement = self._clock.now(), self._store.placement
        entries = [
            outgoing.message_entry(topic, event, now, metadata, placement, key) for event in events
        ]
        keys: list[bytes | None] = [None] * len(entries)
        if dedupe is not None:
            keys = [_digest(f"{dedupe}/{i}") for i in range(len(entries))]
        return await self._publish(topic.id, entries, keys)

    async def messages(self, topic: str, messages: list[Message]) -> int:
        """Append messages in order, all or none; return how many were not duplicates.

        Durable when it returns. Raises `StoreUnavailable`, `Overloaded`, `TopicFull` and their kin.
        """
        now = self._clock.now()
        entries = [self._entry(topic, message, now) for message in messages]
        keys = [None if m.dedupe is None else _digest(m.dedupe) for m in messages]
        return await self._publish(topic, entries, keys)

    def _entry(self, topic: str, m: Message, now: int) -> Entry:
        shard = self._store.placement.message(topic, m.subject)
        return Entry(
            topic, m.subject, 0, m.type, m.version, now, m.payload, m.metadata, None, shard
        )

    async def _publish(self, topic: str, entries: list[Entry], keys: list[bytes | None]) -> int:
        fresh: list[Entry] = []
        keyed: dict[bytes, Entry] = {}
        others: list[asyncio.Task[int]] = []
        for entry, key in zip(entries, keys, strict=True):
            if key is None:
                fresh.append(entry)
            elif (claim := self._claims.get((topic, key))) is not None:
                others.append(claim)
            elif key not in keyed:
                keyed[key] = entry
                fresh.append(entry)
        # Claimed before the store is asked: whoever comes with the same key waits for this one.
        work = self._append(topic, fresh, keyed)
        count = await asyncio.shield(self._claims.start([(topic, key) for key in keyed], work))
        for other in others:
            # A duplicate of a message under way is acknowledged only when that one is durable.
            await asyncio.shield(other)
        return count

    async def _append(self, topic: str, entries: list[Entry], keyed: dict[bytes, Entry]) -> int:
        """Append entries, some of them under a dedupe key, but for those whose key is known."""
        known = await self._known(topic, list(keyed))
        if known:
            repeated = {id(keyed.pop(key)) for key in known}
            entries = [entry for entry in entries if id(entry) not in repeated]
        if entries:
            self._room.check([topic])
            await self._committer.write(lambda commit: self._fill(commit, topic, entries, keyed))
        return len(entries)

    async def _known(self, topic: str, keys: list[bytes]) -> set[bytes]:
        if not keys:
            return set()
        now = self._clock.now()
        outcomes = await self._store.journal.outcomes(topic, "", keys)
        return {outcome.key for outcome in outcomes if outcome.expires > now}

    def _fill(
        self, commit: Commit, topic: str, entries: list[Entry], keys: Iterable[bytes]
    ) -> None:
        expires = self._clock.now() + limits.IDEMPOTENCY_SECONDS * 1_000_000
        commit.entries += entries
        commit.outcomes += [Outcome(topic, "", key, expires, b"") for key in keys]


def _digest(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=16).digest()
