"""Publishing to topics from outside an effect: HTTP, clients, `ctx.publish`.

A message with a dedupe key (a CloudEvent's source and id) that was published before has no second
effect: its outcome is stored in the same commit as the message.
"""

from __future__ import annotations

import asyncio
from hashlib import blake2b
from typing import Any

import msgspec

from eventmill.engine import outgoing
from eventmill.model import limits
from eventmill.model.commit import Commit, Outcome
from eventmill.model.entry import Entry
from eventmill.model.subject import check_subject
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
        if key is not None:
            check_subject(f"a key of topic {topic.id!r}", key, least=0)
        now = self._clock.now()
        entries = [outgoing.message_entry(topic, event, now, metadata) for event in events]
        messages = [
            Message(
                e.type,
                e.version,
                e.subject if key is None else key,
                e.payload,
                metadata,
                dedupe and f"{dedupe}/{i}",
            )
            for i, e in enumerate(entries)
        ]
        return await self.messages(topic.id, messages)

    async def messages(self, topic: str, messages: list[Message]) -> int:
        """Append messages in order, all or none; return how many were not duplicates.

        Durable when it returns. Raises `StoreUnavailable`, `Overloaded`, `TopicFull` and their kin.
        """
        fresh: dict[bytes, Message] = {}
        plain: list[tuple[Message, bytes | None]] = []
        others: list[asyncio.Task[int]] = []
        for message in messages:
            key = _digest(message.dedupe) if message.dedupe is not None else None
            if key is None:
                plain.append((message, None))
            elif (claim := self._claims.get((topic, key))) is not None:
                others.append(claim)
            elif key not in fresh:
                fresh[key] = message
                plain.append((message, key))
        # Claimed before the store is asked: whoever comes with the same key waits for this one.
        work = self._append(topic, plain, list(fresh))
        count = await asyncio.shield(self._claims.start([(topic, key) for key in fresh], work))
        for other in others:
            # A duplicate of a message under way is acknowledged only when that one is durable.
            await asyncio.shield(other)
        return count

    async def _append(
        self, topic: str, messages: list[tuple[Message, bytes | None]], keys: list[bytes]
    ) -> int:
        known = await self._known(topic, keys)
        new = [pair for pair in messages if pair[1] not in known] if known else messages
        if new:
            self._room.check([topic])
            await self._committer.write(lambda commit: self._fill(commit, topic, new))
        return len(new)

    async def _known(self, topic: str, keys: list[bytes]) -> set[bytes]:
        if not keys:
            return set()
        now = self._clock.now()
        outcomes = await self._store.journal.outcomes(topic, "", keys)
        return {outcome.key for outcome in outcomes if outcome.expires > now}

    def _fill(self, commit: Commit, topic: str, fresh: list[tuple[Message, bytes | None]]) -> None:
        now = self._clock.now()
        expires = now + limits.IDEMPOTENCY_SECONDS * 1_000_000
        placement = self._store.placement
        for m, key in fresh:
            shard = placement.message(topic, m.subject)
            commit.entries.append(
                Entry(
                    topic, m.subject, 0, m.type, m.version, now, m.payload, m.metadata, None, shard
                )
            )
            if key is not None:
                commit.outcomes.append(Outcome(topic, "", key, expires, b""))


def _digest(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=16).digest()
