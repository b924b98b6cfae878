"""Tables of views in the same file as the journal, so that rows and offset are one commit.

Queries run on threads of their own with read-only connections: each answers one JSON value, so a
result crosses the GIL once, not once per row.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import apsw
import msgspec

from eventmill.adapters.sqlite import view_sql
from eventmill.adapters.sqlite.connection import errors, open_reader
from eventmill.adapters.sqlite.view_query import Asking, restrict
from eventmill.errors import DeadlineExceeded, Overloaded
from eventmill.model import limits
from eventmill.model.commit import Rows
from eventmill.model.table import PhysicalTable
from eventmill.ports.store import Dialect, Found

_encode = msgspec.json.Encoder().encode

QUERY_THREADS = 2

INTERRUPT_SECONDS = 0.005
"""Pause before a query that did not hear of its end is told again."""


class ViewTables:
    """Reading and preparing view tables."""

    dialect: Dialect = "sqlite"

    def __init__(self, write: Callable[[list[str]], Awaitable[None]]) -> None:
        self._write = write
        self._path: Path | None = None
        self._vfs: str | None = None
        self._local = threading.local()
        self._executor: ThreadPoolExecutor | None = None
        self._reader: apsw.Connection | None = None
        self._asked: set[Asking] = set()

    def open(self, path: Path, vfs: str | None) -> None:
        """Connect to the store's file."""
        self._path, self._vfs = path, vfs
        self._reader = open_reader(path, vfs)
        self._executor = ThreadPoolExecutor(QUERY_THREADS, "eventmill-query")

    def close(self) -> None:
        """Disconnect."""
        for asking in self._asked:
            asking.end()
        while running := [asking for asking in self._asked if asking.is_running]:
            for asking in running:
                asking.end()
            time.sleep(INTERRUPT_SECONDS)
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._executor = None
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    async def prepare(self, tables: Sequence[PhysicalTable]) -> None:
        assert self._reader is not None
        with errors():
            found = list(self._reader.execute(view_sql.INDEXES))
        statements = [text for table in tables for text in view_sql.create(table, found)]
        if statements:
            await self._write(statements)

    async def drop(self, names: Sequence[str]) -> None:
        await self._write([view_sql.drop(name) for name in names])

    async def rows(self, table: str, keys: Sequence[str]) -> Found:
        assert self._reader is not None
        return read_rows(self._reader, table, keys)

    async def query(self, sql: str, parameters: dict[str, Any], *, seconds: float) -> bytes:
        if len(self._asked) >= limits.VIEW_QUERIES_MAX:
            raise Overloaded(f"{len(self._asked)} view queries run or wait already")
        asking = Asking(sql, parameters)
        self._asked.add(asking)
        loop = asyncio.get_running_loop()
        # Its time begins now: what waits too long for a thread is not begun any more. No callback
        # of SQLite looks at a clock: each would wait for the interpreter's lock.
        timer = loop.call_later(seconds, _end, asking)
        try:
            return await loop.run_in_executor(self._executor, self._run, asking)
        except DeadlineExceeded as error:
            raise DeadlineExceeded(
                f"the query took longer than {seconds:g} s; narrow it or add a condition that an "
                "index serves"
            ) from error
        except asyncio.CancelledError:
            _end(asking)  # its caller has gone away: nothing runs for nobody
            raise
        finally:
            timer.cancel()
            self._asked.discard(asking)

    def _run(self, asking: Asking) -> bytes:
        db = getattr(self._local, "db", None)
        if db is None:
            assert self._path is not None
            db = open_reader(self._path, self._vfs)
            restrict(db)
            self._local.db = db
        return asking.run(db)


def _end(asking: Asking) -> None:
    asking.end()
    if asking.is_running:
        asyncio.get_running_loop().call_later(INTERRUPT_SECONDS, _end, asking)


def read_rows(db: apsw.Connection, table: str, keys: Sequence[str]) -> Found:
    """Read the rows of keys, until they bring `SCAN_BYTES_MAX` bytes."""
    rows: list[tuple[Any, ...]] = []
    left = limits.SCAN_BYTES_MAX
    with errors():
        cursor = db.execute(view_sql.select(table), (_encode(keys).decode(),))
        for row in cursor:
            rows.append(row)
            for value in row:
                if value.__class__ is str:
                    left -= len(value)
            if left <= 0:
                cursor.close()  # an unfinished reader holds back checkpoints
                return Found(rows, keys.index(row[0]) + 1)
    return Found(rows, len(keys))


def write_rows(db: apsw.Connection, rows: Rows) -> None:
    """Write a table's changes inside the open transaction."""
    if rows.upserts:
        db.executemany(view_sql.upsert(rows.table, len(rows.upserts[0])), rows.upserts)
    if rows.deletes:
        db.executemany(view_sql.delete(rows.table), [(key,) for key in rows.deletes])
