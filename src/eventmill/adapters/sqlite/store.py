"""The embedded store: one file, one writing connection, one commit at a time.

Place on the road: the commit. A transaction is filled on the loop's thread, because handing rows
to a worker thread costs a GIL hand-off each. COMMIT waits for the disk: on a fast one (a fraction
of a millisecond) it runs right here, since handing it to a thread and waking up again costs more
than the wait; as soon as commits take longer, it runs on the writer's own thread, and the loop
decides the next commands meanwhile (docs/adr/0009).

Invariants: one process (lock file), one writing connection, one open transaction; `_position` is
the last committed position; after an error the connection is closed and opened anew before the
next commit, because the state of a failed sync is unknown.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import apsw
import msgspec

from eventmill.adapters.sqlite import portion
from eventmill.adapters.sqlite.connection import (
    FILE,
    WAL_PAGES_MAX,
    errors,
    open_reader,
    open_writer,
)
from eventmill.adapters.sqlite.journal import Journal
from eventmill.adapters.sqlite.lock import take
from eventmill.adapters.sqlite.names import Names
from eventmill.adapters.sqlite.parking import Parking, letter_row
from eventmill.adapters.sqlite.statements import SCHEMA, SQL
from eventmill.adapters.sqlite.unfiled import FILED, ROUND_ENTRIES, Change, Unfiled
from eventmill.adapters.sqlite.views import ViewTables, write_rows
from eventmill.errors import ConfigurationError, Conflict, EventmillError
from eventmill.model import limits
from eventmill.model.commit import Commit, Offset, Timer, changed_by_others
from eventmill.model.entry import Entry
from eventmill.model.placement import Placement
from eventmill.model.topic import is_foreign

SCHEMA_VERSION = 2

_HEAD = "$head"
_STORE = "$store"
_TOPICS = "$topics"
"""Facts of its own: the last position, if it is in no entry; its identity; numbers of topics."""

INLINE_SECONDS = 0.004
"""Commits that take longer on average go to the writer's thread; 0: all do."""
WEIGHT_OF_LATEST = 0.2

_encode = msgspec.msgpack.Encoder().encode
_decode_entry = msgspec.msgpack.Decoder(Entry).decode


class Store:
    """A store in a directory.

    Parameters: `directory` is made if it is missing; `synchronous` is SQLite's pragma: with
    `NORMAL` the last commits may be lost on power failure (never on a crash of the process), which
    `docs/guarantees.md` documents; `vfs` names an apsw VFS, for fault injection;
    `checkpoint_pages` bounds the write-ahead log before it is folded into the database file. `inline_seconds` is
    how long a COMMIT may take on average to run on the loop's thread; `round_entries` is how many
    entries are filed by entity together.
    """

    def __init__(
        self,
        directory: Path,
        *,
        synchronous: str = "FULL",
        vfs: str | None = None,
        checkpoint_pages: int = WAL_PAGES_MAX,
        inline_seconds: float = INLINE_SECONDS,
        round_entries: int = ROUND_ENTRIES,
    ) -> None:
        if synchronous not in ("FULL", "EXTRA", "NORMAL"):
            raise ConfigurationError(f"synchronous must be FULL, EXTRA or NORMAL: {synchronous!r}")
        self.placement = Placement()
        """One shard, always held by who has the lock; besides, one for each topic of another
        service, of which only offsets and letters are here."""
        self.directory = directory
        self.path = directory / FILE
        self.synchronous = synchronous
        self.vfs = vfs
        self.checkpoint_pages = checkpoint_pages
        self.inline_seconds = inline_seconds
        self.names = Names()
        self.unfiled = Unfiled(self.names, round_entries)
        self.journal = Journal(self.names, self.unfiled)
        self.parking = Parking()
        self.views = ViewTables(self._write)
        self._db: apsw.Connection | None = None
        self._lock: IO[str] | None = None
        self._position = 0
        self._executor: ThreadPoolExecutor | None = None
        self._turn = asyncio.Lock()
        self._commit_seconds = 0.0
        """Moving average of what COMMIT takes."""

    def __repr__(self) -> str:
        state = "open" if self._lock else "closed"
        return f"<sqlite.Store {self.path} [{state}, position {self._position}]>"

    async def open(self) -> None:
        self._lock = take(self.directory)
        self._executor = ThreadPoolExecutor(1, "eventmill-writer")
        try:
            self._open_writer()
            self.journal.db = self._reader = open_reader(self.path, self.vfs)
            self.parking.db = self._reader
            self.views.open(self.path, self.vfs)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=True)
        self.views.close()
        if self.journal.db is not None:
            self.journal.db.close()
            self.journal.db = self.parking.db = None
        self._drop_writer()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    async def place(self, topics: Collection[str]) -> Placement:
        numbers = self.placement.topics
        new = [topic for topic in topics if is_foreign(topic) and topic not in numbers]
        if new:
            first = max(numbers.values(), default=0) + 1
            numbers = {**numbers, **{topic: first + nth for nth, topic in enumerate(new)}}
            async with self._turn:
                with self._writer() as db:
                    db.execute(SQL["put_registry"], (_TOPICS, msgspec.json.encode(numbers)))
            self.placement = msgspec.structs.replace(self.placement, topics=numbers)
        return self.placement

    def hold(self, shard: int, epoch: int) -> None:
        """It is held already."""

    def let_go(self, shard: int) -> None:
        """Closing the store gives it back."""

    async def commit(self, commit: Commit) -> None:
        async with self._turn:
            if self._db is None:
                self._open_writer()
            assert self._db is not None
            assert self._executor is not None
            db, position, change = self._db, self._position, Change()
            try:
                with errors():
                    self._fill(db, commit, change)
                    await self._end(db, change)
            except Conflict:
                self._position = position
                self.names.forget_new()
                _roll_back(db)
                raise
            except BaseException:
                # crash here, or a failed sync: whether the transaction is on the disk is unknown.
                # Nobody was told that it is; a fresh connection reads what is really there.
                self.names.forget_new()
                self.names.in_doubt = True
                self.unfiled.doubt(change)
                self._drop_writer()
                raise
            self.names.keep_new()
            self.unfiled.keep(change)

    async def _end(self, db: apsw.Connection, change: Change) -> None:
        """Commit: here while the disk is fast, on the writer's thread when it is not."""
        started = time.perf_counter()
        if self._commit_seconds < self.inline_seconds:
            db.execute("COMMIT")
        else:
            self.unfiled.end(change)
            await self._end_elsewhere(db)
        took = time.perf_counter() - started
        self._commit_seconds += (took - self._commit_seconds) * WEIGHT_OF_LATEST

    async def _end_elsewhere(self, db: apsw.Connection) -> None:
        loop = asyncio.get_running_loop()
        committing = loop.run_in_executor(self._executor, db.execute, "COMMIT")
        try:
            await asyncio.shield(committing)
        except asyncio.CancelledError:
            # The connection is the writer thread's until COMMIT has returned.
            await asyncio.wait({committing})
            raise

    def _open_writer(self) -> None:
        db = open_writer(
            self.path,
            synchronous=self.synchronous,
            vfs=self.vfs,
            checkpoint_pages=self.checkpoint_pages,
        )
        try:
            with errors():
                self._read_head(db)
        except BaseException:
            db.close(force=True)
            raise
        self._db = db

    def _read_head(self, db: apsw.Connection) -> None:
        (found,) = next(db.execute("PRAGMA user_version"))
        if found == 0:
            db.execute(f"BEGIN IMMEDIATE; {SCHEMA}; PRAGMA user_version = {SCHEMA_VERSION}; COMMIT")
        elif found != SCHEMA_VERSION:
            raise wrong_version(self.path, found)
        self._read_place(db)
        self.names.read(db)
        self.unfiled.read(db)
        (self._position,) = next(db.execute(SQL["end"]))
        for (head,) in db.execute("SELECT value FROM registry WHERE name = ?", (_HEAD,)):
            self._position = max(self._position, int(head))

    def _read_place(self, db: apsw.Connection) -> None:
        facts = dict(db.execute(SQL["registry"]))
        if _STORE not in facts:  # a new file, or one that was imported: its positions are its own
            facts[_STORE] = secrets.token_hex(8).encode()
            db.execute(SQL["put_registry"], (_STORE, facts[_STORE]))
        numbers = msgspec.json.decode(facts.get(_TOPICS, b"{}"), type=dict[str, int])
        self.placement = Placement(1, numbers, facts[_STORE].decode())

    @contextmanager
    def _writer(self) -> Iterator[apsw.Connection]:
        if self._db is None:
            self._open_writer()
        assert self._db is not None
        try:
            with errors():
                yield self._db
        except BaseException:
            self._drop_writer()
            raise

    def _drop_writer(self) -> None:
        """Give the writer up after an error; the next write opens a fresh one, which reads what
        is really on the disk."""
        if self._db is not None:
            self._db.close(force=True)
            self._db = None

    def _fill(self, db: apsw.Connection, commit: Commit, change: Change) -> None:
        end = self._position
        db.execute("BEGIN IMMEDIATE")
        for offset in commit.offsets:
            _move(db, offset)
        for key in commit.purged:
            self.unfiled.purge(db, change, key)
            db.execute(SQL["purge_snapshot"], (self.names.number(db, key[0]), key[1]))
        if commit.entries:
            db.executemany(SQL["insert_entry"], self._entry_rows(db, commit.entries, change))
        if commit.compacted:
            newest = {(source, subject): sequence for source, subject, sequence in commit.compacted}
            for key, sequence in newest.items():
                self.unfiled.compact(db, change, key, sequence)
        self.unfiled.file_some(db, change, len(commit.entries), end)
        if commit.purged:
            commit.registry[_HEAD] = str(self._position).encode()
        for rows in commit.rows:
            write_rows(db, rows)
        self._fill_rare(db, commit)

    def _fill_rare(self, db: apsw.Connection, commit: Commit) -> None:
        for s in commit.snapshots:
            number = self.names.number(db, s.source)
            marks = _encode(s.marks) if s.marks else None
            row = (number, s.subject, s.sequence, s.time, s.schema, s.state, marks)
            db.execute(SQL["put_snapshot"], row)
        if commit.outcomes:
            db.executemany(
                SQL["put_outcome"],
                [
                    (o.source, o.subject, o.key, o.expires, o.reply, o.rejection)
                    for o in commit.outcomes
                ],
            )
        if commit.fired or commit.timers:
            _change_timers(db, commit)
        if commit.letters:
            db.executemany(SQL["put_letter"], [letter_row(letter) for letter in commit.letters])
        for key in commit.settled:
            db.execute(SQL["delete_letter"], (key.subscription, key.shard, key.position))
        for name in commit.forgotten:
            db.execute(SQL["forget_offsets"], (name,))
            db.execute(SQL["forget_letters"], (name,))
        if commit.registry:
            _put_facts(db, commit)

    def _entry_rows(
        self, db: apsw.Connection, entries: list[Entry], change: Change
    ) -> Iterator[tuple[object, ...]]:
        # Made before they are written, since new names are: `executemany` may not be nested.
        known, number = self.names.numbers, self.names.number
        position = self._position
        rows = []
        for e in entries:
            position += 1
            e.position = position
            if e.sequence:
                self.unfiled.admit(db, change, e)
            rows.append(
                (
                    position,
                    known.get(e.source) or number(db, e.source),
                    e.subject,
                    e.sequence,
                    known.get(e.type) or number(db, e.type),
                    e.version,
                    e.time,
                    e.payload,
                    e.metadata,
                    e.origin,
                )
            )
        self._position = position
        return iter(rows)

    async def _write(self, statements: list[str]) -> None:
        """Run schema statements of views, outside any commit."""
        async with self._turn:
            with self._writer() as db:
                for statement in statements:
                    db.execute(statement)

    async def offsets(self) -> dict[tuple[str, int], int]:
        with errors():
            return {(name, shard): at for name, shard, at in self._reader.execute(SQL["offsets"])}

    async def registry(self) -> dict[str, bytes]:
        with errors():
            rows = dict(self._reader.execute(SQL["registry"]))
        for own in (_HEAD, _STORE, _TOPICS, FILED):
            rows.pop(own, None)
        return rows

    async def due_timers(self, until: int, shards: Collection[int], *, limit: int) -> list[Timer]:
        return self._timers("due_timers", (until, limit))

    async def timers(self, *, after: str = "", limit: int) -> list[Timer]:
        return self._timers("timers", (after, limit))

    def _timers(self, name: str, bindings: tuple[object, ...]) -> list[Timer]:
        with errors():
            rows, _ = portion.take(self._reader.execute(SQL[name], bindings), 2)
            return [Timer(name, due, _decode_entry(command)) for name, due, command in rows]

    async def trim(self, sources: Sequence[str], shard: int, after: int, until: int) -> int:
        async with self._turn:
            removed = 0
            with self._writer() as db, db:
                known = self.names.numbers
                for source in sources:
                    db.execute(SQL["trim"], (after, until, known.get(source)))
                    removed += db.changes()
                if removed:
                    # The last position may be gone from the table; it must not be used again.
                    db.execute(SQL["put_registry"], (_HEAD, str(self._position).encode()))
            return removed

    async def sweep(self, now: int, *, limit: int) -> int:
        async with self._turn:
            with self._writer() as db:
                lifetime = limits.IDEMPOTENCY_SECONDS * 1_000_000
                db.execute(
                    SQL["sweep_outcomes"], {"now": now, "lifetime": lifetime, "limit": limit}
                )
                outcomes = db.changes()
                bounds = {"now": now, "limit": limit - outcomes, "kept": limits.REFUSED_MAX}
                db.execute(SQL["sweep_refused"], bounds)
                return outcomes + db.changes()


def wrong_version(path: Path, found: int) -> ConfigurationError:
    """Return the refusal of a file of another schema."""
    return ConfigurationError(
        f"{path} has schema version {found}, this code needs {SCHEMA_VERSION}: export it with the "
        "version of Eventmill that wrote it (eventmill export FILE), then import the file with "
        "this one into an empty directory (eventmill import FILE --data DIRECTORY)"
    )


def _move(db: apsw.Connection, offset: Offset) -> None:
    found = next(db.execute(SQL["offset"], (offset.subscription, offset.shard)), (0,))[0]
    if found != offset.expected:
        raise Conflict(
            f"subscription {offset.subscription!r} is at {found}, not at {offset.expected}",
            code="conflict.offset",
        )
    db.execute(SQL["move_offset"], msgspec.structs.asdict(offset))


def _change_timers(db: apsw.Connection, commit: Commit) -> None:
    # One that this commit sets again, or cancels, is replaced or gone whatever fires.
    fired = [one for one in commit.fired if one[0] not in commit.timers]
    before = db.total_changes()
    db.executemany(SQL["fire_timer"], fired)
    if db.total_changes() - before != len(fired):
        raise Conflict("a timer was replaced or cancelled since it was due")
    put = [t for t in commit.timers.values() if t is not None]
    cancelled = [(name,) for name, timer in commit.timers.items() if timer is None]
    db.executemany(SQL["put_timer"], [(t.name, t.due, _encode(t.command)) for t in put])
    db.executemany(SQL["delete_timer"], cancelled)


def _put_facts(db: apsw.Connection, commit: Commit) -> None:
    for name, expected in commit.expected.items():
        if next(db.execute(SQL["fact"], (name,)), (None,))[0] != expected:
            raise changed_by_others(name)
    for name, value in commit.registry.items():
        if value is None:
            db.execute(SQL["delete_registry"], (name,))
        else:
            db.execute(SQL["put_registry"], (name, value))


def _roll_back(db: apsw.Connection) -> None:
    try:
        if db.in_transaction:
            db.execute("ROLLBACK")
    except apsw.Error as error:
        raise EventmillError("the data file cannot be rolled back") from error
