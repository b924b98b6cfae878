"""Entries of entities that table `history` does not know yet: they are in memory, and filed in bulk.

Entities are called in any order, so an index by entity is touched all over: one page of 4 KiB per
event, in the write-ahead log and again at its checkpoint. Here a commit writes the journal's right
edge only. Once enough entries have come together, a round files them entity by entity, a portion with
every commit, so that a page takes many entries at once and no commit waits for all of them
(docs/adr/0017; the idea is that of log-structured merge trees).

Invariants: whoever reads an entity's entries takes the filed ones, then those here; an entity's
entries are filed from the oldest on, so those here come after those that are filed; up to the position kept
under `FILED` all entries are filed; what is here changes only when a transaction is known to be
durable; where that is in doubt, the file is asked.
"""

from __future__ import annotations

from typing import Final

import apsw

from eventmill.adapters.sqlite.names import Names
from eventmill.adapters.sqlite.statements import SQL
from eventmill.errors import Conflict
from eventmill.model.entry import Entry, size_of, size_of_all

FILED: Final = "$filed"
"""Name in the registry of the position up to which all entries are filed."""

ROUND_ENTRIES: Final = 16_384
"""Entries here that start a round: what a start reads, some 0.1 s; the fewer, the fewer to a page."""
ROUND_BYTES: Final = 16 << 20
"""The same bound in bytes, for memory's sake."""
ENTRY_BYTES: Final = ROUND_BYTES // ROUND_ENTRIES
"""An added entry counts once more for each of these, or few large ones would come while many small
ones are filed."""
FILED_PER_ADDED: Final = 2
"""Entries filed per entry added while a round is on: it ends before another round's worth has come."""

ALL: Final = 2**63 - 1
"""Beyond every sequence: what a purge deletes."""

Key = tuple[str, str]
"""Source and subject."""

Row = tuple[int, str, int, int]
"""Source, subject, sequence, position."""


class Change:
    """What one transaction does to the entries in memory, in this order."""

    __slots__ = ("added", "bytes", "compacted", "filed", "finished", "mark", "purged")

    def __init__(self) -> None:
        self.purged: set[Key] = set()
        self.added: dict[Key, list[Entry]] = {}
        self.bytes = 0
        """Of those added."""
        self.compacted: dict[Key, int] = {}
        """Below which sequence."""
        self.filed: dict[Key, int] = {}
        """How many of each entity, from the oldest on: none of those added."""
        self.finished = 0
        """Entities that the round is done with."""
        self.mark = 0
        """The position up to which all is filed, if the transaction moves it."""


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
        self._mark = 0
        """What is kept under `FILED`."""
        self._positions_max = 2 * round_entries
        """Positions behind the mark that start a round, most of them messages: a start looks at them."""
        self._is_known = False
        self._doubtful: Change | None = None
        """Of a transaction whose outcome is unknown."""
        self._ending: Change | None = None
        """Of a transaction that is becoming durable."""

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
        elif change is not None and (change.purged or change.compacted or change.filed):
            self._read_all(db)
        self._is_known, self._doubtful = True, None

    def settle(self, db: apsw.Connection) -> None:
        """Find out how a transaction in doubt ended, if there is one."""
        if self._doubtful is not None:
            self.read(db)

    def doubt(self, change: Change) -> None:
        """Whether the transaction is durable is unknown."""
        self._ending, self._doubtful = None, change

    def end(self, change: Change) -> None:
        """The transaction is becoming durable, in another thread: readers may see it at any time."""
        self._ending = change

    def of_ending(self, db: apsw.Connection, source: str, subject: str) -> list[Entry]:
        """Return the entries that a transaction which is becoming durable has added to an entity, if it
        is durable by now. They matter to who finds no others: it has compacted those."""
        added = self._ending.added.get((source, subject)) if self._ending is not None else None
        if added and next(db.execute(SQL["is_stored"], (added[-1].position,)), None):
            return added
        return []

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
        change.bytes += size_of(entry)

    def purge(self, db: apsw.Connection, change: Change, key: Key) -> None:
        """Delete all of an entity's entries, before any are added."""
        self._delete(db, key, self._entries.get(key, []), ALL)
        change.purged.add(key)

    def compact(self, db: apsw.Connection, change: Change, key: Key, below: int) -> None:
        """Delete an entity's entries below a sequence: never the newest one."""
        mine = change.added.get(key, [])
        if not mine and self._last(db, change, key) < below:
            return
        here = [*self._remaining(change, key), *mine]
        self._delete(db, key, [entry for entry in here if entry.sequence < below], below)
        change.compacted[key] = below
        change.bytes -= size_of_all(entry for entry in mine if entry.sequence < below)
        mine[:] = [entry for entry in mine if entry.sequence >= below]

    def file_some(self, db: apsw.Connection, change: Change, count: int, end: int) -> None:
        """File a portion for `count` entries added, if it is time; `end` is the last position that
        was committed before."""
        if not count or not (self._round or self._begin_round(end)):
            return
        rows: list[Row] = []
        room = FILED_PER_ADDED * (count + change.bytes // ENTRY_BYTES)
        for key in reversed(self._round):
            entries = self._remaining(change, key)
            some = entries[: room - len(rows)]
            number = self._names.numbers[key[0]]
            rows += [(number, key[1], entry.sequence, entry.position) for entry in some]
            change.filed[key] = len(some)
            if len(some) < len(entries):
                break
            change.finished += 1
            if len(rows) == room:
                break
        db.executemany(SQL["file"], rows)
        if change.finished == len(self._round):
            db.execute(SQL["put_registry"], (FILED, str(self._round_end).encode()))
            change.mark = self._round_end

    def _begin_round(self, end: int) -> bool:
        """Begin a round if it is time. It may have nothing to file: then only the mark moves."""
        if (
            self._count < self._round_entries
            and self._bytes < ROUND_BYTES
            and end - self._mark < self._positions_max
        ):
            return False
        self._round, self._round_end = sorted(self._entries, reverse=True), end
        return True

    def keep(self, change: Change) -> None:
        """The transaction is durable."""
        self._ending = None
        for key in change.purged:
            self._drop(key, len(self._entries.get(key, [])))
        for key, below in change.compacted.items():
            self._drop(key, sum(e.sequence < below for e in self._entries.get(key, [])))
        for key, count in change.filed.items():
            self._drop(key, count)
        if change.finished:
            del self._round[-change.finished :]
        if change.mark:
            self._mark = change.mark
        for key, entries in change.added.items():
            self._entries.setdefault(key, []).extend(entries)
            self._count += len(entries)
        self._bytes += change.bytes

    def _read_all(self, db: apsw.Connection) -> None:
        self._entries, self._round, self._count, self._bytes = {}, [], 0, 0
        (self._mark,) = next(db.execute(SQL["filed"]))
        texts = self._names.texts
        change = Change()
        for r in db.execute(SQL["unfiled"], (self._mark,)):
            source = texts[r[1]]
            e = Entry(source, r[2], r[3], texts[r[4]], r[5], r[6], r[7], r[8], r[9], 0, r[0])
            change.added.setdefault((source, r[2]), []).append(e)
            change.bytes += size_of(e)
        self.keep(change)

    def _last(self, db: apsw.Connection, change: Change, key: Key) -> int:
        if key in change.purged:
            return 0
        here = self._entries.get(key)
        if here:
            return here[-1].sequence
        number = self._names.numbers.get(key[0])
        (found,) = next(db.execute(SQL["last_filed"], (number, key[1])), (0,))
        return int(found)

    def _remaining(self, change: Change, key: Key) -> list[Entry]:
        """An entity's entries that are here and that the transaction leaves."""
        entries = [] if key in change.purged else self._entries.get(key, [])
        below = change.compacted.get(key, 0)
        return [entry for entry in entries if entry.sequence >= below] if below else entries

    def _delete(self, db: apsw.Connection, key: Key, here: list[Entry], below: int) -> None:
        db.executemany(SQL["delete_entry"], [(entry.position,) for entry in here])
        bindings = (self._names.number(db, key[0]), key[1], below)
        db.execute(SQL["delete_filed_entries"], bindings)
        db.execute(SQL["unfile"], bindings)

    def _drop(self, key: Key, count: int) -> None:
        """Forget so many of an entity's entries, from the oldest on."""
        entries = self._entries.get(key)
        if entries is None:
            return
        self._count -= count
        self._bytes -= size_of_all(entries[:count])
        del entries[:count]
        if not entries:
            del self._entries[key]


def _stale(key: Key, sequence: int) -> Conflict:
    return Conflict(f"somebody else wrote {key[0]}/{key[1]} beyond {sequence}")
