"""The compactor: joins deltas into stored states, and trims the log.

Place on the road: dispatch. A subscription to the deltas of the shards that this node holds: a batch
of deltas becomes one entry per entity with its whole state, in the place of the one before, in the
commit that moves the offset. So a replica is made of one entry and what is behind the offset; and
whoever follows the entity (consumers, views) sees its states, as a key-value entity's.

Invariants: what is up to the offset is in the stored states; only what is up to the offset is
trimmed, and of a shared store not the newest `TRIM_KEPT`, which nodes that are a little behind read.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from typing import Final

import structlog

from eventmill.engine.outgoing import purge_timer
from eventmill.engine.replicated import delta_of, is_deleted, state_entry
from eventmill.errors import Conflict, DataMisfit, Unavailable
from eventmill.model import limits
from eventmill.model.commit import Commit
from eventmill.model.definition import EntityDefinition, Retry
from eventmill.model.entry import DELETED, DELTAS, Entry
from eventmill.model.replicated.causal import Causal, decode
from eventmill.ports.clock import Clock
from eventmill.ports.store import Store
from eventmill.runtime.dispatch.reaction import Reacted
from eventmill.runtime.turns.cells import Key

log = structlog.get_logger()

COMPACT_SECONDS: Final = 0.1
"""Pause between two batches: a hot entity is stored ten times a second, however often it changes."""

STATES_PER_SECOND: Final = 2_000
"""The pause is longer after a batch with more entities: if a thousand are hot, each is stored twice
a second."""

BREATH: Final = 512
"""Deltas joined without a pause: a large batch must not hold up the node's work."""

TRIM_SECONDS: Final = 10.0
TRIM_MORE_SECONDS: Final = 0.05
"""Pause when there is more to trim: after a start, the way through all of the journal."""

TRIM_POSITIONS: Final = 2_000
TRIM_KEPT: Final = 4_096


class Kept:
    """An entity's stored state, in memory."""

    __slots__ = ("deleted", "sequence", "size", "state")

    def __init__(self, sequence: int, state: Causal, size: int) -> None:
        self.sequence = sequence
        self.state = state
        self.size = size
        self.deleted = is_deleted(state)
        """Whether it is stored as deleted."""


class Compactor:
    """The reaction to deltas."""

    sources = frozenset({DELTAS})
    skipped: frozenset[tuple[str, str]] = frozenset()
    retry = Retry()
    batch = limits.COMPACT_BATCH
    exclusive = True
    whole = True
    waits = False

    def __init__(
        self, definitions: Mapping[str, EntityDefinition], store: Store, clock: Clock
    ) -> None:
        self._definitions = definitions
        self._store = store
        self._clock = clock
        self._kept: OrderedDict[Key, Kept] = OrderedDict()
        self._bytes = 0
        self._is_ahead = False
        """What is kept has changes that are not committed, as far as it is known."""
        self._pause = 0.0
        self._next = 0.0
        self._trimmed: dict[int, int] = {}

    def __repr__(self) -> str:
        return f"<Compactor [{len(self._kept)} kept]>"

    @property
    def quiet(self) -> float:
        return max(0.0, self._next - self._clock.monotonic())

    async def react(self, entries: list[Entry], attempt: int) -> Reacted:
        """Join a batch. One that does not fit raises `DataMisfit`: it is parked when it comes alone."""
        if self._is_ahead:
            self._drop()
        self._is_ahead = True
        reacted = Reacted()
        changed: dict[Key, Kept] = {}
        size = 0
        for at, entry in enumerate(entries):
            key = (entry.type, entry.subject)
            kept = await self._of(key, entry)
            kept.state.join(delta_of(entry))
            size += len(entry.payload) + (0 if key in changed else kept.size)
            changed[key] = kept
            if size >= limits.COMMIT_BYTES_MAX or len(changed) >= limits.COMMIT_ENTRIES_MAX:
                reacted.left = entries[at + 1 :]
                break
            if at % BREATH == BREATH - 1:
                await asyncio.sleep(0)
        stored = [self._stored(key, kept) for key, kept in changed.items() if not kept.deleted]
        is_all = not reacted.left and len(entries) < self.batch
        self._pause = max(COMPACT_SECONDS, len(stored) / STATES_PER_SECOND) if is_all else 0.0
        reacted.weight = size
        reacted.fills.append(lambda commit: self._fill(commit, stored))
        return reacted

    def committed(self) -> None:
        self._is_ahead = False
        self._next = self._clock.monotonic() + self._pause
        while (
            self._bytes > limits.CACHE_COMPACTED_BYTES or len(self._kept) > limits.CACHE_COMPACTED
        ):
            _, gone = self._kept.popitem(last=False)
            self._bytes -= gone.size

    def taken(self, ends: Mapping[int, int]) -> None:
        self._drop()

    def forget(self, key: Key) -> None:
        """An entity is removed for good."""
        gone = self._kept.pop(key, None)
        if gone is not None:
            self._bytes -= gone.size

    async def trim_on(self, positions: Callable[[], Mapping[int, int]], *, shared: bool) -> None:
        """Trim the log until cancelled. Parameter: `positions` tells how far it has come, by shard."""
        while True:
            await self._clock.sleep(TRIM_SECONDS)
            try:
                await self._trim(dict(positions()), shared=shared)
            except (Unavailable, Conflict) as error:
                log.warning("deltas not trimmed", error=str(error))

    async def _trim(self, positions: Mapping[int, int], *, shared: bool) -> None:
        for shard, position in positions.items():
            until = position - TRIM_KEPT if shared else position
            after = self._trimmed.get(shard, 0)
            while after < until:
                step = min(after + TRIM_POSITIONS, until)
                await self._store.trim([DELTAS], shard, after, step)
                self._trimmed[shard] = after = step
                await self._clock.sleep(TRIM_MORE_SECONDS)

    def _drop(self) -> None:
        self._kept.clear()
        self._bytes = 0

    async def _of(self, key: Key, entry: Entry) -> Kept:
        kept = self._kept.get(key)
        if kept is not None:
            self._kept.move_to_end(key)
            return kept
        if key[0] not in self._definitions:
            raise DataMisfit(
                f"a change of {key[0]}/{key[1]}, but no replicated entity {key[0]!r} is part of the "
                "service: if it was renamed, give it back its id"
            )
        last = await self._store.journal.latest(*key)
        if last is not None:
            kept = Kept(last.sequence, decode(last.payload), len(last.payload))
        else:
            kept = Kept(0, Causal(), 0)
        self._kept[key] = kept
        self._bytes += kept.size
        return kept

    def _stored(self, key: Key, kept: Kept) -> Entry:
        kept.sequence += 1
        now, placement = self._clock.now(), self._store.placement
        entry = state_entry(*key, kept.sequence, kept.state, now, placement)
        self._bytes += len(entry.payload) - kept.size
        kept.size = len(entry.payload)
        kept.deleted = is_deleted(kept.state)
        return entry

    def _fill(self, commit: Commit, entries: Collection[Entry]) -> None:
        for entry in entries:
            key = (entry.source, entry.subject)
            definition = self._definitions[key[0]]
            commit.entries.append(entry)
            if definition.keep_history is None and entry.sequence > 1:
                commit.compacted.append((*key, entry.sequence))
            if entry.type == DELETED:
                due = entry.time + round(definition.retention.total_seconds() * 1e6)
                timer = purge_timer(*key, entry.sequence, due, entry.time, entry.shard)
                commit.timers[timer.name] = timer
