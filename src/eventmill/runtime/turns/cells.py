"""Cells: the entities that are in memory, how they get there and how they leave.

Place on the road: beside the turn, which asks for an entity and finds it here or has it loaded by
snapshot and events: recovery is the normal path.

Invariants: there is one cell per entity; a cell whose latest decision is not committed yet is never
evicted, because the store does not know that state; a load that must not see the store before a
commit waits for it; memory is bounded by count and bytes, least recently used goes first.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict

from eventmill.engine.entity import Live
from eventmill.errors import Overloaded
from eventmill.model import limits
from eventmill.model.definition import EntityDefinition
from eventmill.model.placement import Placement
from eventmill.model.subject import check_subject
from eventmill.ports.store import Store
from eventmill.runtime.committer import Batch
from eventmill.runtime.turns.restoring import restore

Key = tuple[str, str]
"""Component and entity id."""

EVICTIONS_AT_ONCE = 16
"""Per entity that comes in: the cache shrinks, and no turn waits long."""


class Cell(Live):
    """A live entity and the batch that its latest decision is in."""

    __slots__ = ("batch",)

    def __init__(self, definition: EntityDefinition, id: str, placement: Placement) -> None:
        super().__init__(definition, id, placement)
        self.batch: Batch | None = None

    @property
    def is_ahead(self) -> bool:
        """Whether the store does not know its state yet."""
        return self.batch is not None and not self.batch.done


class Cells:
    """All cells of a node."""

    def __init__(
        self,
        definitions: dict[str, EntityDefinition],
        store: Store,
        *,
        entities_max: int,
        bytes_max: int,
    ) -> None:
        self._definitions = definitions
        self._store = store
        self._entities_max = entities_max
        self._bytes_max = bytes_max
        self._cells: OrderedDict[Key, Cell] = OrderedDict()
        self._moves = 0
        """Shards that came or went."""
        self._loading: dict[Key, asyncio.Future[None]] = {}
        self._waiting: Counter[Key] = Counter()
        """Requests that wait for an entity to be loaded."""
        self.bytes = 0
        """Encoded size of all of them."""

    def __repr__(self) -> str:
        return f"<Cells [{len(self._cells)} in memory, {self.bytes} bytes]>"

    def __len__(self) -> int:
        return len(self._cells)

    def __contains__(self, key: Key) -> bool:
        return key in self._cells

    def get(self, key: Key) -> Cell | None:
        """Return an entity that is in memory; it is now the most recently used."""
        cell = self._cells.get(key)
        if cell is not None:
            self._cells.move_to_end(key)
        return cell

    async def load(self, key: Key) -> None:
        """Bring an entity into memory. Others may come first: ask `get` again afterwards.

        Raises `TooLarge` or `InvalidPayload` for an id that is none, `Overloaded` when too many wait already.
        """
        loading = self._loading.get(key)
        if loading is not None:
            await self._wait(key, loading)
            return
        check_subject("an entity id", key[1])
        loading = self._loading[key] = asyncio.get_running_loop().create_future()
        try:
            moves = self._moves
            cell = await self._restored(key)
            if self._moves != moves:
                return  # perhaps of its shard: somebody else may have changed it meanwhile
            # Room is made before it comes in: it must not be the one that goes.
            self._evict()
            self._cells[key] = cell
            self.bytes += cell.bytes
        finally:
            del self._loading[key]
            loading.set_result(None)

    def grow(self, size: int) -> None:
        """Note that an entity has become that many bytes larger."""
        self.bytes += size
        if self.bytes > self._bytes_max:
            self._evict()

    def drop(self, key: Key, cell: Cell, *, after: Batch | None) -> None:
        """Throw an entity out of memory; it is loaded again when `after` is committed."""
        if self._cells.get(key) is cell:
            del self._cells[key]
            self.bytes -= cell.bytes
        if after is not None and not after.done:
            self._bar(key, after)

    def leave(self, shard: int) -> None:
        """Throw out every entity of a shard, which another node may change from now on, or could
        until now: whoever asks here by mistake brings it into memory."""
        self._moves += 1
        for key, cell in [*self._cells.items()]:
            if cell.shard == shard:
                self.drop(key, cell, after=None)

    def forget(self, batch: Batch) -> None:
        """Throw out every entity whose state was in a batch that failed."""
        for cell in batch.holders:
            self.drop((cell.definition.id, cell.id), cell, after=None)

    def _bar(self, key: Key, until: Batch) -> None:
        """Let loads of an entity wait for a batch, whatever becomes of it."""
        loading = self._loading[key] = asyncio.get_running_loop().create_future()

        def open_up(gate: asyncio.Future[None]) -> None:
            if not gate.cancelled():
                gate.exception()  # looked at: the loop need not complain of it
            del self._loading[key]
            loading.set_result(None)

        until.later().add_done_callback(open_up)

    async def _wait(self, key: Key, loading: asyncio.Future[None]) -> None:
        if (
            self._waiting[key] >= limits.MAILBOX_ENTITY_MAX
            or self._waiting.total() >= limits.IN_FLIGHT_MAX
        ):
            raise Overloaded(f"too many requests wait for {key[0]}/{key[1]} to be loaded")
        self._waiting[key] += 1
        try:
            await asyncio.shield(loading)
        finally:
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key]

    async def _restored(self, key: Key) -> Cell:
        cell = Cell(self._definitions[key[0]], key[1], self._store.placement)
        await restore(self._store.journal, cell)
        return cell

    def _evict(self) -> None:
        """Drop the least recently used entities beyond the bounds."""
        for _ in range(EVICTIONS_AT_ONCE):
            is_over = self.bytes > self._bytes_max or len(self._cells) >= self._entities_max
            if not is_over or not self._cells:
                return
            key, cell = self._cells.popitem(last=False)
            if cell.is_ahead:
                self._cells[key] = cell
            else:
                self.bytes -= cell.bytes
