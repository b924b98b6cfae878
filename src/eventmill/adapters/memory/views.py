"""View tables of the memory store: a SQLite database in memory, because queries are SQL.

Queries run at once on the loop's thread: with a virtual clock, nothing else may happen meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import apsw
import msgspec

from eventmill.adapters.sqlite import view_sql
from eventmill.adapters.sqlite.connection import errors
from eventmill.adapters.sqlite.views import STEPS_BETWEEN_CHECKS, write_rows
from eventmill.errors import DeadlineExceeded, RequestError, StoreUnavailable
from eventmill.model.commit import Rows
from eventmill.model.table import PhysicalTable
from eventmill.ports.store import Dialect


class ViewTables:
    """One connection for everything; queries cannot write through it."""

    dialect: Dialect = "sqlite"

    def __init__(self) -> None:
        self._db = apsw.Connection(":memory:")
        self._db.execute("PRAGMA trusted_schema = OFF")
        self._db.execute("PRAGMA case_sensitive_like = ON")

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

    async def rows(self, table: str, keys: Sequence[str]) -> list[tuple[Any, ...]]:
        with errors():
            found = self._db.execute(view_sql.select(table), (msgspec.json.encode(keys).decode(),))
            return list(found)

    async def query(self, sql: str, parameters: dict[str, Any], *, seconds: float) -> bytes:
        deadline = time.monotonic() + seconds
        self._db.set_progress_handler(lambda: time.monotonic() > deadline, STEPS_BETWEEN_CHECKS)
        try:
            with self._reading():
                (answer,) = next(self._db.execute(sql, parameters))
        except apsw.InterruptError as error:
            raise DeadlineExceeded(f"the query ran longer than {seconds:g} s") from error
        except (apsw.SQLError, apsw.TooBigError, apsw.ReadOnlyError) as error:
            raise RequestError(f"the query cannot run: {error}", code="view.query") from error
        except apsw.Error as error:
            raise StoreUnavailable(f"the view tables cannot be read now: {error}") from error
        finally:
            self._db.set_progress_handler(None)
        return answer.encode() if isinstance(answer, str) else bytes(answer)

    def write(self, changes: Sequence[Rows]) -> None:
        """Write all changes or none."""
        with errors(), self._db:
            for rows in changes:
                write_rows(self._db, rows)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        self._db.execute("PRAGMA query_only = ON")
        try:
            yield
        finally:
            self._db.execute("PRAGMA query_only = OFF")
