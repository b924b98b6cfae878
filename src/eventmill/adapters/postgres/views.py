"""Tables of views in the same database as the journal, so that rows and offset are one commit.

Queries have connections of their own, which cannot write: each answers one JSON value, so a result
is one row, whatever its size.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import asyncpg

from eventmill.adapters.postgres import view_sql
from eventmill.adapters.postgres.connection import LOST, Pool, close_pool, errors, open_pool
from eventmill.adapters.postgres.plan import Plan
from eventmill.adapters.postgres.statements import numbered
from eventmill.adapters.postgres.text import all_stored, json_loaded, loaded, stored
from eventmill.engine.views.postgres import identifier
from eventmill.errors import DeadlineExceeded, Overloaded, RequestError, StoreUnavailable
from eventmill.model import limits
from eventmill.model.commit import Rows
from eventmill.model.table import PhysicalTable
from eventmill.ports.store import Dialect, Found

CONNECTIONS = 4
Columns = tuple[tuple[str, str], ...]


class ViewTables:
    """Reading and preparing view tables."""

    dialect: Dialect = "postgres"

    def __init__(self, write: Callable[[Sequence[str]], Awaitable[None]]) -> None:
        self._write = write
        self._pool: Pool | None = None
        self._role: str | None = None
        self._columns: dict[str, Columns] = {}
        self._asked = 0

    async def open(self, dsn: str, role: str | None) -> None:
        """Open the connections for queries, which run as a role that can only read views."""
        self._role = role
        settings = {"statement_timeout": _SECONDS_MAX} | ({"role": role} if role else {})
        self._pool = await open_pool(dsn, CONNECTIONS, reset=None, **settings)

    async def close(self) -> None:
        """Close them."""
        pool, self._pool = self._pool, None
        self._columns.clear()
        if pool is not None:
            await close_pool(pool)

    @property
    def _reader(self) -> Pool:
        if self._pool is None:
            raise StoreUnavailable("the store is closed")
        return self._pool

    async def prepare(self, tables: Sequence[PhysicalTable]) -> None:
        with errors():
            found = [(row[0], row[1]) for row in await self._reader.fetch(view_sql.INDEXES)]
            readable = {row[0] for row in await self._reader.fetch(view_sql.READABLE)}
        statements = [text for table in tables for text in view_sql.create(table, found)]
        if self._role is not None:
            statements += [
                view_sql.grant(table.name, self._role)
                for table in tables
                if identifier(table.name) not in readable
            ]
        if statements:
            await self._write(statements)

    async def drop(self, names: Sequence[str]) -> None:
        await self._write([view_sql.drop(name) for name in names])
        for name in names:
            self._columns.pop(name, None)

    async def rows(self, table: str, keys: Sequence[str]) -> Found:
        if not keys:
            return Found([], 0)
        sql, most = view_sql.select(table, await self._columns_of(table)), limits.SCAN_BYTES_MAX
        with errors():
            found = await self._reader.fetch(sql, all_stored(keys), most)
        *_, reached = found[-1] if found else (0,)
        rows = [tuple(loaded(v) if isinstance(v, str) else v for v in r[:-1]) for r in found]
        return Found(rows, len(keys) if reached < most else keys.index(rows[-1][0]) + 1)

    async def query(self, sql: str, parameters: dict[str, Any], *, seconds: float) -> bytes:
        if self._asked >= limits.VIEW_QUERIES_MAX:
            raise Overloaded(f"{self._asked} view queries run or wait already")
        text, names = numbered(sql)
        arguments = [_stored(parameters[name]) for name in names]
        self._asked += 1
        try:
            # Its time begins now, with the wait for a connection.
            async with asyncio.timeout(seconds), self._reader.acquire() as connection:
                row = await connection.fetchrow(text, *arguments)
        except (TimeoutError, asyncpg.QueryCanceledError) as error:
            raise DeadlineExceeded(
                f"the query took longer than {seconds:g} s; narrow it or add a condition that an "
                "index serves"
            ) from error
        except asyncpg.DataError as error:
            raise _refused(error) from error
        except LOST as error:
            raise StoreUnavailable(f"PostgreSQL cannot be read now: {error}") from error
        except asyncpg.PostgresError as error:
            raise _refused(error) from error
        finally:
            self._asked -= 1
        if row is None or len(row) != 1 or not isinstance(row[0], str):
            raise _refused("it answers no text")
        return json_loaded(row[0].encode())

    async def plan_rows(self, plan: Plan, changes: Sequence[Rows]) -> None:
        """Add the changes of tables to a commit's plan."""
        for nth, rows in enumerate(changes):
            if rows.upserts:
                columns = await self._columns_of(rows.table)
                prefix = f"rows{nth}_"
                plan.parts.append((f"upsert{nth}", view_sql.upsert(rows.table, columns, prefix)))
                last = {row[0]: row for row in rows.upserts}
                for i, values in enumerate(zip(*last.values(), strict=True)):
                    kind = columns[i][1]
                    plan.values[f"{prefix}{i}"] = _texts(values) if kind == "text" else values
            if rows.deletes:
                name = f"deleted{nth}"
                plan.parts.append((name, view_sql.delete(rows.table, name)))
                plan.values[name] = all_stored(rows.deletes)

    async def _columns_of(self, table: str) -> Columns:
        known = self._columns.get(table)
        if known is None:
            with errors():
                rows = await self._reader.fetch(view_sql.COLUMNS, view_sql.quoted(table))
            if not rows:
                raise StoreUnavailable(f"there is no table {table!r}")
            known = self._columns[table] = tuple((row[0], row[1]) for row in rows)
        return known


_SECONDS_MAX = f"{round(limits.VIEW_QUERY_SECONDS * 2_000)}ms"
"""Beyond the bound of a query: the server's own, for one that nobody waits for any more."""


def _refused(error: object) -> RequestError:
    return RequestError(f"the query cannot run: {error}", code="view.query")


def _stored(value: Any) -> Any:
    return stored(value) if isinstance(value, str) else value


def _texts(values: Sequence[str | None]) -> Sequence[str | None]:
    return [value if value is None else stored(value) for value in values]
