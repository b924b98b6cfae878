"""The tail: the newest entries of a shard in memory, and the wake-up of everybody who follows it.

Place on the road: between commit and dispatch. A reader at the end of the journal never touches
the store; one that has fallen behind reads the store until it has caught up.

Invariants: `_entries[i]` has position `_first + i`; entries are shared by all readers and never
changed.
"""

from __future__ import annotations

import asyncio

from eventmill.model import limits
from eventmill.model.commit import Commit
from eventmill.model.entry import Entry
from eventmill.ports.store import Journal, Scan


class Tail:
    """End of one shard's journal."""

    def __init__(self, journal: Journal, shard: int = 0) -> None:
        self._journal = journal
        self.shard = shard
        self.position = 0
        """The last committed position."""
        self._entries: list[Entry] = []
        self._first = 1
        self._bytes = 0
        self._changed: asyncio.Future[None] | None = None
        self._in_doubt = False

    def __repr__(self) -> str:
        return f"<Tail {self.shard} [position {self.position}, {len(self._entries)} in memory]>"

    async def start(self) -> None:
        """Find the end of the journal."""
        self.position = await self._journal.end(self.shard)
        self._first = self.position + 1

    def extend(self, commit: Commit) -> None:
        """Take what was just committed and wake the readers."""
        entries = commit.entries
        if not entries:
            return
        if entries[0].position != self.position + 1:
            # A commit of unknown outcome came true: what it wrote is read from the store.
            self._empty(entries[0].position - 1)
        self._entries += entries
        self.position = entries[-1].position
        self._bytes += sum([len(entry.payload) for entry in entries])
        self._trim()
        self.wake()

    def doubt(self) -> None:
        """A commit failed, and its outcome may be unknown: the next reader looks what is there."""
        self._in_doubt = True
        self.wake()

    def wake(self) -> None:
        """Wake all readers."""
        if self._changed is not None:
            changed, self._changed = self._changed, None
            changed.set_result(None)

    async def wait(self, after: int) -> None:
        """Return when there is something after a position (or somebody called `wake`)."""
        if self.position > after:
            return
        if self._changed is None:
            self._changed = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._changed)

    async def read(self, after: int, *, limit: int, sources: frozenset[str]) -> Scan:
        """Read up to `limit` positions after a position, from memory if they are there; fewer when
        the entries have `SCAN_BYTES_MAX` bytes of payload."""
        if self._in_doubt:
            await self._look()
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
        left = limits.SCAN_BYTES_MAX
        for number, entry in enumerate(found, 1):
            left -= len(entry.payload)
            if left <= 0:
                return Scan(found[:number], entry.position)
        return Scan(found, stretch[-1].position)

    async def _look(self) -> None:
        end = await self._journal.end(self.shard)
        self._in_doubt = False
        if end > self.position:
            self._empty(end)

    def _empty(self, position: int) -> None:
        """Nothing up to a position is in memory."""
        self._entries, self._bytes = [], 0
        self._first = position + 1
        self.position = position

    def _trim(self) -> None:
        if len(self._entries) <= 2 * limits.TAIL_RECORDS and self._bytes <= 2 * limits.TAIL_BYTES:
            return
        half = len(self._entries) // 2
        self._bytes -= sum(len(entry.payload) for entry in self._entries[:half])
        del self._entries[:half]
        self._first += half
