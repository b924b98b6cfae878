"""Entries of entities that table `history` does not know yet: they are in memory, and filed in bulk.

Entities are called in any order, so an index by entity is touched all over: one page of 4 KiB per
event, in the write-ahead log and again at its checkpoint. Here a commit writes the journal's right
edge only. Once enough entries have come together, a round files them entity by entity, a portion with
every commit, so that a page takes many entries at once and no commit waits for all of them
(docs/adr/0017; the idea is that of log-structured merge trees).

Invariants: whoever reads an entity's entries takes the filed ones, then those here; an entity's
entries are filed all at once, so those here come after those that are filed; up to the position kept
under `FILED` all entries are filed; what is here changes only when a transaction is known to be
durable; where that is in doubt, the file is asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import apsw

from eventmill.adapters.sqlite.names import Names
from eventmill.adapters.sqlite.statements import SQL
from eventmill.errors import Conflict
from eventmill.model.entry import Entry

FILED: Final = "$filed"
"""Name in the registry of the position up to which all entries are filed."""

ROUND_ENTRIES: Final = 16_384
"""Entries here that start a round: what a start reads, some 0.1 s; the fewer, the fewer to a page."""
ROUND_BYTES: Final = 16 << 20
"""The same bound in payload bytes, for memory's sake."""
FILED_PER_ADDED: Final = 2
"""Entries filed per entry added while a round is on: it ends before another round's worth has come."""

ALL: Final = 2**63 - 1
"""Beyond every sequence: to remove or file all of an entity."""

Key = tuple[str, str]
"""Source and subject."""

Row = tuple[int, str, int, int]
"""Source, subject, sequence, position."""


class Change:
    """What one transaction adds to, removes from and files of the entries in memory."""

    __slots__ = ("added", "filed", "removed")

    def __init__(self) -> None:
        self.added: dict[Key, list[Entry]] = {}
        self.removed: dict[Key, int] = {}
        """Below which sequence."""
        self.filed: list[Key] = []


class Unfiled:
    """The entries in memory, by entity.

    Parameter: `round_entries` is how many start a round.
    """

    def __init__(self, names: Names, round_entries: int = ROUND_ENTRIES) -> None:
        self._names = names
        self._round_entries = round_entries
        self._entries: dict[Key, list[Entry]] = {}
        self._count = 0
        self._bytes = 0
        self._round: list[Key] = []
        """Entities that this round has still to file, the last one first."""
        self._round_end = 0
        """Where the journal ended when the round began."""
        self._is_known = False
        self._doubtful: Change | None = None
        """Of a transaction whose outcome is unknown."""

    def __repr__(self) -> str:
        return f"<Unfiled [{self._count} entries of {len(self._entries)} entities]>"

    def read(self, db: apsw.Connection) -> None:
        """Read what is not filed, or only how the transaction in doubt ended."""
        change = self._doubtful
        if not self._is_known:
            self._read_all(db)
        elif change is not None and change.added:
            last = next(reversed(change.added.values()))[-1]
            if next(db.execute(SQL["is_stored"], (last.position,)), None):
                self.keep(change)
        elif change is not None and (change.removed or change.filed):
            self._read_all(db)
        self._is_known, self._doubtful = True, None

    def settle(self, db: apsw.Connection) -> None:
        """Find out how a transaction in doubt ended, if there is one."""
        if self._doubtful is not None:
            self.read(db)

    def doubt(self, change: Change) -> None:
        """Whether the transaction is durable is unknown."""
        self._doubtful = change

    def of(self, source: str, subject: str) -> list[Entry]:
        """Return an entity's entries that are not filed."""
        return self._entries.get((source, subject), [])

    def last_sequences(self, source: str) -> dict[str, int]:
        """Return the last sequence by subject of a source's entities that have entries here."""
        return {
            subject: entries[-1].sequence
            for (of_source, subject), entries in self._entries.items()
            if of_source == source
        }

    def admit(self, db: apsw.Connection, change: Change, entry: Entry) -> None:
        """Note an entity's entry that the transaction adds.

        Raises `Conflict` if its sequence is taken: whoever decided it did not know the entity's
        newest state.
        """
        key = (entry.source, entry.subject)
        mine = change.added.get(key)
        if mine is None:
            last = self._last(db, change, key)
            mine = change.added[key] = []
        else:
            last = mine[-1].sequence
        if entry.sequence <= last:
            raise _stale(key, entry.sequence)
        mine.append(entry)

    def remove(self, db: apsw.Connection, change: Change, key: Key, below: int) -> None:
        """Delete an entity's entries below a sequence, filed or not."""
        here = [*self._entries.get(key, []), *change.added.get(key, [])]
        db.executemany(SQL["delete_entry"], [(e.position,) for e in here if e.sequence < below])
        bindings = (self._names.number(db, key[0]), key[1], below)
        db.execute(SQL["delete_filed_entries"], bindings)
        db.execute(SQL["unfile"], bindings)
        change.removed[key] = below

    def compact(self, db: apsw.Connection, change: Change, key: Key, below: int) -> None:
        """Delete an entity's entries below its newest one.

        Raises `Conflict` if there is one beyond it.
        """
        mine = change.added.get(key)
        last = mine[-1].sequence if mine else self._last(db, change, key)
        if last > below:
            raise _stale(key, below)
        self.remove(db, change, key, below)

    def file_some(self, db: apsw.Connection, change: Change, count: int, end: int) -> None:
        """File a portion for `count` entries added, if it is time; `end` is the last position that
        was committed before."""
        if not count:
            return
        if not self._round:
            if self._count < self._round_entries and self._bytes < ROUND_BYTES:
                return
            self._round, self._round_end = sorted(self._entries, reverse=True), end
        rows: list[Row] = []
        for key in reversed(self._round):
            change.filed.append(key)
            rows += self._rows(key, change.removed.get(key, 0))
            if len(rows) >= FILED_PER_ADDED * count:
                break
        db.executemany(SQL["file"], rows)
        if len(change.filed) == len(self._round):
            db.execute(SQL["put_registry"], (FILED, str(self._round_end).encode()))

    def keep(self, change: Change) -> None:
        """The transaction is durable."""
        for key, below in change.removed.items():
            self._drop(key, below)
        for key in change.filed:
            self._drop(key, ALL)
        if change.filed:
            del self._round[-len(change.filed) :]
        for key, entries in change.added.items():
            below = change.removed.get(key, 0)
            for entry in entries:
                if entry.sequence >= below:
                    self._keep(entry)

    def _read_all(self, db: apsw.Connection) -> None:
        self._entries, self._round, self._count, self._bytes = {}, [], 0, 0
        texts = self._names.texts
        for r in db.execute(SQL["unfiled"]):
            self._keep(
                Entry(texts[r[1]], r[2], r[3], texts[r[4]], r[5], r[6], r[7], r[8], r[9], 0, r[0])
            )

    def _last(self, db: apsw.Connection, change: Change, key: Key) -> int:
        if change.removed.get(key) == ALL:
            return 0
        here = self._entries.get(key)
        if here:
            return here[-1].sequence
        number = self._names.numbers.get(key[0])
        (found,) = next(db.execute(SQL["last_filed"], (number, key[1])), (0,))
        return int(found)

    def _rows(self, key: Key, below: int) -> Iterator[Row]:
        number = self._names.numbers[key[0]]
        for entry in self._entries.get(key, ()):
            if entry.sequence >= below:
                yield number, key[1], entry.sequence, entry.position

    def _keep(self, entry: Entry) -> None:
        self._entries.setdefault((entry.source, entry.subject), []).append(entry)
        self._count += 1
        self._bytes += len(entry.payload)

    def _drop(self, key: Key, below: int) -> None:
        entries = self._entries.pop(key, [])
        left = [entry for entry in entries if entry.sequence >= below]
        if left:
            self._entries[key] = left
        self._count -= len(entries) - len(left)
        self._bytes -= sum(len(e.payload) for e in entries if e.sequence < below)


def _stale(key: Key, sequence: int) -> Conflict:
    return Conflict(f"somebody else wrote {key[0]}/{key[1]} beyond {sequence}")
