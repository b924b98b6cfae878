"""View tables of the memory store: a SQLite database in memory, because queries are SQL.

Queries run at once on the loop's thread: with a virtual clock, nothing else may happen meanwhile.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from typing import Any

import apsw

from eventmill.adapters.sqlite import view_sql
from eventmill.adapters.sqlite.connection import errors
from eventmill.adapters.sqlite.view_query import answer, restrict
from eventmill.adapters.sqlite.views import read_rows, write_rows
from eventmill.errors import DeadlineExceeded
from eventmill.model.commit import Rows
from eventmill.model.table import PhysicalTable
from eventmill.ports.store import Dialect, Found

STEPS_BETWEEN_LOOKS = 10_000
"""Instructions of SQLite after which a query looks at the clock."""

_WRITER = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI
_READER = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
_numbers = itertools.count()


class ViewTables:
    """Two connections to one database: queries cannot write through theirs."""

    dialect: Dialect = "sqlite"

    def __init__(self) -> None:
        name = f"file:/eventmill-{next(_numbers)}?vfs=memdb"
        self._db = apsw.Connection(name, flags=_WRITER)
        self._reader = apsw.Connection(name, flags=_READER)
        for db in (self._db, self._reader):
            db.execute("PRAGMA trusted_schema = OFF")
            db.execute("PRAGMA case_sensitive_like = ON")
        restrict(self._reader)

    async def prepare(self, tables: Sequence[PhysicalTable]) -> None:
        with errors():
            found = list(self._db.execute(view_sql.INDEXES))
            for table in tables:
                for statement in view_sql.create(table, found):
                    self._db.execute(statement)

    async def drop(self, names: Sequence[str]) -> None:
        with errors():
            for name in names:
                self._db.execute(view_sql.drop(name))

    async def rows(self, table: str, keys: Sequence[str]) -> Found:
        return read_rows(self._db, table, keys)

    async def query(self, sql: str, parameters: dict[str, Any], *, seconds: float) -> bytes:
        deadline = time.monotonic() + seconds
        self._reader.set_progress_handler(lambda: time.monotonic() > deadline, STEPS_BETWEEN_LOOKS)
        try:
            return answer(self._reader, sql, parameters)
        except DeadlineExceeded as error:
            raise DeadlineExceeded(f"the query took longer than {seconds:g} s") from error
        finally:
            self._reader.set_progress_handler(None)

    def write(self, changes: Sequence[Rows]) -> None:
        """Write all changes or none."""
        with errors(), self._db:
            for rows in changes:
                write_rows(self._db, rows)
