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
from eventmill.errors import DeadlineExceeded, Overloaded, RequestError, StoreUnavailable
from eventmill.model import limits
from eventmill.model.commit import Rows
from eventmill.model.table import PhysicalTable
from eventmill.ports.store import Dialect

_encode = msgspec.json.Encoder().encode

QUERY_THREADS = 2
STEPS_BETWEEN_CHECKS = 50_000


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
        self._asked = 0

    def open(self, path: Path, vfs: str | None) -> None:
        """Connect to the store's file."""
        self._path, self._vfs = path, vfs
        self._reader = open_reader(path, vfs)
        self._executor = ThreadPoolExecutor(QUERY_THREADS, "eventmill-query")

    def close(self) -> None:
        """Disconnect."""
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

    async def rows(self, table: str, keys: Sequence[str]) -> list[tuple[Any, ...]]:
        assert self._reader is not None
        with errors():
            found = self._reader.execute(view_sql.select(table), (_encode(keys).decode(),))
            return list(found)

    async def query(self, sql: str, parameters: dict[str, Any], *, seconds: float) -> bytes:
        if self._asked >= limits.VIEW_QUERIES_MAX:
            raise Overloaded(f"{self._asked} view queries run or wait already")
        # Its time begins now: what waits too long for a thread is not begun any more.
        deadline = time.monotonic() + seconds
        self._asked += 1
        try:
            loop = asyncio.get_running_loop()
            run = loop.run_in_executor(self._executor, self._run, sql, parameters, deadline)
            return await run
        except DeadlineExceeded as error:
            raise DeadlineExceeded(
                f"the query took longer than {seconds:g} s; narrow it or add a condition that an "
                "index serves"
            ) from error
        finally:
            self._asked -= 1

    def _run(self, sql: str, parameters: dict[str, Any], deadline: float) -> bytes:
        if time.monotonic() > deadline:
            raise DeadlineExceeded()
        db = getattr(self._local, "db", None)
        if db is None:
            assert self._path is not None
            db = self._local.db = open_reader(self._path, self._vfs)
        db.set_progress_handler(lambda: time.monotonic() > deadline, STEPS_BETWEEN_CHECKS)
        try:
            (answer,) = next(db.execute(sql, parameters))
        except apsw.InterruptError as error:
            raise DeadlineExceeded() from error
        except (apsw.SQLError, apsw.TooBigError, apsw.ReadOnlyError) as error:
            raise RequestError(f"the query cannot run: {error}", code="view.query") from error
        except apsw.Error as error:
            raise StoreUnavailable(f"the data file cannot be read now: {error}") from error
        return answer.encode() if isinstance(answer, str) else answer


def write_rows(db: apsw.Connection, rows: Rows) -> None:
    """Write a table's changes inside the open transaction."""
    if rows.upserts:
        db.executemany(view_sql.upsert(rows.table, len(rows.upserts[0])), rows.upserts)
    if rows.deletes:
        db.executemany(view_sql.delete(rows.table), [(key,) for key in rows.deletes])
