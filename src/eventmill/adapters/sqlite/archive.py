"""Export and import of a data file, line by line; see `model.archive` for the format.

An export reads one snapshot of the file, also beside a running node. An import fills a file of its
own and moves it into place when it is whole, so there is never half a store.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import apsw
import msgspec

from eventmill.adapters import lines
from eventmill.adapters.lines import Progress
from eventmill.adapters.sqlite import view_sql
from eventmill.adapters.sqlite.connection import FILE, errors, open_reader
from eventmill.adapters.sqlite.lock import take
from eventmill.adapters.sqlite.names import Names
from eventmill.adapters.sqlite.parking import letter_row, letters_of
from eventmill.adapters.sqlite.statements import SCHEMA, SQL
from eventmill.adapters.sqlite.store import SCHEMA_VERSION, wrong_version
from eventmill.errors import ConfigurationError, InvalidPayload
from eventmill.model import archive
from eventmill.model.archive import (
    End,
    EntryLine,
    FactLine,
    LetterLine,
    OffsetLine,
    OutcomeLine,
    RowLine,
    SnapshotLine,
    TableLine,
    TimerLine,
)
from eventmill.model.entry import Entry
from eventmill.model.table import Affinity, PhysicalTable, TableIndex

ROWS_AT_ONCE = 1_000

_decode_entry = msgspec.msgpack.Decoder(Entry).decode
_decode_marks = msgspec.msgpack.Decoder(dict[str, int]).decode
_encode = msgspec.msgpack.Encoder().encode


def export(directory: Path, file: IO[bytes], progress: Progress) -> End:
    """Write a data file's content; return the last line.

    Raises `ConfigurationError` if there is no store of this version.
    """
    path = directory / FILE
    if not path.exists():
        raise ConfigurationError(f"{directory} holds no store: there is no {FILE}")
    db = open_reader(path)
    try:
        with errors():
            db.execute("BEGIN")
            _check_version(db, path)
            (total,) = next(db.execute("SELECT count(*) FROM entry"))
            writer = lines.Writer(file, total, progress)
            for line in _lines(db):
                writer.put(line)
    finally:
        db.close(force=True)
    return writer.end()


def restore(directory: Path, file: Iterable[bytes], progress: Progress) -> End:
    """Make a data file from exported lines; all of it or nothing. Return the last line.

    Raises `ConfigurationError` if the directory holds a store already or is in use, and
    `InvalidPayload` for a file that is torn, changed or none of ours.
    """
    with _made(directory), take(directory):
        path, unfinished = directory / FILE, directory / f"{FILE}.importing"
        if path.exists():
            raise ConfigurationError(f"{directory} holds a store already: name an empty directory")
        unfinished.unlink(missing_ok=True)
        try:
            with errors():
                end = _fill(unfinished, file, progress)
            _sync(unfinished)
            unfinished.replace(path)
            _sync(directory)
        finally:
            unfinished.unlink(missing_ok=True)
    return end


@contextmanager
def _made(directory: Path) -> Iterator[None]:
    """Make a directory with its parents; if the block fails, remove what was not there before."""
    lock = directory / "lock"
    absent = [path for path in (lock, directory, *directory.parents) if not path.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        with suppress(OSError):  # somebody else put something there meanwhile
            for path in absent:
                path.unlink(missing_ok=True) if path == lock else path.rmdir()
        raise


def _fill(path: Path, file: Iterable[bytes], progress: Progress) -> End:
    db = apsw.Connection(str(path))
    try:
        # Nobody reads this file before it is whole and synced: a journal would protect nothing.
        list(db.execute("PRAGMA journal_mode = OFF"))
        db.execute("PRAGMA synchronous = OFF")
        db.execute(f"BEGIN; {SCHEMA}; PRAGMA user_version = {SCHEMA_VERSION}")
        end = _Writer(db).write(lines.read(file, progress))
        db.execute("COMMIT")
        return end
    finally:
        db.close(force=True)


def _lines(db: apsw.Connection) -> Iterator[archive.Line]:
    texts = dict(db.execute(SQL["names"]))
    for r in db.execute("SELECT * FROM entry ORDER BY position"):
        entry = Entry(texts[r[1]], r[2], r[3], texts[r[4]], r[5], r[6], r[7], r[8], r[9], 0, r[0])
        yield archive.entry_line(entry)
    for number, subject, sequence, time, schema, state, marks in db.execute(
        "SELECT s.source, s.subject, s.sequence, s.time, s.schema, s.state, s.marks "
        "FROM snapshot AS s JOIN name ON name.number = s.source ORDER BY name.text, s.subject"
    ):
        kept = _decode_marks(marks) if marks else {}
        source = texts[number]
        yield SnapshotLine(source, subject, sequence, time, schema, archive.value(state), kept)
    for source, subject, key, expires, reply, rejection in db.execute(
        "SELECT source, subject, key, expires, reply, rejection FROM outcome ORDER BY number"
    ):
        yield OutcomeLine(source, subject, key, expires, archive.value(reply), rejection)
    for name, due, command in db.execute("SELECT name, due, command FROM timer ORDER BY name"):
        yield TimerLine(name, due, archive.entry_line(_decode_entry(command)))
    for name, shard, position in db.execute(
        "SELECT subscription, shard, position FROM offset ORDER BY subscription, shard"
    ):
        yield OffsetLine(name, shard, position)
    for letter in letters_of(
        db.execute("SELECT * FROM letter ORDER BY subscription, shard, position")
    ):
        yield archive.letter_line(letter)
    for name, stored in db.execute(SQL["facts"]):
        yield FactLine(name, archive.value(stored))
    for table in _tables(db):
        yield TableLine(table)
        rows = db.execute(f"SELECT * FROM {view_sql.quoted(table.name)} ORDER BY _key")  # noqa: S608
        for values in rows:
            yield RowLine(table.name, tuple(values))


def _tables(db: apsw.Connection) -> Iterator[PhysicalTable]:
    """Find the views' tables: those with a `_key`."""
    found = "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name"
    for (name,) in list(db.execute(found)):
        columns = list(db.execute("SELECT name, type FROM pragma_table_info(?)", (name,)))
        if not columns or columns[0][0] != "_key":
            continue
        kinds = tuple((column, Affinity(kind.lower())) for column, kind in columns[1:])
        indexes = []
        named = "SELECT name FROM pragma_index_list(?) WHERE origin = 'c' ORDER BY name"
        for (index,) in list(db.execute(named, (name,))):
            listed = db.execute("SELECT name FROM pragma_index_info(?) ORDER BY seqno", (index,))
            indexes.append(TableIndex(index, tuple(column for (column,) in listed)))
        yield PhysicalTable(name, kinds, tuple(indexes))


class _Writer:
    """Writes lines into an open transaction."""

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db
        self._names = Names()
        self._rows: list[tuple[Any, ...]] = []
        self._sql = ""
        self._own = {name for (name,) in db.execute("SELECT name FROM sqlite_schema")}
        self._tables: set[str] = set()

    def write(self, found: Iterable[archive.Line]) -> End:
        """Write all lines; return the last."""
        for line in found:
            if isinstance(line, End):
                self._flush()
                self._db.execute(SQL["file_all"])
                self._db.execute(SQL["all_filed"])
                return line
            self._line(line)
        raise AssertionError("unreachable: the lines were verified to end")

    def _line(self, line: archive.Line) -> None:
        match line:
            case EntryLine():
                self._entry(line)
            case SnapshotLine(source, subject, sequence, time, schema, state, marks):
                number = self._names.number(self._db, source)
                kept = _encode(marks) if marks else None
                values = (number, subject, sequence, time, schema, archive.stored(state), kept)
                self._put(SQL["put_snapshot"], values)
            case OutcomeLine(source, subject, key, expires, reply, rejection):
                row = (source, subject, key, expires, archive.stored(reply), rejection)
                self._put(SQL["put_outcome"], row)
            case TimerLine(name, due, command):
                self._put(SQL["put_timer"], (name, due, _encode(archive.entry_of(command))))
            case OffsetLine(subscription, shard, position):
                self._put("INSERT INTO offset VALUES (?, ?, ?)", (subscription, shard, position))
            case LetterLine():
                self._put(SQL["put_letter"], letter_row(archive.letter_of(line)))
            case FactLine(name, value):
                self._put(SQL["put_registry"], (name, archive.stored(value)))
            case TableLine(table):
                self._table(table)
            case RowLine(table, values):
                if table not in self._tables:
                    raise InvalidPayload(f"a row of table {table!r} comes before its table")
                self._put(view_sql.upsert(table, len(values)), values)

    def _entry(self, line: EntryLine) -> None:
        known = self._names.numbers
        if line.source not in known or line.type not in known:
            self._flush()
            self._names.number(self._db, line.source)
            self._names.number(self._db, line.type)
        e = archive.entry_of(line)
        row = (
            *(e.position, known[e.source], e.subject, e.sequence, known[e.type], e.version),
            *(e.time, e.payload, e.metadata, e.origin),
        )
        self._put(SQL["insert_entry"], row)

    def _table(self, table: PhysicalTable) -> None:
        if table.name in self._own:
            raise InvalidPayload(f"table {table.name!r} is the store's own: this is no export")
        self._flush()
        for statement in view_sql.create(table, ()):
            self._db.execute(statement)
        self._tables.add(table.name)

    def _put(self, sql: str, row: tuple[Any, ...]) -> None:
        if sql != self._sql or len(self._rows) >= ROWS_AT_ONCE:
            self._flush()
            self._sql = sql
        self._rows.append(row)

    def _flush(self) -> None:
        if self._rows:
            self._db.executemany(self._sql, self._rows)
            self._rows.clear()


def _check_version(db: apsw.Connection, path: Path) -> None:
    (found,) = next(db.execute("PRAGMA user_version"))
    if found != SCHEMA_VERSION:
        raise wrong_version(path, found)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
