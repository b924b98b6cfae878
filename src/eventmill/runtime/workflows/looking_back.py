"""Looking back: finds what a workflow waits for among what came before its wait was durable.

Place on the road: behind the commit of a wait. What asked for the event, in most programs, is the
step that returned the wait, and the answer may be faster than the step's own commit: then whoever
reads the source (`waiting`) has passed it before there was a wait to be found. So a wait that a
step returned looks back: over the shard of its key, from where the workflow's steps were set going
(`model.progress`) up to the end.

Where those are in one shard, positions tell what came since; otherwise times, which are those of the
nodes that wrote. Invariant: who looks at the end of a shard after the commit of a wait sees everything
that was read without it. That may be more than has been read: what a workflow has taken it is not
given again (`engine.workflows.deciding`).
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Final, NamedTuple

import structlog

from eventmill.engine.workflows.rows import Due
from eventmill.errors import BrokerUnavailable
from eventmill.model import limits
from eventmill.model.definition import Source
from eventmill.model.entry import STEP, Entry
from eventmill.model.progress import decode_moved, decode_whole
from eventmill.ports.store import Scan, Store
from eventmill.runtime.dispatch.tails import Tails
from eventmill.runtime.turns.cells import Key
from eventmill.runtime.workflows.matching import end_of, event_of

log = structlog.get_logger()

AT_ONCE: Final = 16
"""Looks at the same time: each may hold a scan in memory."""

FIRST_REACH: Final = 1_000
"""Positions from the end that are looked at first for where to begin."""

FARTHER: Final = 30
"""How many times as far the next look goes."""

PAGE: Final = 2_000
"""Positions of one look at a shard of the store: nothing else happens on the node meanwhile."""

_Place = tuple[str, str, int]
"""Component, source and shard."""


class Found(NamedTuple):
    """What a workflow waits for."""

    event: bytes
    """JSON, for its step."""
    entry: Entry | None
    """None for an end that is only known from a snapshot."""

    @property
    def position(self) -> int:
        """In the shard of the wait's key; 0 for an end, of which nobody asks for the next."""
        return self.entry.position if self.entry is not None and self.entry.type != STEP else 0


class _Asked:
    """One wait that looks back."""

    __slots__ = ("begin", "due", "error", "found", "is_done", "time", "until")

    def __init__(self, due: Due, begin: int, time: int, until: int | None) -> None:
        self.due = due
        self.begin = begin
        self.time = time
        self.until = until
        self.found: Found | None = None
        self.error: Exception | None = None
        self.is_done = False

    def look_at(self, source: Source, entry: Entry) -> None:
        """Take an entry with its key, if it is the first that it waits for."""
        if self.found is not None or entry.position <= self.begin or entry.time < self.time:
            return
        if self.until is not None and entry.position > self.until:
            return
        try:
            event = event_of(source, self.due, entry)
        except Exception as error:  # what lifts a stored event is the user's
            log.warning("a wait passes over what it cannot read", entry=entry.id, error=str(error))
            return
        if event is not None:
            self.found = Found(event, entry)


class LookBack:
    """Looks back for waits, from whatever node they are on; for all that ask meanwhile at once, so that
    many waits read the end of a shard together and not each for itself."""

    def __init__(self, store: Store, tails: Tails) -> None:
        self._journal = store.journal
        self._store = store
        self._tails = tails
        self._room = asyncio.Semaphore(AT_ONCE)
        self._asked: dict[_Place, list[_Asked]] = defaultdict(list)
        self._scanning: dict[_Place, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def first(
        self, workflow: Key, source: Source, due: Due, until: int | None = None
    ) -> Found | None:
        """Return the first thing a wait can be given, of what is there now; None if nothing is.

        Parameter: `until` is the last position to look at, if not the end.

        Raises `Unavailable` for what cannot be read now.
        """
        placement = self._store.placement
        (shard,) = placement.read_by(placement.entity(due.key), [source.id])
        async with self._room:
            if not due.types:
                return await self._end(source.id, due.key)
            if not self._tails.is_there(shard):
                raise BrokerUnavailable(f"topic {source.id} cannot be read yet")
            end = await self._end_at(shard)
            begin, time = await self._begin(workflow, due, shard, end)
            if begin < (farthest := end - limits.WAIT_LOOK_BACK_POSITIONS):
                log.warning("a wait does not look back as far as its steps", workflow=workflow)
                begin = farthest
        return await self._together(
            source, (workflow[0], source.id, shard), _Asked(due, begin, time, until)
        )

    async def _together(self, source: Source, place: _Place, asked: _Asked) -> Found | None:
        """Scan for all that have asked for a place since the last scan of it began."""
        self._asked[place].append(asked)
        async with self._scanning[place]:
            if not asked.is_done:
                scanned = self._asked.pop(place)
                try:
                    async with self._room:
                        await self._scan(source, place[2], scanned)
                except Exception as error:
                    for one in scanned:
                        one.error = error
                except BaseException:  # only who scans is ended: the others ask anew
                    self._asked[place] += [one for one in scanned if one is not asked]
                    raise
                for one in scanned:
                    one.is_done = True
        if asked.error is not None:
            raise asked.error
        return asked.found

    async def _end(self, component: str, id: str) -> Found | None:
        """Find the end of a workflow, however long ago that was."""
        snapshot, entries = await self._journal.load(component, id)
        for entry in reversed(entries):
            if entry.type == STEP:
                ended = end_of(component, id, decode_moved(entry.payload).progress)
                return Found(ended, entry) if ended is not None else None
        if snapshot is None:
            return None
        ended = end_of(component, id, decode_whole(snapshot.state).progress)
        return Found(ended, None) if ended is not None else None

    async def _end_at(self, shard: int) -> int:
        """Return where a shard ends now, whoever writes it."""
        if self._tails.is_stored(shard):
            return await self._journal.end(shard)
        return await self._tails.find_end(shard)

    async def _begin(self, workflow: Key, due: Due, shard: int, end: int) -> tuple[int, int]:
        """Return behind which position, and since when, an event counts."""
        if not due.since:
            return due.after, 0
        own = await self._journal.history(*workflow, after=due.since - 1, limit=1)
        if not own:
            return end, 0
        if own[0].shard == shard:
            return max(due.after, own[0].position), 0
        apart = round(limits.CLOCKS_APART_SECONDS * 1e6)
        return max(due.after, await self._position_at(shard, own[0].time - apart, end)), own[0].time

    async def _position_at(self, shard: int, time: int, end: int) -> int:
        """Return a position behind which everything since a time is, looking from the end; 0 if that
        is too far away."""
        reach = min(FIRST_REACH, limits.WAIT_LOOK_BACK_POSITIONS)
        while (after := end - reach) > 0:
            found = await self._tails.position_at(shard, time, after=after)
            if found > after:
                return found
            if reach == limits.WAIT_LOOK_BACK_POSITIONS:
                return 0
            reach = min(reach * FARTHER, limits.WAIT_LOOK_BACK_POSITIONS)
        return await self._tails.position_at(shard, time)

    async def _scan(self, source: Source, shard: int, all_asked: list[_Asked]) -> None:
        end = await self._end_at(shard)  # now: after the commits of all these waits
        begin = min(one.begin for one in all_asked)
        by_key: dict[str, list[_Asked]] = defaultdict(list)
        for one in all_asked:
            by_key[one.due.key].append(one)
        sources = frozenset({source.id})
        while begin < end:
            scan = await self._read(shard, begin, end, sources)
            for entry in scan.entries:
                for one in by_key.get(entry.subject, ()):
                    one.look_at(source, entry)
            if scan.position <= begin or all(one.found is not None for one in all_asked):
                return
            begin = scan.position
            await asyncio.sleep(0)  # a long way to the end must not hold up the node's work

    async def _read(self, shard: int, begin: int, end: int, sources: frozenset[str]) -> Scan:
        """Read on behind a position: from memory as a rule, and what is not known there past it."""
        scan = await self._tails.source(shard).read(begin, limit=PAGE, sources=sources)
        if scan.position > begin:
            return scan
        high = min(end, begin + PAGE) if self._tails.is_stored(shard) else end
        return await self._tails.between(shard, begin, high, sources)
