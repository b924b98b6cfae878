"""The two servers of a cluster on one machine: started on one directory, stopped in order.

The directory keeps their data, so a cluster that is started again goes on where it was. It belongs
to one process at a time. Only this machine reaches the servers; they ask nobody for a password.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Final

from eventmill.adapters.sqlite import lock
from eventmill.errors import ConfigurationError
from eventmill.node.servers.nats import Nats, program
from eventmill.node.servers.postgres import (
    START_SECONDS,
    Postgres,
    is_reachable,
    needs_other_account,
)
from eventmill.node.sockets import free_port

ROLE: Final = "eventmill"
_ACCESS = f"# The superuser is not let in from anywhere.\nhost all {ROLE} 127.0.0.1/32 trust\n"
_ELSEWHERE = (Path("/var/lib"), Path("/var/tmp"), Path("/tmp"))
_NAME_BYTES_MAX = 63
"""PostgreSQL cuts longer names of databases."""


class DevelopmentServers:
    """PostgreSQL and NATS. Parameters: `directory` keeps everything of theirs; each of `databases`
    is made if it is not there."""

    def __init__(self, directory: Path, databases: Iterable[str]) -> None:
        self.directory = directory.resolve()
        self._databases = list(databases)
        self._held: IO[str] | None = None
        self._postgres: Postgres | None = None
        self._nats: Nats | None = None
        self._port = 0

    def __repr__(self) -> str:
        return f"<DevelopmentServers {self.directory}>"

    @property
    def broker(self) -> str:
        """URL of the NATS server."""
        assert self._nats is not None, "not started"
        return self._nats.url

    def store(self, database: str) -> str:
        """URL of a database."""
        return f"postgresql://{ROLE}@127.0.0.1:{self._port}/{database}"

    async def start(self) -> None:
        """Start both; they take connections when it returns.

        Raises `ConfigurationError` when a wheel is missing, a server does not start, or the
        directory belongs to a process that lives.
        """
        program()  # whether it is there: before anything is made
        self._held = lock.take(self.directory)
        self._port = free_port()
        self._postgres = Postgres(
            _home(self.directory / "postgres"),
            {
                "listen_addresses": "127.0.0.1",
                "port": str(self._port),
                "unix_socket_directories": "",
                "max_connections": "200",
            },
        )
        await _ended(self._postgres.directory / "data" / "postmaster.pid")
        _prepare(self._postgres, self._databases)
        self._postgres.start()
        self._nats = Nats(self.directory / "nats")
        await self._nats.start()

    def stop(self) -> None:
        """Stop what was started; no process is left."""
        for server in (self._nats, self._postgres):
            if server is not None:
                server.stop()
        if self._held is not None:
            self._held.close()


def _home(link: Path) -> Path:
    """Return the server's directory: `link` itself, or where it leads to.

    An account that is not ours must be able to enter it, which it cannot in root's home.
    """
    if link.exists():
        return link.resolve()
    link.unlink(missing_ok=True)  # a link to what was removed
    if not needs_other_account() or is_reachable(link.parent):
        link.mkdir()
        return link
    for folder in _ELSEWHERE:
        if folder.is_dir() and is_reachable(folder):
            link.symlink_to(tempfile.mkdtemp(prefix="eventmill-", dir=folder))
            return link.resolve()
    raise ConfigurationError(
        f"PostgreSQL does not run as root, and no other account can enter {link.parent}: name "
        "another directory with --data"
    )


async def _ended(file: Path) -> None:
    """Wait for the server of a parent that was killed: it is stopping."""
    async with asyncio.timeout(START_SECONDS):
        while _lives(file):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)


def _lives(file: Path) -> bool:
    """Whether the process that a file begins with runs."""
    try:
        os.kill(int(file.read_text().split("\n", 1)[0]), 0)
    except (OSError, ValueError):
        return False
    return True


def _prepare(server: Postgres, databases: Iterable[str]) -> None:
    """Make the server's files, if they are not there yet, and the databases that are missing."""
    data, unfinished = server.directory / "data", server.directory / "data.new"
    if not data.exists():
        shutil.rmtree(unfinished, ignore_errors=True)
        server.create("--auth=reject", name=unfinished.name)
        (unfinished / "pg_hba.conf").write_text(_ACCESS)
        server.execute([f"CREATE ROLE {ROLE} LOGIN CREATEROLE"], unfinished.name)
        unfinished.rename(data)
    listed = server.directory / "databases"
    known = listed.read_text().split() if listed.exists() else []
    for name in databases:
        if name in known:
            continue
        if len(name.encode()) > _NAME_BYTES_MAX:
            raise ConfigurationError(
                f"service {name!r}: its name is longer than a database's may be, {_NAME_BYTES_MAX}"
            )
        try:
            server.execute([f'CREATE DATABASE "{name}" OWNER {ROLE}'])
        except ConfigurationError as error:
            if "already exists" not in error.message:  # this process ended here the last time
                raise
        known.append(name)
        listed.write_text("\n".join(known))
