"""The schema changes in steps, all or nothing, while older code goes on where the steps allow it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from eventmill.adapters.postgres.migration import Migration, migrate, stored
from eventmill.errors import ConfigurationError
from eventmill.testing.postgres import Server

OURS = stored()
NEXT = OURS[-1].version + 1
ADDS = Migration(NEXT, 1, "ALTER TABLE entry ADD COLUMN tenant text; CREATE TABLE extra (a int)")
ENDS = Migration(NEXT + 1, NEXT, "DROP TABLE extra")


@pytest.fixture
async def connection(postgres: Server) -> AsyncIterator[asyncpg.Connection]:
    await postgres.execute("DROP DATABASE IF EXISTS migrating WITH (FORCE)")
    await postgres.execute("CREATE DATABASE migrating")
    connection = await asyncpg.connect(
        postgres.dsn("migrating"), server_settings={"search_path": "eventmill"}
    )
    yield connection
    await connection.close()


async def versions(connection: asyncpg.Connection) -> list[int]:
    rows = await connection.fetch("SELECT version FROM migration ORDER BY version")
    return [row[0] for row in rows]


async def test_every_step_is_numbered_and_says_what_it_needs() -> None:
    assert [step.version for step in OURS] == list(range(1, len(OURS) + 1))
    assert all(step.needs <= step.version for step in OURS)


async def test_an_empty_database_gets_all_steps_and_once(connection: asyncpg.Connection) -> None:
    await migrate(connection)
    await migrate(connection)
    assert await versions(connection) == [0, *(step.version for step in OURS)]


async def test_an_older_schema_keeps_its_data(connection: asyncpg.Connection) -> None:
    await migrate(connection)
    await connection.execute("INSERT INTO registry VALUES ('fact', 'x')")
    await migrate(connection, [*OURS, ADDS])
    assert (await versions(connection))[-1] == NEXT
    assert await connection.fetchval("SELECT value FROM registry") == b"x"
    assert await connection.fetchval("SELECT count(tenant) FROM entry") == 0


async def test_older_code_works_on_a_newer_schema_that_only_adds(
    connection: asyncpg.Connection,
) -> None:
    await migrate(connection, [*OURS, ADDS])
    await migrate(connection)
    assert (await versions(connection))[-1] == NEXT


async def test_older_code_is_refused_once_what_it_needs_is_gone(
    connection: asyncpg.Connection,
) -> None:
    await migrate(connection, [*OURS, ADDS, ENDS])
    await migrate(connection, [*OURS, ADDS])
    with pytest.raises(ConfigurationError, match="update Eventmill"):
        await migrate(connection)


async def test_a_step_that_fails_leaves_nothing(connection: asyncpg.Connection) -> None:
    await migrate(connection)
    bad = ADDS._replace(sql="CREATE TABLE half (a int); SELECT nonsense")
    with pytest.raises(asyncpg.PostgresError):
        await migrate(connection, [*OURS, bad])
    assert await connection.fetchval("SELECT to_regclass('half')") is None
    assert (await versions(connection))[-1] == OURS[-1].version


async def test_nodes_that_start_at_once_migrate_once(
    postgres: Server, connection: asyncpg.Connection
) -> None:
    others = [
        await asyncpg.connect(
            postgres.dsn("migrating"), server_settings={"search_path": "eventmill"}
        )
        for _ in range(4)
    ]
    await asyncio.gather(*(migrate(other) for other in others))
    for other in others:
        await other.close()
    assert await versions(connection) == [0, *(step.version for step in OURS)]
