"""The writing connection: runs a plan, and finds out what became of it when the connection broke.

Every writing connection has a row in `writer` that each of its commits counts up. A new connection
removes the row of a lost one: what it returns says whether the last commit is there, and without
it one that is still under way cannot happen any more. So an unknown outcome becomes a known one.

A server that took the other's place, or went back in time, may lack what this node has seen: then
nothing that the node holds in memory can be trusted, and it has to be started again.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Sequence
from typing import Any

import asyncpg

from eventmill.adapters.postgres.connection import (
    COMMAND_SECONDS,
    LOST,
    Connection,
    check_durable,
    connect,
    errors,
    said,
)
from eventmill.adapters.postgres.plan import Plan
from eventmill.adapters.postgres.statements import SQL, numbered, together
from eventmill.errors import ConfigurationError, StoreUnavailable

RESOLVE_SECONDS = 5.0
"""How long an answer is held back to find out whether a commit is there."""

RETRY_SECONDS = 0.05

_PLANNING = {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off"}
"""A commit touches rows by their keys alone: plan it once, and by index even in empty tables."""


class Refused(Exception):
    """A condition of the plan did not hold: nothing was written."""


class Writer:
    """One connection at a time; the store lets one commit at a time come here."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection: Connection | None = None
        self._id = uuid.UUID(int=0)
        self._number = 0
        self._lost: dict[uuid.UUID, int] = {}
        """Rows of lost connections that are to be removed first, and what they counted at least."""
        self._line: tuple[Any, ...] | None = None
        """The server's identity: another one after a failover, or when a backup was restored."""

    async def ready(self) -> Connection:
        """Return the connection, opened anew if it was lost.

        Raises `StoreUnavailable` or `ConfigurationError`.
        """
        if self._connection is not None and not self._connection.is_closed():
            return self._connection
        self.drop()
        connection = await connect(self._dsn, seconds=COMMAND_SECONDS, **_PLANNING)
        try:
            with errors():
                await check_durable(connection)
                await self._check_line(connection)
                await self._begin(connection)
        except BaseException:
            connection.terminate()
            raise
        self._connection = connection
        return connection

    async def run(self, plan: Plan) -> Sequence[int] | None:
        """Make a plan true; return the last positions of its shards.

        Raises `Refused`, `Conflict`, `StoreUnavailable` or `StoreFull`.
        """
        connection = await self.ready()
        try:
            with errors():
                ends = await self._send(connection, plan)
        except Refused:
            raise
        except StoreUnavailable as error:
            if not (isinstance(error.__cause__, LOST) or connection.is_closed()):
                raise
            return await self._resolve(error)
        except asyncio.CancelledError:
            self.drop()
            raise
        self._number += 1
        return ends

    async def is_known(self, connection: Connection) -> bool:
        """Whether this writer's row is still there."""
        return bool((await fetch(connection, "is_writer", writer=self._id))[0][0])

    def drop(self) -> None:
        """Give the connection up. Its row goes before the next commit: nothing comes after it."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
            self._lost[self._id] = self._number

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is None:
            return
        try:
            async with asyncio.timeout(1.0):
                await fetch(self._connection, "end_writer", writer=self._id)
                await self._connection.close()
        except (*LOST, asyncpg.PostgresError):
            self._connection.terminate()
        self._connection = None

    async def _begin(self, connection: Connection) -> None:
        for id in list(self._lost):
            self._check_count(id, await fetch(connection, "end_writer", writer=id))
            del self._lost[id]
        await fetch(connection, "sweep_writers")
        self._id, self._number = uuid.uuid4(), 0
        await fetch(connection, "begin_writer", writer=self._id)

    async def _send(self, connection: Connection, plan: Plan) -> Sequence[int] | None:
        values = {**plan.values, "writer": self._id, "number": self._number}
        text, names = numbered(together(tuple(plan.parts), tuple(plan.conditions)))
        arguments = [values[name] for name in names]
        try:
            if not (plan.before or plan.after):
                return (await connection.fetchrow(text, *arguments))[0]  # type: ignore[no-any-return]
            async with connection.transaction():
                for name in plan.before:
                    await run_sql(connection, SQL[name], values)
                row = await connection.fetchrow(text, *arguments)
                for name in plan.after:
                    await run_sql(connection, SQL[name], values)
        except asyncpg.DivisionByZeroError as error:
            raise Refused from error
        return row[0]  # type: ignore[no-any-return]

    async def _resolve(self, error: StoreUnavailable) -> Sequence[int] | None:
        """Read whether the commit under way is there."""
        lost, number = self._id, self._number
        self.drop()
        give_up = time.monotonic() + RESOLVE_SECONDS
        while time.monotonic() < give_up:
            try:
                connection = await connect(self._dsn)
                try:
                    await self._check_line(connection)
                    rows = await fetch(connection, "end_writer", writer=lost)
                finally:
                    connection.terminate()
            except (StoreUnavailable, *LOST, asyncpg.PostgresError):
                await asyncio.sleep(RETRY_SECONDS)
                continue
            self._check_count(lost, rows)
            del self._lost[lost]
            if rows and rows[0]["number"] > number:
                return rows[0]["ends"]  # type: ignore[no-any-return]
            if rows:
                raise StoreUnavailable(f"{error.message}; nothing was committed") from error
            break
        raise StoreUnavailable(
            f"the connection to PostgreSQL broke during a commit ({said(error)}); whether it is "
            "there is unknown"
        ) from error

    async def _check_line(self, connection: Connection) -> None:
        """Raise `ConfigurationError` if this is not the server that was there before, and
        `StoreUnavailable` if it is a replica."""
        line = tuple((await fetch(connection, "line"))[0])
        if None in line:
            raise StoreUnavailable("this PostgreSQL server is a replica, or not recovered yet")
        self._line = self._line or line
        if line != self._line:
            raise ConfigurationError(
                "another PostgreSQL server took over, or this one was restored: what this node "
                "knows may not be there; start it again"
            )

    def _check_count(self, id: uuid.UUID, rows: Sequence[asyncpg.Record]) -> None:
        """Raise `ConfigurationError` if commits that were acknowledged are not there."""
        if rows and rows[0]["number"] < self._lost[id]:
            raise ConfigurationError(
                f"PostgreSQL has lost {self._lost[id] - rows[0]['number']} commits of this node that "
                "it had acknowledged: it went back in time; start this node again"
            )


async def fetch(connection: Any, name: str, **values: Any) -> list[asyncpg.Record]:
    """Run a named statement; return its rows."""
    return await run_sql(connection, SQL[name], values)


async def run_sql(connection: Any, sql: str, values: dict[str, Any]) -> list[asyncpg.Record]:
    """Run a statement with named parameters; return its rows."""
    text, names = numbered(sql)
    rows: list[asyncpg.Record] = await connection.fetch(text, *[values[name] for name in names])
    return rows
