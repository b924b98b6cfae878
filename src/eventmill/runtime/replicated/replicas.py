"""Replicas: the turns of replicated entities, on whichever node they are asked for.

Place on the road: the turn, whose rules hold here too (`runtime.turns.turn`: no `await` between
reading a state and adding to the batch; answers wait for the commit that they depend on; what hangs
on a failed commit is thrown out). Two things differ: no shard has to be held, and what a command
adds to the batch is a part of a delta: all commands of one entity in one commit are one entry.

Invariants: a delta in a batch has what its commands did, and nothing of one that failed: a command
works on a delta of its own, which is joined when nothing can fail any more; a dot is in one batch
only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from eventmill.engine.entity import NULL
from eventmill.engine.outgoing import PURGE, Author
from eventmill.engine.replicated import (
    change,
    check_effect,
    delta_entry,
    is_deleted,
    published,
    reply_of,
)
from eventmill.errors import EventmillError, Unavailable
from eventmill.model import limits
from eventmill.model.commit import Outcome
from eventmill.model.definition import EntityDefinition
from eventmill.model.effect import Effect
from eventmill.model.entry import DELTAS, Entry
from eventmill.model.envelope import Envelope
from eventmill.model.handler import Handler
from eventmill.model.placement import Placement
from eventmill.model.replicated.causal import Causal, Writer, encode
from eventmill.ports.clock import Clock
from eventmill.ports.store import Store
from eventmill.runtime.committer import Batch, Committer
from eventmill.runtime.replicated.actors import Actor
from eventmill.runtime.replicated.log import Log
from eventmill.runtime.topics.room import Room
from eventmill.runtime.turns.cells import Cell, Cells, Key
from eventmill.runtime.turns.guards import Guards
from eventmill.runtime.turns.turn import Entities, changes_anything, failure_of, repeat

DELETED_SECONDS = 10.0
"""How long a deleted entity is in memory before the store is asked whether it was removed for good."""


class Replica(Cell):
    """A replicated entity in memory."""

    __slots__ = ("causal", "entry", "pending", "seen_deleted", "writer")

    causal: Causal
    writer: Writer

    def __init__(self, definition: EntityDefinition, id: str, placement: Placement) -> None:
        super().__init__(definition, id, placement)
        self.pending: Causal | None = None
        """Its delta in the batch `batch`."""
        self.entry: Entry | None = None
        """What its latest delta is stored as."""
        self.seen_deleted: float | None = None
        """When it was first found here to be deleted."""
        self.take(Causal(), 0)

    def take(self, causal: Causal, size: int) -> None:
        """Show and change a state from now on."""
        self.causal, self.bytes = causal, size
        self.state.hold(causal)
        self.writer = Writer(causal)
        self.deleted = is_deleted(causal)


class ReplicaCells(Cells):
    """Replicas in memory; they come out of the log."""

    def __init__(
        self,
        definitions: dict[str, EntityDefinition],
        store: Store,
        replicas: Log,
        clock: Clock,
    ) -> None:
        super().__init__(
            definitions,
            store,
            entities_max=limits.CACHE_REPLICAS,
            bytes_max=limits.CACHE_REPLICAS_BYTES,
        )
        self._log = replicas
        self._clock = clock

    def get(self, key: Key) -> Cell | None:
        cell = super().get(key)
        if cell is not None and cell.deleted and self._may_be_gone(cell):
            self.drop(key, cell, after=None)
            return None
        return cell

    def peek(self, key: Key) -> Replica | None:
        """Return a replica that is in memory, without using it."""
        return self._cells.get(key)  # type: ignore[return-value]  # there are no others

    def of_shard(self, home: int) -> list[tuple[Key, Cell]]:
        """Return what is in memory of a home shard."""
        return [(key, cell) for key, cell in self._cells.items() if cell.shard == home]

    def _may_be_gone(self, cell: Cell) -> bool:
        assert isinstance(cell, Replica)
        now = self._clock.monotonic()
        if cell.seen_deleted is None:
            cell.seen_deleted = now
        return not cell.is_ahead and now - cell.seen_deleted > DELETED_SECONDS

    async def _restored(self, key: Key) -> Cell:
        replica = Replica(self._definitions[key[0]], key[1], self._store.placement)
        replica.take(*await self._log.load(*key))
        return replica


class Replicas(Entities):
    """All replicas of this node: runs their turns."""

    def __init__(
        self,
        definitions: dict[str, EntityDefinition],
        store: Store,
        committer: Committer,
        clock: Clock,
        guards: Guards,
        room: Room,
        log: Log,
        actor: Actor,
    ) -> None:
        self.replicas = ReplicaCells(definitions, store, log, clock)
        every_shard = range(limits.SLICES)
        super().__init__(
            definitions, store, committer, clock, guards, every_shard, room, cells=self.replicas
        )
        self._actor = actor
        self._open: dict[Batch, list[tuple[Entry, Causal]]] = {}
        """Deltas by the batch that they are in."""
        self.on_purge: list[Callable[[Key], None]] = []
        committer.before_commit.append(self._seal)
        committer.on_failure.append(self._failed)
        log.on_delta = self._join
        log.on_gap = self._forget

    def __repr__(self) -> str:
        return f"<Replicas [{self.cells!r}]>"

    def replica(self, component: str, id: str) -> Replica | None:
        """Return a replica that is in memory."""
        return self.replicas.peek((component, id))

    async def is_done(self, envelope: Envelope) -> bool:
        """Whether a sent command had its effect before.

        Raises `Rejected` again for one that was refused.
        """
        assert envelope.origin is not None
        outcomes = await self._outcomes(envelope, envelope.origin.encode())
        for outcome in outcomes:
            repeat(outcome)
        return bool(outcomes)

    async def _outcomes(self, envelope: Envelope, key: bytes) -> list[Outcome]:
        subject = _subject(envelope.component, envelope.id)
        return await self._store.journal.outcomes(DELTAS, subject, [key])

    def _outcome(self, cell: Cell, key: bytes, reply: bytes, rejection: str | None) -> Outcome:
        """Of the log, as any node may write it."""
        expires = cell.identity.now + limits.IDEMPOTENCY_SECONDS * 1_000_000
        subject = _subject(cell.definition.id, cell.id)
        return Outcome(DELTAS, subject, key, expires, reply, rejection)

    def _decide(
        self,
        key: Key,
        cell: Cell,
        handler: Handler[Any, Any],
        effect: Effect[Any],
        envelope: Envelope,
        once: bytes | None,
    ) -> bytes | asyncio.Future[bytes]:
        assert isinstance(cell, Replica)
        batch = self._committer.open_batch()
        now, size = cell.identity.now, cell.bytes
        key_of_outcome = once if envelope.origin is None else envelope.origin.encode()
        try:
            check_effect(handler, effect, size)
            if self._room.full:
                self._room.check_effects(effect.outgoing)
            author = Author(handler.place, cell.definition.topics, cell.placement, cell.shard)
            also = published(handler, effect, now, envelope.metadata, author)
            is_changed = bool(effect.merged or effect.deleted)
            if is_changed:
                self._change(cell, effect, batch)
            reply = reply_of(effect, cell.state)
        except Exception as error:
            # A reply that fails leaves a state that never became true; what was decided before is in
            # its batch and safe.
            self.cells.drop(key, cell, after=cell.batch)
            if isinstance(error, EventmillError):
                raise self._guards.disclosed(handler, error) from error.__cause__
            raise failure_of(handler, error) from error
        if key_of_outcome is not None:
            batch.commit.outcomes.append(self._outcome(cell, key_of_outcome, reply, None))
            batch.commit.bytes += len(reply)
        elif not changes_anything(effect):
            return self._released(cell, reply)
        if is_changed:
            self._tell(cell, effect, batch)
        if also is not None:
            also.add_to(batch.commit)
            batch.commit.bytes += also.bytes
        promise = self._promise(cell, batch, reply)
        self.cells.grow(cell.bytes - size)
        return promise

    def _change(self, replica: Replica, effect: Effect[Any], batch: Batch) -> None:
        """Change the state in memory; the writer holds the delta."""
        writer = replica.writer
        actor = self._actor.number
        if replica.batch is not batch or replica.pending is None or writer.actor != actor:
            replica.pending = None
            writer.seal(actor)
        writer.now = replica.identity.now
        change(writer, effect)
        replica.deleted = replica.deleted or effect.deleted

    def _tell(self, replica: Replica, effect: Effect[Any], batch: Batch) -> None:
        """Add the writer's delta to the batch: to that of the entity that is there, if there is."""
        size = _DOT_BYTES + sum(one.size for one in effect.merged)
        if replica.pending is None:
            placement, id = replica.placement, replica.id
            entry = delta_entry(replica.definition.id, id, replica.identity.now, placement)
            replica.entry, replica.pending = entry, replica.writer.delta
            batch.commit.entries.append(entry)
            self._open.setdefault(batch, []).append((entry, replica.pending))
        else:
            replica.pending.join(replica.writer.delta)
        replica.bytes += size
        batch.commit.bytes += size

    def _seal(self, batch: Batch) -> None:
        """A batch becomes a commit: its deltas are what they are now."""
        deltas = self._open.pop(batch, None)
        if deltas is None:
            return
        for entry, delta in deltas:
            entry.payload = encode(delta)
        self._actor.fence(batch.commit)

    def _failed(self, batch: Batch) -> None:
        self._open.pop(batch, None)
        if any(entry.source == DELTAS for entry in batch.commit.entries):
            self._actor.doubt()

    def _join(self, component: str, id: str, delta: Causal, size: int) -> bool:
        """Take a change of another node in, if the entity is in memory."""
        replica = self.replicas.peek((component, id))
        if replica is None:
            return False
        replica.causal.join(delta)
        replica.deleted = is_deleted(replica.causal)
        replica.bytes += size
        self.cells.grow(size)
        return True

    def _forget(self, home: int) -> None:
        """Load the replicas of a home shard anew when they are wanted."""
        for key, cell in self.replicas.of_shard(home):
            self.cells.drop(key, cell, after=cell.batch)

    def _built_in(self, key: Key, cell: Cell, envelope: Envelope) -> bytes | asyncio.Future[bytes]:
        if envelope.name != PURGE:
            self.handler(key[0], envelope.name)
            raise Unavailable(f"{envelope.name} is not for replicated entities")
        if not cell.deleted:
            return self._released(cell, NULL)
        batch = self._committer.open_batch()
        batch.commit.purged.append(key)
        promise = self._promise(cell, batch, NULL)
        self.cells.drop(key, cell, after=batch)
        for notify in self.on_purge:
            notify(key)
        return promise


_DOT_BYTES = 24
"""What a change takes at least, as JSON."""


def _subject(component: str, id: str) -> str:
    return f"{component}/{id}"
