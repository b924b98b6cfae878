"""Tails: the newest entries of each shard in memory, and the wake-up of everybody who follows them.

Place on the road: between commit and dispatch. A reader at the end of a shard never touches the
store; one that has fallen behind reads the store until it has caught up.

A shard is in the store (`Tail`) or, if it holds a topic's messages, in the broker
(`runtime.topics.streams`): readers do not know the difference.

Invariants: a tail's `_entries[i]` has position `_first + i`; entries are shared by all readers and
never changed; an end never moves back.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Protocol

from eventmill.model import limits
from eventmill.model.commit import Commit
from eventmill.model.entry import Entry, size_of, size_of_all
from eventmill.ports.store import Journal, Scan
from eventmill.runtime.committer import Committer

Positions = Mapping[int, int]
"""Position by shard: how far somebody has read."""


class Stretch(NamedTuple):
    """What was found behind positions."""

    entries: list[Entry]
    """In order of position, shard by shard."""
    positions: dict[int, int]
    """How far was looked, by shard, where that is further than before."""
    next: int = 0
    """The shard to begin with the next time, so that each gets its turn."""


class Source(Protocol):
    """A shard as it is read: its end in memory, and what is behind that elsewhere."""

    @property
    def position(self) -> int:
        """The last position that is known."""
        ...

    @property
    def is_there(self) -> bool:
        """Whether it can be read; not yet, perhaps, if it is another service's."""
        ...

    async def read(self, after: int, *, limit: int, sources: frozenset[str]) -> Scan:
        """Read up to `limit` positions after a position, from memory if they are there; fewer when
        the entries have `SCAN_BYTES_MAX` bytes."""
        ...

    async def between(self, low: int, high: int, sources: frozenset[str]) -> Scan:
        """Read what is above a position, up to another one, past the memory; or a part of it."""
        ...

    async def find_end(self) -> int:
        """Return the last position, looking for it if it may not be known."""
        ...

    async def position_at(self, time: int, *, after: int = 0) -> int:
        """Return the position before the first entry of `time` (microseconds) or later above
        `after`."""
        ...


class Tails:
    """The ends of all shards that this node may read."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self._stored: dict[int, Tail] = {}
        """Those of the store."""
        self._tails: dict[int, Source] = {}
        """All."""
        self._changed: asyncio.Future[None] | None = None
        self._in_doubt = False
        self.above: list[Tails] = []
        """Tails that read these: their readers are woken, too."""
        self.listeners: list[Callable[[], None]] = []
        """Called when the store's shards have something new: services beside this one read them."""

    def __repr__(self) -> str:
        return f"<Tails [{len(self._tails)} shards, {self.total} entries committed]>"

    @property
    def total(self) -> int:
        """Entries ever committed, of all shards of the store."""
        return sum(tail.position for tail in self._stored.values())

    def follow(self, committer: Committer) -> None:
        """Take what is committed here as soon as it is."""
        committer.on_commit.append(self.extend)
        committer.on_failure.append(lambda batch: self.doubt())

    async def start(self, shards: Iterable[int]) -> None:
        """Find the ends of shards of the store."""
        numbers, ends = list(shards), await self.journal.ends()
        for shard in numbers:
            self._tails[shard] = self._stored[shard] = Tail(
                self.journal,
                shard,
                ends.get(shard, 0),
                entries_max=limits.TAIL_RECORDS // len(numbers),
                bytes_max=limits.TAIL_BYTES // len(numbers),
            )

    def add(self, shard: int, source: Source) -> None:
        """Read a shard that is not in the store."""
        self._tails[shard] = source

    def source(self, shard: int) -> Source:
        """Return a shard as it is read."""
        return self._tails[shard]

    def is_stored(self, shard: int) -> bool:
        """Whether a shard is in the store."""
        return shard in self._stored

    def end(self, shard: int) -> int:
        """Return the last committed position of a shard."""
        return self._tails[shard].position

    def ends(self, shards: Iterable[int]) -> dict[int, int]:
        """Return the last committed position of each shard."""
        return {shard: self._tails[shard].position for shard in shards}

    def lag(self, positions: Positions) -> int:
        """Return how many positions there are behind these."""
        return sum(max(0, self.end(shard) - after) for shard, after in positions.items())

    def extend(self, commit: Commit) -> None:
        """Take what was just committed and wake the readers."""
        entries = commit.entries
        if not entries:
            return
        if len(self._tails) == 1 and 0 in self._stored:
            self._stored[0].extend(entries)
        else:
            by_shard: dict[int, list[Entry]] = defaultdict(list)
            for entry in entries:
                by_shard[entry.shard].append(entry)
            for shard in by_shard.keys() & self._stored.keys():
                self._stored[shard].extend(by_shard[shard])
        self._tell()

    def doubt(self) -> None:
        """A commit failed, and its outcome may be unknown: the next reader looks what is there."""
        self._in_doubt = True
        self.wake()

    async def look(self) -> None:
        """Find out where the shards end now; wake the readers if there is something new."""
        self._in_doubt = False
        try:
            found = await self.journal.ends()
        except BaseException:
            self._in_doubt = True
            raise
        moved = [
            self._stored[shard].move_to(found[shard]) for shard in found if shard in self._stored
        ]
        if any(moved):
            self._tell()

    def wake(self) -> None:
        """Wake all readers."""
        if self._changed is not None:
            changed, self._changed = self._changed, None
            changed.set_result(None)
        for tails in self.above:
            tails.wake()

    def _tell(self) -> None:
        self.wake()
        for listener in self.listeners:
            listener()

    async def wait(self, positions: Positions) -> None:
        """Return when there is something behind these positions (or somebody called `wake`)."""
        if self.lag(positions):
            return
        if self._changed is None:
            self._changed = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._changed)

    async def read(
        self, positions: Positions, *, limit: int, sources: frozenset[str], first: int = 0
    ) -> Stretch:
        """Look at up to `limit` positions behind these, the same number in each shard that has any;
        at fewer when the entries have `SCAN_BYTES_MAX` bytes, of all shards together.

        Parameters: `first` is the shard to begin with.
        """
        if self._in_doubt:
            await self.look()
        behind = [shard for shard, after in positions.items() if self.end(shard) > after]
        if len(behind) > 1:
            behind.sort(key=lambda shard: (shard < first, shard))
        entries: list[Entry] = []
        moved: dict[int, int] = {}
        left = limits.SCAN_BYTES_MAX
        for shard in behind:
            share = max(1, limit // len(behind))
            scan = await self._tails[shard].read(positions[shard], limit=share, sources=sources)
            if moved:
                scan = within(scan, left)
            entries += scan.entries
            if scan.position > positions[shard]:
                moved[shard] = scan.position
            if len(behind) > 1 and (left := left - size_of_all(scan.entries)) <= 0:
                break
        return Stretch(entries, moved, next(reversed(moved), -1) + 1)

    def is_there(self, shard: int) -> bool:
        """Whether a shard can be read: what is missing now may come with all that was in it."""
        return self._tails[shard].is_there

    async def between(self, shard: int, low: int, high: int, sources: frozenset[str]) -> Scan:
        """Read what is above a position of a shard, up to another one, or a part of it."""
        return await self._tails[shard].between(low, high, sources)

    async def find_end(self, shard: int) -> int:
        """Return a shard's last position; of one that this node does not follow, too."""
        return await self._tails[shard].find_end()

    async def find_ends(self, shards: Iterable[int]) -> dict[int, int]:
        """The same of several."""
        numbers = list(shards)
        ends = await asyncio.gather(*[self.find_end(shard) for shard in numbers])
        return dict(zip(numbers, ends, strict=True))

    async def position_at(self, shard: int, time: int, *, after: int = 0) -> int:
        """Return the position before a shard's first entry of `time` or later above `after`."""
        return await self._tails[shard].position_at(time, after=after)


class Tail:
    """End of one shard's journal.

    Parameters: `entries_max` and `bytes_max` bound what is kept in memory.
    """

    is_there = True

    def __init__(
        self, journal: Journal, shard: int, position: int, *, entries_max: int, bytes_max: int
    ) -> None:
        self._journal = journal
        self.shard = shard
        self.position = position
        """The last committed position."""
        self._entries: list[Entry] = []
        self._first = position + 1
        self._bytes = 0
        self._parts: deque[tuple[int, int]] = deque()
        """Of each commit, how many of them it brought and their bytes."""
        self._entries_max = entries_max
        self._bytes_max = bytes_max

    def __repr__(self) -> str:
        return f"<Tail {self.shard} [position {self.position}, {len(self._entries)} in memory]>"

    def extend(self, entries: list[Entry]) -> None:
        """Take what this node has just committed."""
        if entries[-1].position <= self.position:
            return  # `move_to` was faster: readers find it in the store
        if entries[0].position != self.position + 1:
            # Something else came between, from a commit of unknown outcome or from another node:
            # it is read from the store.
            self._empty(entries[0].position - 1)
        self._entries += entries
        self.position = entries[-1].position
        size = size_of_all(entries)
        self._parts.append((len(entries), size))
        self._bytes += size
        self._trim()

    def move_to(self, end: int) -> bool:
        """Note where the shard ends; return whether that is news."""
        if end <= self.position:
            return False
        self._empty(end)
        return True

    async def read(self, after: int, *, limit: int, sources: frozenset[str]) -> Scan:
        if after + 1 < self._first:
            # Far behind, entries of interest may be rare: look at many, hand out `limit` at most.
            look = max(limit, limits.DISPATCH_BATCH)
            scan = await self._journal.read(self.shard, after, limit=look, sources=sources)
            if len(scan.entries) <= limit:
                return scan
            entries = scan.entries[:limit]
            return Scan(entries, entries[-1].position)
        start = after + 1 - self._first
        stretch = self._entries[start : start + limit]
        if not stretch:
            return Scan([], after)
        found = [entry for entry in stretch if entry.source in sources]
        scan = Scan(found, stretch[-1].position)
        if self._bytes < limits.SCAN_BYTES_MAX:  # all of them: the usual case
            return scan
        return within(scan, limits.SCAN_BYTES_MAX)

    async def between(self, low: int, high: int, sources: frozenset[str]) -> Scan:
        return await self._journal.read(self.shard, low, limit=high - low, sources=sources)

    async def find_end(self) -> int:
        return self.position

    async def position_at(self, time: int, *, after: int = 0) -> int:
        return await self._journal.position_at(self.shard, time, after=after)

    def _empty(self, position: int) -> None:
        """Nothing up to a position is in memory."""
        self._entries, self._bytes = [], 0
        self._parts.clear()
        self._first = position + 1
        self.position = position

    def _trim(self) -> None:
        """Forget the oldest, not with every commit: what stays is moved."""
        if len(self._entries) <= 2 * self._entries_max and self._bytes <= 2 * self._bytes_max:
            return
        gone = 0
        while len(self._entries) - gone > self._entries_max or self._bytes > self._bytes_max:
            count, size = self._parts.popleft()
            self._bytes -= size
            gone += count
        del self._entries[:gone]
        self._first += gone


def within(scan: Scan, size: int) -> Scan:
    """Return the part of a scan whose entries reach a size, or all of it."""
    for number, entry in enumerate(scan.entries, 1):
        size -= size_of(entry)
        if size <= 0:
            return Scan(scan.entries[:number], entry.position)
    return scan
