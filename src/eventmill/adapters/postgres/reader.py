"""Connections for reading: they see only what was committed, and cannot write."""

from __future__ import annotations

from typing import Any

import asyncpg

from eventmill.adapters.postgres.connection import Connection, Pool, close_pool, errors, open_pool
from eventmill.adapters.postgres.writer import fetch
from eventmill.errors import StoreUnavailable

CONNECTIONS = 4


class Reader:
    """A pool, opened and closed with the store."""

    def __init__(self) -> None:
        self._pool: Pool | None = None

    async def open(self, dsn: str) -> None:
        """Open the pool; connections are made when they are needed."""
        self._pool = await open_pool(dsn, CONNECTIONS, reset=_leave_as_it_is)

    async def close(self) -> None:
        """Close the connections."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await close_pool(pool)

    async def fetch(self, name: str, **values: Any) -> list[asyncpg.Record]:
        """Run a named statement; return its rows.

        Raises `StoreUnavailable`.
        """
        if self._pool is None:
            raise StoreUnavailable("the store is closed")
        with errors():
            return await fetch(self._pool, name, **values)


async def _leave_as_it_is(connection: Connection) -> None:
    """Our statements leave nothing behind in a session: spare each read a second round trip."""
