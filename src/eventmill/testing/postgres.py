"""A PostgreSQL server for tests: from a wheel, in a directory of its own, gone afterwards.

It listens on a socket in its directory and on no port.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import asyncpg

from eventmill.adapters.postgres.store import Store
from eventmill.errors import ConfigurationError
from eventmill.node.servers.postgres import Postgres

ENDING_SECONDS = 10.0
"""Time that a killed server's children have to end."""

_EMPTY = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid();
DO $$
DECLARE
    found text;
BEGIN
    FOR found IN SELECT tablename FROM pg_tables WHERE schemaname = 'eventmill' LOOP
        IF found IN ('entry_home', 'topic', 'snapshot', 'outcome', 'timer', 'offset', 'letter', 'writer',
                     'member') THEN
            EXECUTE format('DELETE FROM eventmill.%I', found);
        ELSIF found NOT IN ('migration', 'registry', 'shard', 'entry') THEN
            EXECUTE format('DROP TABLE eventmill.%I', found);
        END IF;
    END LOOP;
END $$;
DELETE FROM eventmill.shard WHERE shard >= (
    SELECT convert_from(value, 'UTF8')::integer FROM eventmill.registry WHERE name = '$shards');
UPDATE eventmill.shard SET position = 0, epoch = 0, owner = NULL;
DELETE FROM eventmill.registry WHERE name <> '$shards';
"""


class Server:
    """A running server. Parameter: `durable` turns fsync on; tests of speed or loss need it."""

    def __init__(self, *, durable: bool = False) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="evmpg-", dir="/tmp"))
        self._server = Postgres(self.directory, _settings(self.directory, durable))
        self._emptying: dict[str, asyncpg.Connection[asyncpg.Record]] = {}
        self._loop = asyncio.new_event_loop()
        self._apart = Thread(target=self._loop.run_forever, daemon=True)
        self._apart.start()
        self._made: set[str] = set()
        self._server.create("--auth=trust", "--no-sync")
        self._server.start()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The running server."""
        assert self._server.process is not None, "the server does not run"
        return self._server.process

    def dsn(self, database: str = "postgres") -> str:
        """Return what a store connects with."""
        return f"postgresql://postgres@/{database}?host={self.directory}"

    async def fresh(self, shards: int) -> str:
        """Return what an empty store with so many shards connects with.

        The database is the same each time: emptying one is ten times as fast as making one.
        """
        name = f"shards{shards}"
        if name not in self._made:
            await self.execute(f"CREATE DATABASE {name}")
            self._made.add(name)
            store = Store(self.dsn(name), shards=shards)
            await store.open()
            await store.close()
        else:
            emptied = asyncio.run_coroutine_threadsafe(self._empty(name), self._loop)
            await asyncio.wrap_future(emptied)
        return self.dsn(name)

    async def execute(self, statement: str, database: str = "postgres") -> None:
        """Run a statement as the superuser."""
        connection = await asyncpg.connect(self.dsn(database))
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    async def fetch(self, query: str, database: str = "postgres") -> list[Any]:
        """Return the rows of a query of the superuser."""
        connection = await asyncpg.connect(self.dsn(database))
        try:
            return list(await connection.fetch(query))
        finally:
            await connection.close()

    def crash(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """Stop at once, as a power failure would, and start again."""
        self._server.stop(how)
        give_up = time.monotonic() + ENDING_SECONDS
        while True:
            try:
                self._server.start()
                return
            except ConfigurationError:
                # Children of a server that was killed hold its memory until they notice.
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.1)

    def copied(self) -> Path:
        """Return a copy of the data, as a replica that gets no further."""
        copy = self.directory / "copy"
        self._server.stop(signal.SIGINT)
        subprocess.run(["cp", "-a", self.directory / "data", copy], check=True)
        self._server.start()
        return copy

    def fail_over(self, copy: Path) -> None:
        """Go on with a copy, on a timeline of its own, as a promoted replica does."""
        data = self.directory / "data"
        self._server.stop(signal.SIGQUIT)
        shutil.rmtree(data)
        copy.rename(data)
        (data / "standby.signal").touch()
        self._server.start()
        where = ("-h", str(self.directory), "-U", "postgres")
        self._server.run("psql", *where, "-c", "SELECT pg_promote()")

    def close(self) -> None:
        """End the server and remove its data."""
        asyncio.run_coroutine_threadsafe(self._end_emptying(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._apart.join()
        self._loop.close()
        self._server.stop(signal.SIGQUIT)
        shutil.rmtree(self.directory, ignore_errors=True)

    async def _empty(self, name: str) -> None:
        """Empty a database, on a connection that stays: it knows the tables and how to do it.

        Hence it has a loop of its own, as each test has another one.
        """
        for _ in range(2):  # the server may have been stopped since
            connection = self._emptying.pop(name, None) or await asyncpg.connect(self.dsn(name))
            with suppress(asyncpg.InterfaceError, asyncpg.PostgresConnectionError):
                await connection.execute(_EMPTY)
                self._emptying[name] = connection
                return
        raise ConnectionError(f"the test's server hangs up: see {self.directory / 'log'}")

    async def _end_emptying(self) -> None:
        for connection in self._emptying.values():
            connection.terminate()


def _settings(directory: Path, durable: bool) -> dict[str, str]:
    sync = "on" if durable else "off"
    return {
        "listen_addresses": "",
        "unix_socket_directories": str(directory),
        "fsync": sync,
        "full_page_writes": sync,
        "max_connections": "200",
        "shared_buffers": "128MB",
        "max_wal_size": "2GB",
        "autovacuum_naptime": "10s",
    }
