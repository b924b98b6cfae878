"""Changes: whoever follows single entities gets their new entries, wherever those are written.

Place on the road: dispatch, on the way out. One loop reads the ends of all shards that have an
entity which somebody follows, for all followers of the node at once, and hands each entry to those
of its entity. Who begins, or is slow, reads the store.

Invariants: a follower gets every entry of its entity once and in order, of a key-value entity those
that are still there; commits cost nothing here while nobody follows; what is held for followers is
bounded by entity, and what each of them reads by its room.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager

import structlog

from eventmill.errors import EventmillError
from eventmill.model import limits
from eventmill.model.entry import Entry, size_of
from eventmill.ports.clock import Clock
from eventmill.ports.store import Scan, Store
from eventmill.runtime.dispatch.tails import Tails, within

log = structlog.get_logger()

Key = tuple[str, str]
"""Component and entity id."""


class Changes:
    """All entities that are followed from this node.

    Parameter: `components` are those of the service's entities.
    """

    def __init__(
        self, components: frozenset[str], store: Store, tails: Tails, clock: Clock
    ) -> None:
        self._components = components
        self._store = store
        self._tails = tails
        self._clock = clock
        self._watched: dict[Key, Watched] = {}
        self._positions: dict[int, int] = {}
        """How far the loop has read, by shard that has an entity which is followed."""
        self._wanted = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Changes [{len(self._watched)} entities followed]>"

    async def run(self) -> None:
        """Hand entries to followers, for ever."""
        first = 0
        while True:
            if not self._watched:
                self._wanted.clear()
                await self._wanted.wait()
            await self._tails.wait(self._positions)
            try:
                first = await self._read(first)
            except EventmillError as error:
                log.warning("changes of entities not read", error=error.message)
                await self._clock.sleep(limits.QUIET_SECONDS)

    def wake(self) -> None:
        """Wake everybody who waits for news."""
        for watched in self._watched.values():
            watched.wake()

    async def follow(
        self, component: str, id: str, after: int, room: Callable[[], int]
    ) -> AsyncGenerator[list[Entry], None]:
        """Yield an entity's entries with a sequence above `after`, for ever.

        An entity that has begun anew since, because it was deleted and removed, is followed from
        its beginning.

        Parameter: `room` says how many bytes may be read ahead.
        """
        key, place = (component, id), Place(after)
        with self.watching(component, id) as watched:
            while True:
                page = await self._missed(key, place)
                while page:
                    page = within(Scan(page, 0), room()).entries
                    place.move(page)
                    yield page
                    page = await self._history(key, place.sequence)
                while (news := watched.after(place.position)) is not None:
                    if not news:
                        await watched.changed()
                        continue
                    place.move(news)
                    yield news

    async def last_sequence(self, component: str, id: str) -> int:
        """Return the sequence of an entity's last entry; 0 if it has none."""
        last = await self._store.journal.latest(component, id)
        return 0 if last is None else last.sequence

    @contextmanager
    def watching(self, component: str, id: str) -> Iterator[Watched]:
        """Watch an entity meanwhile: what is committed from now on is seen."""
        key = (component, id)
        watched = self._watched.get(key)
        if watched is None:
            shard = self._store.placement.entity(id)
            watched = self._watched[key] = Watched(shard)
            self._positions.setdefault(shard, self._tails.end(shard))
            self._wanted.set()
        watched.followers += 1
        try:
            yield watched
        finally:
            watched.followers -= 1
            if watched.followers == 0:
                del self._watched[key]
                if all(other.shard != watched.shard for other in self._watched.values()):
                    del self._positions[watched.shard]

    async def _read(self, first: int) -> int:
        """Read on in all shards, beginning with one; return the one to begin with next."""
        stretch = await self._tails.read(
            self._positions, limit=limits.DISPATCH_BATCH, sources=self._components, first=first
        )
        for entry in stretch.entries:
            watched = self._watched.get((entry.source, entry.subject))
            if watched is not None:
                watched.add(entry)
        for shard, position in stretch.positions.items():
            if shard in self._positions:  # else nobody follows there any more
                self._positions[shard] = max(position, self._positions[shard])
        await asyncio.sleep(0)  # a long way to the end must not hold up the node's work
        return stretch.next

    async def _missed(self, key: Key, place: Place) -> list[Entry]:
        """Read what is behind a place; if the entity has begun anew, from its beginning."""
        if place.sequence == 0:
            return await self._history(key, 0)
        page = await self._history(key, place.sequence - 1)
        if page and page[0].sequence > place.sequence:
            return page  # a key-value entity's state: the one before is not kept
        if page and place.position in (0, page[0].position):
            place.move(page[:1])
            return page[1:]
        place.sequence = 0
        return await self._history(key, 0)

    async def _history(self, key: Key, after: int) -> list[Entry]:
        return await self._store.journal.history(*key, after=after, limit=limits.SCAN_ROWS)


class Place:
    """How far a follower has come in its entity: sequence and position of an entry."""

    __slots__ = ("position", "sequence")

    def __init__(self, sequence: int) -> None:
        self.sequence = sequence
        self.position = 0
        """0: not known."""

    def __repr__(self) -> str:
        return f"<Place [sequence {self.sequence}, position {self.position}]>"

    def move(self, entries: list[Entry]) -> None:
        """Go behind the last of these."""
        self.sequence, self.position = entries[-1].sequence, entries[-1].position


class Watched:
    """One entity that is followed, with its newest entries."""

    def __init__(self, shard: int) -> None:
        self.shard = shard
        self.followers = 0
        self._entries: deque[Entry] = deque()
        self._bytes = 0
        self._dropped = 0
        """Position of the last entry that is not held any more."""
        self._changed: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        return f"<Watched [{self.followers} followers, {len(self._entries)} entries held]>"

    def add(self, entry: Entry) -> None:
        """Take a new entry and wake the followers."""
        entries = self._entries
        if entry.position <= self.seen:
            return
        entries.append(entry)
        self._bytes += size_of(entry)
        while len(entries) > limits.CHANGES_HELD or self._bytes > limits.CHANGES_BYTES_HELD:
            oldest = entries.popleft()
            self._bytes -= size_of(oldest)
            self._dropped = oldest.position
        self.wake()

    def wake(self) -> None:
        """Wake the followers."""
        if self._changed is not None:
            changed, self._changed = self._changed, None
            changed.set_result(None)

    def after(self, position: int) -> list[Entry] | None:
        """Return the entries behind a position; None if not all of them are held."""
        if position < self._dropped:
            return None
        return [entry for entry in self._entries if entry.position > position]

    @property
    def seen(self) -> int:
        """Position of the newest entry."""
        return self._entries[-1].position if self._entries else self._dropped

    async def beyond(self, position: int) -> None:
        """Return when there is an entry behind a position, or somebody called `wake`."""
        if self.seen <= position:
            await self.changed()

    async def changed(self) -> None:
        """Return when there is a new entry."""
        if self._changed is None:
            self._changed = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._changed)
