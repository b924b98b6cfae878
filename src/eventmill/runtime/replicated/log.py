"""The log of deltas: what all nodes have changed, in the order of the store.

Place on the road: dispatch, but on every node and of all shards. Deltas are entries of the platform's
own topic `DELTAS`, kept in the store also where users' topics are in a broker; any node appends to
it. What this node has committed it knows, what others tell it over the transport it takes if it is
what comes next, everything else it reads; so a lost word costs time, nothing else.

Invariants: replicas in memory have every delta up to `positions`; a delta that arrives while its
entity is being loaded is in what is loaded; deltas that were trimmed before they were read are noticed
(a shard of deltas has nothing else, so its positions have no gap), and the replicas are loaded anew.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable

import structlog

from eventmill.engine.replicated import delta_of
from eventmill.errors import Conflict, DataMisfit, Unavailable
from eventmill.model import limits
from eventmill.model.commit import Commit
from eventmill.model.entry import DELTAS, Entry
from eventmill.model.replicated.causal import Causal, decode
from eventmill.ports.clock import Clock
from eventmill.ports.store import Store
from eventmill.runtime.dispatch.tails import Tails

log = structlog.get_logger()

NAME = "$replicas"
"""Subscription that joins deltas into stored states."""

FLOOR_SECONDS = 1.0
"""How old may be what is known of how far the deltas are in the stored states."""

RETRY_SECONDS = 0.5


class Log:
    """Reads the deltas. Parameter: `shared` says that other nodes append, too."""

    def __init__(self, store: Store, tails: Tails, clock: Clock, *, shared: bool) -> None:
        self._store = store
        self._tails = tails
        self._clock = clock
        self._shared = shared
        self.positions: dict[int, int] = {}
        """How far it was read, by shard."""
        self.on_delta: Callable[[str, str, Entry], bool] = lambda component, id, entry: False
        """Called with each delta and whose it is; says whether that is in memory."""
        self.on_gap: Callable[[int], None] = lambda home: None
        """Called with a home shard whose deltas were trimmed before they were read."""
        self.on_move: list[Callable[[], None]] = []
        """Called when it was read further."""
        self.compacted: Callable[[int], int] = lambda shard: 0
        """How far this node has joined the deltas of a shard into stored states, if it does that."""
        self._arriving: dict[tuple[str, str], list[Causal]] = {}
        """Deltas of entities that are being loaded."""
        self._floors: dict[int, int] = {}
        self._floors_seen = -FLOOR_SECONDS
        self._reading = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<Log [{self._tails.lag(self.positions)} behind]>"

    async def start(self) -> None:
        """Begin at the end: nothing is in memory yet."""
        if self._shared:
            shards = self._store.placement.of_topic(DELTAS)
            self.positions = await self._tails.find_ends(shards)

    async def run(self) -> None:
        """Read what others have changed, until cancelled."""
        while True:
            try:
                await self.read()
            except (Unavailable, Conflict) as error:
                log.warning("deltas not read", error=str(error))
                await self._clock.sleep(RETRY_SECONDS)
            await self._tails.wait(self.positions)

    async def catch_up(self) -> None:
        """Read all that is stored by now."""
        await self._tails.look()
        await self.read()

    async def read(self) -> None:
        """Read up to the known ends of all shards."""
        async with self._reading:
            for shard in self.positions:
                while self._tails.end(shard) > self.positions[shard]:
                    await self._read(shard)

    async def _read(self, shard: int) -> None:
        before = self.positions[shard]
        stretch = await self._tails.read(
            {shard: before}, limit=limits.DISPATCH_BATCH, sources=frozenset({DELTAS})
        )
        after = stretch.positions.get(shard, before)
        at = self.positions[shard]  # others may have told more meanwhile
        self._join(entry for entry in stretch.entries if entry.position > at)
        if len(stretch.entries) < after - before:
            self.on_gap(self._store.placement.home(shard))
        if after > at:
            self._moved(shard, after)
        await asyncio.sleep(0)  # a long way must not hold up the node's work

    def committed(self, commit: Commit) -> None:
        """Note what this node has appended: its replicas have it."""
        for entry in commit.entries:
            at = self.positions.get(entry.shard)
            if at is not None and entry.position == at + 1:
                self._moved(entry.shard, entry.position)

    def take(self, entries: Iterable[Entry]) -> None:
        """Take what another node tells, as far as it is what comes next."""
        for entry in entries:
            if self.positions.get(entry.shard) == entry.position - 1:
                self._join([entry])
                self._moved(entry.shard, entry.position)

    async def load(self, component: str, id: str) -> tuple[Causal, int]:
        """Return the state of an entity, made of what is stored and all deltas; and its size.

        Deltas are read first: what is trimmed meanwhile is in the stored state by then.

        Raises `Unavailable`, `DataMisfit`.
        """
        arriving = self._arriving[component, id] = []
        try:
            deltas = await self._deltas(component, id)
            state, size = await stored_state(self._store, component, id)
            for delta in (*deltas, *arriving):
                state.join(delta)
            return state, size
        finally:
            del self._arriving[component, id]

    async def _deltas(self, component: str, id: str) -> list[Causal]:
        shard = self._store.placement.message(DELTAS, id)
        at = {shard: await self._floor(shard)}
        found: list[Causal] = []
        while True:
            stretch = await self._tails.read(
                at, limit=limits.SCAN_ROWS, sources=frozenset({DELTAS})
            )
            if not stretch.positions:
                return found
            at.update(stretch.positions)
            found += [
                delta_of(e) for e in stretch.entries if e.subject == id and e.type == component
            ]
            await asyncio.sleep(0)

    async def _floor(self, shard: int) -> int:
        """Return a position up to which all deltas are in the stored states."""
        if here := self.compacted(shard):
            return here
        now = self._clock.monotonic()
        if now - self._floors_seen >= FLOOR_SECONDS:
            self._floors_seen = now
            offsets = await self._store.offsets()
            self._floors = {s: at for (name, s), at in offsets.items() if name == NAME}
        return self._floors.get(shard, 0)

    def _join(self, entries: Iterable[Entry]) -> None:
        by_key: dict[tuple[str, str], list[Entry]] = defaultdict(list)
        for entry in entries:
            by_key[entry.type, entry.subject].append(entry)
        for (component, id), some in by_key.items():
            try:
                self._join_one(component, id, some)
            except DataMisfit as error:  # the compactor parks it
                log.error("delta not read", entity=f"{component}/{id}", error=error.message)

    def _join_one(self, component: str, id: str, entries: list[Entry]) -> None:
        arriving = self._arriving.get((component, id))
        for entry in entries:
            if arriving is not None:
                arriving.append(delta_of(entry))
            elif not self.on_delta(component, id, entry):
                break  # not in memory

    def _moved(self, shard: int, position: int) -> None:
        self.positions[shard] = position
        for notify in self.on_move:
            notify()


async def stored_state(store: Store, component: str, id: str) -> tuple[Causal, int]:
    """Return the stored state of an entity, empty if there is none, and its size.

    Raises `DataMisfit`.
    """
    last = await store.journal.latest(component, id)
    if last is None:
        return Causal(), 0
    return decode(last.payload), len(last.payload)
