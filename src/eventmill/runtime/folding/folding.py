"""Folding: a reaction that keeps rows. Entries and current rows in, changed rows and effects out.

Place on the road: the end of dispatch, in front of views (`runtime.views.projector`) and transforms
(`runtime.transforms.transformer`). Rows of a portion are read once, folded in memory, encoded once per
key; those of a batch are written in the same commit as the offset. A batch ends early when its rows or
effects bring as many bytes as one commit may have, a portion when those that are stored do.

Invariants: to fold an entry is pure, so a key's entries may be folded again; the caches hold only rows
that are committed or belong to the batch under way, and are emptied when that was not committed.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile

from eventmill.errors import FAILURES, HandlerFailed, TopicFull
from eventmill.model import limits
from eventmill.model.commit import Commit, Rows
from eventmill.model.entry import Entry
from eventmill.runtime.dispatch.reaction import Queue, Reacted, queue_of
from eventmill.runtime.folding.rows import TableRows


class Folding(ABC):
    """What all reactions have that keep rows; a subclass says what an entry does to them."""

    batch = limits.VIEW_BATCH
    exclusive = True
    whole = True
    waits = False
    quiet = 0.0

    weight = 0
    """Bytes that the effects of the batch under way bring, beside its rows."""

    made = 0
    """Results since the loop last had a turn: one entry may have many, be they dropped afterwards."""

    is_pressing = False
    """Whether there may be too much of either: looked at before every entry."""

    def __init__(self, tables: Mapping[str, TableRows]) -> None:
        self.tables = tables
        self._uncommitted = False
        self._has_changes = False
        self._portion = limits.VIEW_PORTION_FIRST
        """Entries whose rows are held in memory before their bytes are counted."""

    @abstractmethod
    async def fetch(self, entries: list[Entry]) -> list[Entry]:
        """Read the rows of entries; return the first ones, whose rows are in memory now."""

    @abstractmethod
    def fold(self, entry: Entry) -> None:
        """Change the rows of an entry's key, and note effects."""

    def refold(self, entry: Entry) -> None:
        """Change the rows once more; the effects are noted already."""
        self.fold(entry)

    def key_of(self, entry: Entry) -> str:
        """Return the key of an entry's rows."""
        return entry.subject

    def begin(self) -> None:
        """Forget the effects of the batch before."""
        self.weight, self.is_pressing = 0, False

    def press(self) -> None:
        """Note whether there is too much for one commit, or for one turn."""
        self.is_pressing = (
            self.weight >= limits.COMMIT_BYTES_MAX or self.made >= limits.RESULTS_BETWEEN_TURNS
        )

    def effects(self) -> list[Callable[[Commit], None]]:
        """Return what lets the effects of the batch become true."""
        return []

    async def react(self, entries: list[Entry], attempt: int) -> Reacted:
        if self._uncommitted:
            self._clear()
        self._uncommitted = True
        try:
            return await self._react(entries, is_careful=False)
        except HandlerFailed:
            # Rows are encoded once per key and batch; to find whose row cannot be kept, again.
            self._clear()
            return await self._react(entries, is_careful=True)

    def committed(self) -> None:
        """The last batch is durable."""
        self._uncommitted = False

    def taken(self, ends: Mapping[int, int]) -> None:
        """Rows of these shards may have changed elsewhere."""
        for rows in self.tables.values():
            rows.refresh()

    async def _react(self, entries: list[Entry], *, is_careful: bool) -> Reacted:
        reacted = Reacted()
        failed: set[Queue] = set()
        done: list[Entry] = []
        size = start = 0
        self.begin()
        while start < len(entries) and size + self.weight < limits.COMMIT_BYTES_MAX:
            if start:
                await asyncio.sleep(0)  # a long batch lets commands pass
            before = self._bytes
            portion = await self.fetch(entries[start : start + self._portion])
            count = await self._fold_all(portion, reacted, failed, done, is_careful=is_careful)
            start += count
            self._encode()
            size += self._bytes - before
            self._resize(count, self._bytes - before)
        reacted.left = entries[start:]
        changes = [change for table in self.tables.values() if (change := table.changes())]
        self._has_changes = bool(changes)
        reacted.fills.append(lambda commit: _write(commit, changes, size))
        reacted.fills += self.effects()
        reacted.weight = size + self.weight
        return reacted

    async def _fold_all(
        self,
        entries: list[Entry],
        reacted: Reacted,
        failed: set[Queue],
        done: list[Entry],
        *,
        is_careful: bool,
    ) -> int:
        """Fold entries until a commit is full; return how many."""
        fold = self._fold_and_check if is_careful else self.fold
        for count, entry in enumerate(entries):
            if self.is_pressing:
                if self.weight >= limits.COMMIT_BYTES_MAX:
                    return count
                self.made, self.is_pressing = 0, False
                await asyncio.sleep(0)
            if failed and queue_of(entry) in failed:
                reacted.behind.append(entry)
                continue
            try:
                fold(entry)
                done.append(entry)
            except TopicFull:
                raise  # it is nobody's mistake: all is tried again until there is room
            except FAILURES as error:  # user code may raise anything; the entry is parked
                failed.add(queue_of(entry))
                reacted.failed.append((entry, error))
                await self._undo(self.key_of(entry), done)
        return len(entries)

    @property
    def _bytes(self) -> int:
        return sum(table.bytes for table in self.tables.values())

    def _encode(self) -> None:
        for table in self.tables.values():
            table.encode()

    def _resize(self, entries: int, size: int) -> None:
        """Let the next portion bring as many bytes as one commit may, if its rows are like these;
        it grows slowly, in case they are not."""
        fitting = limits.COMMIT_BYTES_MAX * entries // max(1, size)
        self._portion = max(1, min(fitting, 2 * self._portion, limits.DISPATCH_BATCH))

    def _clear(self) -> None:
        for rows in self.tables.values():
            rows.clear()

    def _fold_and_check(self, entry: Entry) -> None:
        self.fold(entry)
        key = self.key_of(entry)
        for rows in self.tables.values():
            rows.check(key)

    async def _undo(self, key: str, done: list[Entry]) -> None:
        """An entry may have changed a row in place before it failed: fold the key anew."""
        for table in self.tables.values():
            await table.read([key])
        for entry in done:
            if self.key_of(entry) == key:
                self.refold(entry)


async def fetched(
    table: TableRows, entries: list[Entry], keys: Sequence[str | None]
) -> list[Entry]:
    """Read the rows of entries' keys; return the first entries, whose rows are in memory now.

    Parameter: `keys` are one for each entry, None for an entry that has no row in the table.
    """
    if await table.fetch(key for key in keys if key is not None):
        return entries
    known = (key is None or table.has(key) for key in keys)
    return entries[: sum(1 for _ in takewhile(bool, known))]


def _write(commit: Commit, changes: list[Rows], size: int) -> None:
    commit.rows += changes
    commit.bytes += size
