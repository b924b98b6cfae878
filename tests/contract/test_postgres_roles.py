"""View queries run as a role that reads tables of views and nothing else, where it can be had."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from eventmill.adapters.postgres.store import Store
from eventmill.errors import DeadlineExceeded, RequestError
from eventmill.model.commit import Rows
from eventmill.model.table import Affinity, PhysicalTable
from eventmill.testing.contract.harness import entry, open_alone, put
from eventmill.testing.postgres import Server

ROWS = PhysicalTable("v_rows@1:rows", (("n", Affinity.INTEGER),))
READ = """SELECT json_agg(n)::text FROM "v_rows@1:rows" """
JOURNAL = "SELECT json_agg(subject)::text FROM entry"
WRITE = (
    """WITH gone AS (DELETE FROM "v_rows@1:rows" RETURNING n) SELECT json_agg(n)::text FROM gone"""
)


async def asked(store: Store, sql: str) -> bytes:
    return await store.views.query(sql, {}, seconds=5)


@pytest.fixture
async def owner(postgres: Server) -> AsyncIterator[asyncpg.Connection]:
    """The superuser; the role `plain` owns the database and may make no roles."""
    connection = await asyncpg.connect(postgres.dsn())
    await connection.execute("DROP DATABASE IF EXISTS roles WITH (FORCE)")
    for role in ("eventmill_reader_roles", "plain"):
        await connection.execute(f"DROP ROLE IF EXISTS {role}")
    await connection.execute("CREATE ROLE plain LOGIN")
    await connection.execute("CREATE DATABASE roles OWNER plain")
    yield connection
    await connection.close()


@pytest.fixture
def plain(postgres: Server) -> str:
    return postgres.dsn("roles").replace("postgres@", "plain@")


async def opened(dsn: str) -> Store:
    store = Store(dsn, shards=1)
    await open_alone(store)
    await store.views.prepare([ROWS])
    await put(store, entry(), rows=[Rows(ROWS.name, [("a", 7)], [])])
    assert await asked(store, READ) == b"[7]"
    return store


async def test_queries_reach_the_tables_of_views_alone(
    postgres: Server, owner: asyncpg.Connection
) -> None:
    store = await opened(postgres.dsn("roles"))
    for forbidden in (JOURNAL, "SELECT count(*)::text FROM registry"):
        with pytest.raises(RequestError, match="permission denied"):
            await asked(store, forbidden)
    with pytest.raises(RequestError, match="read-only"):
        await asked(store, WRITE)
    with pytest.raises(DeadlineExceeded):
        await store.views.query("SELECT pg_sleep(9)::text", {}, seconds=0.05)
    await store.close()

    # Not only because of read-only transactions.
    other = await asyncpg.connect(
        postgres.dsn("roles"),
        server_settings={"role": "eventmill_reader_roles", "search_path": "eventmill"},
    )
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await other.fetch(WRITE)
    await other.close()


async def test_who_may_make_no_role_reads_in_transactions_that_cannot_write(
    owner: asyncpg.Connection, plain: str
) -> None:
    store = await opened(plain)
    assert await asked(store, JOURNAL) == b'["c1"]'
    with pytest.raises(RequestError, match="read-only"):
        await asked(store, WRITE)
    await store.close()


async def test_an_operator_may_give_the_role_later(owner: asyncpg.Connection, plain: str) -> None:
    await (await opened(plain)).close()
    await owner.execute("CREATE ROLE eventmill_reader_roles")
    store = Store(plain)
    await open_alone(store)  # it may not use the role: that is no reason not to start
    await store.close()

    await owner.execute("GRANT eventmill_reader_roles TO plain")
    store = Store(plain)
    await open_alone(store)
    await store.views.prepare([ROWS])
    assert await asked(store, READ) == b"[7]"
    with pytest.raises(RequestError, match="permission denied"):
        await asked(store, JOURNAL)
    await store.close()
