"""Connections to the server, what is demanded of it, and where its errors become ours."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import asyncpg
import structlog

from eventmill.errors import ConfigurationError, Conflict, StoreFull, StoreUnavailable
from eventmill.model.addresses import without_secrets

log = structlog.get_logger("eventmill.store")

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Reset: TypeAlias = Callable[[Connection], Awaitable[None]]

SCHEMA = "eventmill"
"""Everything is in this schema of the database, so that it can be shared with other programs."""

CONNECT_SECONDS = 5.0
COMMAND_SECONDS = 10.0
"""A server that does not answer for so long is given up."""

SETTINGS = {
    "application_name": "eventmill",
    "search_path": SCHEMA,
    "statement_timeout": "9s",
    "lock_timeout": "4s",
    "idle_in_transaction_session_timeout": "10s",
    "jit": "off",
    "default_transaction_isolation": "read committed",  # whatever the role's is: a head row is waited for
}

LOST = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.IdleInTransactionSessionTimeoutError,
)
"""The connection is gone: whether a commit under way is there must be read."""

_UNUSABLE = (
    asyncpg.InvalidCatalogNameError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidPasswordError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.ClientConfigurationError,
)


async def connect(
    dsn: str, *, seconds: float | None = COMMAND_SECONDS, **settings: str
) -> Connection:
    """Open a connection; its statements are given `seconds`.

    Raises `ConfigurationError` if the server refuses for good, `StoreUnavailable` otherwise.
    """
    with errors():
        try:
            return await asyncpg.connect(
                dsn,
                timeout=CONNECT_SECONDS,
                command_timeout=seconds,
                server_settings={**SETTINGS, **settings},
            )
        except (OSError, TimeoutError) as error:
            raise StoreUnavailable(
                f"no PostgreSQL server answers at {without_secrets(dsn)} ({said(error)}); start it, or mend "
                "the address"
            ) from error
        except ValueError as error:
            raise ConfigurationError(
                f"the store's URL cannot be read ({error}): write it as "
                "postgresql://user:password@host:port/database"
            ) from error


async def connect_patiently(dsn: str) -> Connection:
    """Open a connection for one transaction that may take long, and wait for files meanwhile."""
    never = {"statement_timeout": "0", "idle_in_transaction_session_timeout": "0"}
    return await connect(dsn, seconds=None, **never)


async def open_pool(dsn: str, size: int, *, reset: Reset | None = None, **settings: str) -> Pool:
    """Open connections for reading.

    Parameter: `reset` makes a connection as new after each use; the driver's asks the server.
    """
    with errors():
        return await asyncpg.create_pool(
            dsn,
            min_size=0,
            max_size=size,
            timeout=CONNECT_SECONDS,
            command_timeout=COMMAND_SECONDS,
            max_inactive_connection_lifetime=300.0,
            reset=reset,
            server_settings={**SETTINGS, "default_transaction_read_only": "on", **settings},
        )


async def close_pool(pool: Pool) -> None:
    """Close connections; what still runs on them is broken off after a while."""
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            await pool.close()
    except TimeoutError:
        pool.terminate()


async def check_usable(connection: Connection) -> None:
    """Refuse a role whose acknowledged commits may be lost, and a database that cannot hold all.

    Raises `ConfigurationError`.
    """
    mode = await connection.fetchval("SHOW synchronous_commit")
    if mode not in ("on", "remote_apply"):
        raise ConfigurationError(
            f"synchronous_commit is {mode!r} for this role: acknowledged commits could be lost; "
            "set it to 'on' (ALTER ROLE … SET synchronous_commit = 'on')"
        )
    encoding = await connection.fetchval("SHOW server_encoding")
    if encoding != "UTF8":
        raise ConfigurationError(
            f"the database is encoded in {encoding}, which does not hold every text: make one with "
            "CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
        )


async def survives_power_failures(connection: Connection) -> bool:
    """Whether the server waits until what it acknowledges is on the disk."""
    mode: str = await connection.fetchval("SHOW fsync")
    return mode == "on"


async def check_durable(connection: Connection) -> None:
    """Refuse what is not usable; tell of a server that a power failure destroys.

    Raises `ConfigurationError`.
    """
    await check_usable(connection)
    if not await survives_power_failures(connection):
        log.warning("the PostgreSQL server runs with fsync off: a power failure destroys its data")


@contextmanager
def errors() -> Iterator[None]:
    """Turn the driver's errors into the store's."""
    try:
        yield
    except asyncpg.DiskFullError as error:
        raise StoreFull(
            "the PostgreSQL server's disk is full; free some space, work resumes by itself"
        ) from error
    except asyncpg.UniqueViolationError as error:
        raise Conflict(f"somebody else wrote first: {error}") from error
    except _UNUSABLE as error:
        advice = "; its user needs CREATE on the database, and owns what is in the schema"
        may_not = isinstance(error, asyncpg.InsufficientPrivilegeError)
        raise ConfigurationError(
            f"PostgreSQL refuses this node: {error}{advice if may_not else ''}"
        ) from error
    except (*LOST, asyncpg.PostgresError) as error:
        raise StoreUnavailable(f"PostgreSQL cannot be used now: {said(error)}") from error


def said(error: BaseException) -> str:
    """Return an error's text; some have none."""
    return str(error) or type(error).__name__


Arguments: TypeAlias = dict[str, Any]
