"""What a data file holds, seen from outside: which types are stored, what is not delivered yet, and
how the file is. Read-only, also beside a running node."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import msgspec

from eventmill.adapters.sqlite.connection import FILE, errors, open_reader
from eventmill.adapters.sqlite.lock import holder
from eventmill.adapters.sqlite.parking import letters_of
from eventmill.adapters.sqlite.statements import SQL
from eventmill.adapters.sqlite.view_sql import quoted
from eventmill.errors import ConfigurationError
from eventmill.model.census import StoredType, Subscriber
from eventmill.model.commit import Letter
from eventmill.model.entry import COMMANDS, DELETED, DELTAS, STEP, Entry

STRETCH = 100_000
"""Positions counted at once."""
SAMPLES_PER_STRETCH = 20
COMMANDS_MAX = 10_000
"""Undelivered commands, timers and deltas looked at."""
LETTERS_MAX = 10_000

_decode_entry = msgspec.msgpack.Decoder(Entry).decode


class Health(msgspec.Struct, frozen=True):
    """How a data file is."""

    sqlite_version: str
    exists: bool
    holder: str = ""
    """The process that runs on it."""
    schema_version: int = 0
    position: int = 0
    bytes: int = 0
    log_bytes: int = 0
    """Write-ahead log."""
    damage: tuple[str, ...] = ()
    """What SQLite's own check found."""


def stored_types(directory: Path, progress: Callable[[int, int], None]) -> list[StoredType]:
    """Count what the journal holds, without sent commands and deltas; `progress` hears positions.

    Raises `ConfigurationError` if there is no store.
    """
    found: dict[tuple[int, ...], StoredType] = {}
    with _reading(directory) as db:
        texts = dict(db.execute(SQL["names"]))
        (end,) = next(db.execute("SELECT coalesce(max(position), 0) FROM entry"))
        for low in range(0, end, STRETCH):
            for *key, count, first, last, sequence in db.execute(
                SQL["stretch"], (low, low + STRETCH)
            ):
                source, type, version, outside = key
                if texts[source] in (COMMANDS, DELTAS):
                    continue
                kind = found.get(tuple(key))
                if kind is None:
                    names = texts[source], texts[type]
                    kind = StoredType(*names, version, bool(outside), 0, first, last, [])
                    kind.of_entity = sequence > 0
                    found[tuple(key)] = kind
                kind.count += count
                kind.last = last
                kind.samples += _samples(db, key, first, last)
            progress(min(low + STRETCH, end), end)
    return list(found.values())


def payloads(directory: Path, kind: StoredType) -> Iterator[tuple[int, bytes]]:
    """Yield position and payload of all entries of a type, in order."""
    with _reading(directory) as db:
        numbers = {text: number for number, text in db.execute(SQL["names"])}
        key = [numbers[kind.source], numbers[kind.type], kind.version, int(kind.is_outside)]
        yield from db.execute(SQL["alike"], (kind.first, kind.last, *key, -1))


def progresses(directory: Path, workflow: str) -> Iterator[tuple[str, bytes]]:
    """Yield id and newest progress of the workflows of a component that are not deleted."""
    with _reading(directory) as db:
        numbers = {text: number for number, text in db.execute(SQL["names"])}
        step = numbers.get(STEP)
        for id, type, payload, _ in db.execute(
            SQL["newest"], (numbers.get(workflow), step, numbers.get(DELETED))
        ):
            if type == step:
                yield id, payload


def rows(directory: Path, table: str) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a table of a view or transform; none if there is no such table."""
    with _reading(directory) as db:
        if next(db.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (table,)), None):
            yield from db.execute(f"SELECT * FROM {quoted(table)}")  # noqa: S608 - it is quoted


def waiting_commands(directory: Path, courier: str) -> list[tuple[str, Entry]]:
    """Return commands that timers or the courier have still to deliver, and where each waits."""
    waiting: list[tuple[str, Entry]] = []
    with _reading(directory) as db:
        waiting += [(f"sent command {e.id}", e) for e in _behind(db, courier, COMMANDS)]
        for name, _, command in db.execute(SQL["timers"], ("", COMMANDS_MAX)):
            waiting.append((f"timer {name!r}", _decode_entry(command)))
    return waiting


def waiting_deltas(directory: Path, compactor: str) -> list[Entry]:
    """Return changes of replicated entities that are not in their stored states yet."""
    with _reading(directory) as db:
        return list(_behind(db, compactor, DELTAS))


def letters(directory: Path) -> list[Letter]:
    """Return the letters that are parked, also refused ones."""
    with _reading(directory) as db:
        sql = "SELECT * FROM letter ORDER BY subscription, position LIMIT ?"
        return letters_of(db.execute(sql, (LETTERS_MAX,)))


def subscribers(directory: Path) -> list[Subscriber]:
    """Return every subscription that has left something, by name.

    Raises `ConfigurationError` if there is no store.
    """
    sql = (
        "SELECT subscription, max(position), sum(letters) FROM ("
        "SELECT subscription, position, 0 AS letters FROM offset UNION ALL "
        "SELECT subscription, 0, 1 FROM letter) GROUP BY subscription ORDER BY subscription"
    )
    with _reading(directory) as db:
        return [Subscriber(*row) for row in db.execute(sql)]


def health(directory: Path, *, thorough: bool) -> Health:
    """Examine a data file; `thorough` reads every page and compares every index."""
    version = apsw.sqlite_lib_version()
    path = directory / FILE
    if not path.exists():
        return Health(version, exists=False, holder=holder(directory))
    log = path.with_name(FILE + "-wal")
    with _reading(directory) as db:
        check = "PRAGMA integrity_check(20)" if thorough else "PRAGMA quick_check(20)"
        damage = tuple(text for (text,) in db.execute(check) if text != "ok")
        (schema,) = next(db.execute("PRAGMA user_version"))
        position = next(db.execute(SQL["end"]))[0] if schema else 0
    return Health(
        version,
        exists=True,
        holder=holder(directory),
        schema_version=schema,
        position=position,
        bytes=path.stat().st_size,
        log_bytes=log.stat().st_size if log.exists() else 0,
        damage=damage,
    )


@contextmanager
def _reading(directory: Path) -> Iterator[apsw.Connection]:
    path = directory / FILE
    if not path.exists():
        raise ConfigurationError(f"{directory} holds no store: there is no {FILE}")
    db = open_reader(path)
    try:
        with errors():
            db.execute("BEGIN")
            yield db
    finally:
        db.close(force=True)


def _behind(db: apsw.Connection, subscription: str, source: str) -> Iterator[Entry]:
    """Yield the entries of a source that a subscription has not come to yet."""
    texts = dict(db.execute(SQL["names"]))
    number = next((number for number, text in texts.items() if text == source), None)
    (after,) = next(db.execute(SQL["offset"], (subscription, 0)), (0,))
    sql = "SELECT * FROM entry WHERE position > ? AND source = ? ORDER BY position LIMIT ?"
    for r in db.execute(sql, (after, number, COMMANDS_MAX)):
        yield Entry(source, r[2], r[3], texts[r[4]], r[5], r[6], r[7], r[8], r[9], 0, r[0])


def _samples(
    db: apsw.Connection, key: list[int], first: int, last: int
) -> Iterator[tuple[int, bytes]]:
    yield from db.execute(SQL["alike"], (first, last, *key, SAMPLES_PER_STRETCH))
    yield from db.execute("SELECT position, payload FROM entry WHERE position = ?", (last,))
