"""Replicas: the turns of replicated entities, on whichever node they are asked for.

Place on the road: the turn, whose rules hold here too (`runtime.turns.turn`: no `await` between
reading a state and adding to the batch; answers wait for the commit that they depend on; what hangs
on a failed commit is thrown out). Two things differ: no shard has to be held, and what a command
adds to the batch is a part of a delta: all commands of one entity in one commit are one entry.

Invariants: a delta in a batch has what its commands did, and nothing of one that failed (`undo`); a
dot is in one batch only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from eventmill.engine.entity import NULL
from eventmill.engine.outgoing import Author, Expansion
from eventmill.engine.replicated import (
    decide,
    delta_entry,
    delta_of,
    is_deleted,
    published,
    size_of_effect,
)
from eventmill.errors import FAILURES, EventmillError, Unavailable
from eventmill.model import limits
from eventmill.model.definition import EntityDefinition
from eventmill.model.effect import Effect
from eventmill.model.entry import DELTAS, Entry
from eventmill.model.envelope import Envelope
from eventmill.model.handler import Handler
from eventmill.model.orders import PURGE
from eventmill.model.placement import Placement
from eventmill.model.replicated.causal import Causal, Writer, encode
from eventmill.ports.clock import Clock
from eventmill.ports.store import Store
from eventmill.runtime.committer import Batch, Committer
from eventmill.runtime.replicated.actors import Actor
from eventmill.runtime.replicated.log import Log
from eventmill.runtime.room import Room
from eventmill.runtime.turns.cells import Cell, Cells, Key
from eventmill.runtime.turns.guards import Guards
from eventmill.runtime.turns.turn import Entities, failure_of, repeat

DELETED_SECONDS = 10.0
"""How long a deleted entity is in memory before the store is asked whether it was removed for good."""


MEASURE_BYTES = 4_096
"""A replica is measured when it may have become twice as large, and by this much besides."""


class Part:
    """What a replica's commands have changed in one batch: an entry of the log, made when the batch
    becomes a commit."""

    __slots__ = ("batch", "bytes", "delta", "replica", "time")

    def __init__(self, replica: Replica, batch: Batch) -> None:
        self.replica = replica
        self.batch = batch
        self.delta = replica.writer.delta
        self.time = replica.identity.now
        self.bytes = 0
        """Of the values in it."""


class Replica(Cell):
    """A replicated entity in memory."""

    __slots__ = ("causal", "measured_at", "part", "seen_deleted", "writer")

    causal: Causal
    writer: Writer

    def __init__(self, definition: EntityDefinition, id: str, placement: Placement) -> None:
        super().__init__(definition, id, placement)
        self.part: Part | None = None
        """What the writer's delta is a part of."""
        self.seen_deleted: float | None = None
        """When it was first found here to be deleted."""
        self.take(Causal(), 0)

    def take(self, causal: Causal, size: int) -> None:
        """Show and change a state from now on."""
        self.causal, self.bytes = causal, size
        self.measured_at = size
        """How large it was when that was looked at; `bytes` is an estimate from then on."""
        self.state.hold(causal)
        self.writer = Writer(causal)
        self.deleted = is_deleted(causal)

    def grow(self, size: int) -> None:
        """Note what a change brings: at most so many bytes. What it replaced is found out in time."""
        self.bytes += size
        if self.bytes > 2 * self.measured_at + MEASURE_BYTES:
            self.bytes = self.measured_at = len(encode(self.causal))


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
        cell = self._cells.get(key)
        if cell is None:
            return None
        if cell.deleted and self._may_be_gone(cell):
            self.drop(key, cell, after=None)
            return None
        self._cells.move_to_end(key)
        return cell

    def peek(self, key: Key) -> Replica | None:
        """Return a replica that is in memory, without using it."""
        return self._cells.get(key)  # type: ignore[return-value]  # there are no others

    def leave(self, shard: int) -> None:
        """Throw out every replica of a home shard, and those that are just being loaded: deltas were
        missed. What is in a batch is loaded when that is committed."""
        self._moves += 1
        for key, cell in [*self._cells.items()]:
            if cell.shard == shard:
                self.drop(key, cell, after=cell.batch)

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
        self._parts: dict[Batch, list[Part]] = {}
        """Of the batches that are no commit yet."""
        self.on_purge: list[Callable[[Key], None]] = []
        committer.before_commit.append(self._seal)
        committer.on_failure.append(self._failed)
        log.on_delta = self._join
        log.on_gap = self.replicas.leave

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

    def _place_of_outcomes(self, component: str, id: str) -> tuple[str, str]:
        """In the log, as any node may write it."""
        return DELTAS, f"{component}/{id}"

    def _decide(  # type: ignore[override]  # its cells are replicas
        self,
        key: Key,
        cell: Replica,
        handler: Handler[Any, Any],
        effect: Effect[Any],
        envelope: Envelope,
        once: bytes | None,
    ) -> bytes | asyncio.Future[bytes]:
        batch = self._committer.open_batch()
        try:
            brought = size_of_effect(handler, effect, cell.bytes)
            also = self._published(cell, handler, effect, envelope) if effect.outgoing else None
        except EventmillError as error:
            raise self._guards.disclosed(handler, error) from error.__cause__
        if effect.merged and (cell.part is None or cell.part.batch is not batch):
            self._begin(cell, batch)
        try:
            reply = decide(cell.writer, effect, cell.state, cell.identity.now)
        except FAILURES as error:
            if effect.merged:
                self.cells.drop(key, cell, after=cell.batch)
            raise failure_of(handler, error) from error
        cell.deleted = effect.deleted
        key_of_outcome = once if envelope.origin is None else envelope.origin.encode()
        if key_of_outcome is not None:
            batch.commit.outcomes.append(self._outcome(cell, key_of_outcome, reply, None))
            batch.commit.bytes += len(reply)
        elif not (effect.merged or effect.outgoing):
            return self._released(cell, reply)
        if also is not None:
            also.add_to(batch.commit)
            batch.commit.bytes += also.bytes
        promise = self._promise(cell, batch, reply)
        if brought:
            self._bring(cell, batch, brought)
        return promise

    def _published(
        self, cell: Cell, handler: Handler[Any, Any], effect: Effect[Any], envelope: Envelope
    ) -> Expansion:
        author = Author(handler.place, cell.definition.topics, cell.placement, cell.shard)
        found = published(handler, effect, cell.identity.now, envelope.metadata, author)
        self._room.check_effects(effect.outgoing)
        return found

    def _begin(self, replica: Replica, batch: Batch) -> None:
        """From now on a replica's changes are in this batch."""
        replica.writer.seal(self._actor.number)
        replica.part = Part(replica, batch)
        self._parts.setdefault(batch, []).append(replica.part)

    def _bring(self, replica: Replica, batch: Batch, size: int) -> None:
        """Note that a change brought that many bytes of values."""
        part = replica.part
        assert part is not None
        part.bytes += size
        if part.bytes > limits.DELTA_BYTES_MAX:
            replica.part = None  # the next command begins another one
        batch.commit.bytes += size
        self._grow(replica, size)

    def _seal(self, batch: Batch) -> None:
        """A batch becomes a commit: its deltas are what they are now."""
        parts = self._parts.pop(batch, None)
        if parts is None:
            return
        for part in parts:
            if part.replica.part is part:
                part.replica.part = None
            if not part.delta.is_empty():
                batch.commit.entries.append(self._entry(part))
        self._actor.fence(batch.commit)

    def _entry(self, part: Part) -> Entry:
        replica = part.replica
        component, placement = replica.definition.id, replica.placement
        entry = delta_entry(component, replica.id, part.delta, part.time, placement)
        self._grow(replica, len(entry.payload) - part.bytes)
        return entry

    def _grow(self, replica: Replica, size: int) -> None:
        """Note that a replica, which may be out of memory by now, is so much larger."""
        before = replica.bytes
        replica.grow(size)
        if self.replicas.peek((replica.definition.id, replica.id)) is replica:
            self.cells.grow(replica.bytes - before)

    def _failed(self, batch: Batch) -> None:
        self._parts.pop(batch, None)
        if any(entry.source == DELTAS for entry in batch.commit.entries):
            self._actor.doubt()

    def _join(self, component: str, id: str, entry: Entry) -> bool:
        """Take a change of another node in, if the entity is in memory."""
        replica = self.replicas.peek((component, id))
        if replica is None:
            return False
        replica.causal.join(delta_of(entry))
        replica.deleted = is_deleted(replica.causal)
        self._grow(replica, len(entry.payload))
        return True

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
