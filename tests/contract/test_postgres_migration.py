"""The schema changes in steps, all or nothing, while older code goes on where the steps allow it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from eventmill.adapters.postgres.migration import Migration, migrate, stored
from eventmill.adapters.postgres.store import Store
from eventmill.errors import ConfigurationError
from eventmill.model.commit import Snapshot
from eventmill.testing.contract.harness import entry, letter, open_alone, put
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


async def test_nodes_of_both_versions_work_while_the_schema_changes(
    postgres: Server, connection: asyncpg.Connection
) -> None:
    older = Store(postgres.dsn("migrating"), shards=1)
    await open_alone(older)
    await put(
        older, entry(), letters=[letter(1)], snapshots=[Snapshot("cart", "c1", 1, 1, "", b"1")]
    )
    assert len(await older.parking.letters(limit=9)) == 1

    more = "ALTER TABLE letter ADD COLUMN tenant text; ALTER TABLE snapshot ADD COLUMN tenant text"
    await migrate(connection, [*OURS, ADDS._replace(sql=f"{ADDS.sql}; {more}")])
    later = Store(postgres.dsn("migrating"))  # as a node of the version before that starts now
    await open_alone(later)
    for sequence, store in ((2, older), (3, later)):
        snapshot = Snapshot("cart", "c1", sequence, 1, "", b"1")
        await put(store, entry(sequence=sequence), letters=[letter(sequence)], snapshots=[snapshot])
    for store in (older, later):
        found, entries = await store.journal.load("cart", "c1")
        assert (found.sequence if found else 0, entries) == (3, [])
        assert [e.sequence for e in await store.journal.history("cart", "c1", limit=9)] == [1, 2, 3]
        assert len(await store.parking.letters(limit=9)) == 3
        await store.close()


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
