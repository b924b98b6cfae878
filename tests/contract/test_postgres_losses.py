"""Connections to PostgreSQL break at the worst moments: the outcome of a commit is found out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import asyncpg
import pytest

from eventmill.adapters.postgres.store import Store
from eventmill.errors import ConfigurationError, StoreUnavailable
from eventmill.testing.contract.harness import entry, open_alone, put
from eventmill.testing.postgres import Server

SOCKET = ".s.PGSQL.5432"


class Wire:
    """What is between the node and the server; the test cuts it."""

    def __init__(self, server: Path, near: Path) -> None:
        self._server, self._near = server / SOCKET, near / SOCKET
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.hears = asyncio.Event()
        """Whether answers arrive."""
        self.hears.set()

    async def open(self) -> None:
        self._listener = await asyncio.start_unix_server(self._join, self._near)

    async def close(self) -> None:
        self._listener.close()
        self.cut()
        await self._listener.wait_closed()

    def cut(self) -> None:
        """Break every connection; new ones can be made."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()
        self.hears.set()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(self._server)
        self._writers |= {writer, back}
        with suppress(OSError):
            async with asyncio.TaskGroup() as both:
                both.create_task(self._carry(reader, back))
                both.create_task(self._carry(there, writer, answers=True))

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool = False
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                if answers:
                    await self.hears.wait()
                writer.write(data)
                await writer.drain()
        writer.transport.abort()


@pytest.fixture
async def dsn(postgres: Server) -> str:
    return await postgres.fresh(1)


@pytest.fixture
async def plain(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """Another session, which sees what is really there."""
    connection = await asyncpg.connect(dsn, server_settings={"search_path": "eventmill"})
    yield connection
    await connection.close()


@pytest.fixture
async def wire(postgres: Server, tmp_path: Path) -> AsyncIterator[Wire]:
    wire = Wire(postgres.directory, tmp_path)
    await wire.open()
    yield wire
    await wire.close()


@pytest.fixture
async def store(dsn: str, wire: Wire, tmp_path: Path) -> AsyncIterator[Store]:
    """A store behind the wire."""
    store = Store(dsn.partition("?")[0] + f"?host={tmp_path}")
    await open_alone(store)
    await put(store, entry())
    yield store
    await store.close()


async def count(plain: asyncpg.Connection) -> int:
    found: int = await plain.fetchval("SELECT count(*) FROM entry")
    return found


@asynccontextmanager
async def locked_head(plain: asyncpg.Connection) -> AsyncIterator[None]:
    """Nobody can commit to the shard meanwhile."""
    async with plain.transaction():
        await plain.execute("SELECT FROM shard FOR UPDATE")
        yield


async def until_blocked(dsn: str) -> None:
    watcher = await asyncpg.connect(dsn)
    sql = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock')"
    async with asyncio.timeout(10):
        while not await watcher.fetchval(sql):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await watcher.close()


async def test_a_commit_whose_answer_was_lost_is_found_and_acknowledged(
    store: Store, wire: Wire, plain: asyncpg.Connection
) -> None:
    wire.hears.clear()
    late = [entry(sequence=2), entry("c2")]
    writing = asyncio.ensure_future(put(store, *late))
    async with asyncio.timeout(10):
        while await count(plain) < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    wire.cut()
    await writing
    assert [e.position for e in late] == [2, 3]
    again = entry(sequence=3)
    await put(store, again)
    assert again.position == 4


async def test_a_commit_that_the_server_ended_is_reported_as_not_done(
    store: Store, dsn: str, plain: asyncpg.Connection
) -> None:
    async with locked_head(plain):
        writing = asyncio.ensure_future(put(store, entry(sequence=2)))
        await until_blocked(dsn)
        await plain.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        )
        with pytest.raises(StoreUnavailable, match="nothing was committed"):
            await writing
    again = entry(sequence=2)
    await put(store, again)
    assert again.position == 2


async def test_a_commit_still_under_way_on_the_server_cannot_happen_later(
    store: Store, wire: Wire, dsn: str, plain: asyncpg.Connection
) -> None:
    async with locked_head(plain):
        writing = asyncio.ensure_future(put(store, entry(sequence=2, payload=b'"zombie"')))
        await until_blocked(dsn)
        wire.cut()
        with pytest.raises(StoreUnavailable, match="nothing was committed"):
            await writing
    await put(store, entry(sequence=2, payload=b'"new"'))
    rows = await plain.fetch("SELECT position, payload FROM entry ORDER BY position")
    assert [(row[0], row[1]) for row in rows] == [(1, b'{"n":1}'), (2, b'"new"')]


async def test_a_cancelled_commit_does_not_happen_after_the_next_one_began(
    store: Store, dsn: str, plain: asyncpg.Connection
) -> None:
    before = await plain.fetchval("SELECT id FROM writer")
    async with locked_head(plain):
        writing = asyncio.ensure_future(put(store, entry(sequence=2)))
        await until_blocked(dsn)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        following = asyncio.ensure_future(put(store, entry("c2")))
        async with asyncio.timeout(10):
            while await plain.fetchval("SELECT id FROM writer") in (before, None):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    await following
    rows = await plain.fetch("SELECT subject FROM entry ORDER BY position")
    assert [row[0] for row in rows] == ["c1", "c2"]


async def test_a_writer_whose_row_was_swept_begins_anew(
    store: Store, plain: asyncpg.Connection
) -> None:
    await plain.execute("DELETE FROM writer")
    with pytest.raises(StoreUnavailable):
        await put(store, entry(sequence=2))
    assert await count(plain) == 1
    await put(store, entry(sequence=2))


async def test_a_server_that_turned_read_only_is_unavailable_until_it_is_not(
    store: Store, dsn: str, plain: asyncpg.Connection
) -> None:
    name = dsn.partition("?")[0].rpartition("/")[2]
    await plain.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    try:
        store._writer.drop()  # as a failover does
        with pytest.raises(StoreUnavailable):
            await put(store, entry(sequence=2))
    finally:
        await plain.execute("SET default_transaction_read_only = off")
        await plain.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    await put(store, entry(sequence=2))


async def test_a_role_that_may_lose_commits_is_refused(dsn: str, plain: asyncpg.Connection) -> None:
    name = dsn.partition("?")[0].rpartition("/")[2]
    await plain.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    try:
        with pytest.raises(ConfigurationError, match="synchronous_commit"):
            await Store(dsn).open()
    finally:
        await plain.execute(f"ALTER DATABASE {name} RESET synchronous_commit")


async def test_a_database_that_does_not_hold_every_text_is_refused(postgres: Server) -> None:
    await postgres.execute(
        "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE_PROVIDER libc LOCALE 'C' TEMPLATE template0"
    )
    with pytest.raises(ConfigurationError, match=r"LATIN1.*ENCODING 'UTF8'"):
        await Store(postgres.dsn("latin")).open()


async def test_nodes_wait_for_each_other_whatever_isolation_is_usual_there(
    postgres: Server,
) -> None:
    stores = [Store(await postgres.fresh(16)) for _ in range(4)]
    await postgres.execute(
        "ALTER DATABASE shards16 SET default_transaction_isolation = 'serializable'"
    )
    try:
        for store in stores:
            await store.open()
            await store.place(["t"])
        message = partial(entry, source="t", sequence=0, shard=16)
        await asyncio.gather(*(put(store, message()) for store in stores for _ in range(10)))
        assert await stores[0].journal.end(16) == 40
    finally:
        await postgres.execute("ALTER DATABASE shards16 RESET default_transaction_isolation")
        for store in stores:
            await store.close()


async def test_acknowledged_commits_outlive_a_crash_of_the_server() -> None:
    server = await asyncio.to_thread(lambda: Server(durable=True))
    try:
        store = Store(await server.fresh(1))
        await open_alone(store)
        acknowledged = []
        for n in range(1, 60):
            if n == 30:
                await asyncio.to_thread(server.crash)
            with suppress(StoreUnavailable):
                await put(store, entry(f"c{n}"))
                acknowledged.append(f"c{n}")
        entries = (await store.journal.read(0, 0, limit=99)).entries
        await store.close()
    finally:
        await asyncio.to_thread(server.close)
    assert len(acknowledged) >= 58
    assert [e.subject for e in entries] == acknowledged
    assert [e.position for e in entries] == list(range(1, len(acknowledged) + 1))


@pytest.fixture
async def own() -> AsyncIterator[Server]:
    """A server of the test's own, which it may end."""
    server = await asyncio.to_thread(Server)
    yield server
    await asyncio.to_thread(server.close)


@asynccontextmanager
async def on(server: Server) -> AsyncIterator[Store]:
    store = Store(await server.fresh(1))
    await open_alone(store)
    await put(store, entry())
    yield store
    await store.close()


async def test_a_server_that_restarts_in_the_middle_of_a_commit_has_not_done_it(
    own: Server,
) -> None:
    async with on(own) as store:
        plain = await asyncpg.connect(store.dsn, server_settings={"search_path": "eventmill"})
        locked = plain.transaction()
        await locked.start()
        await plain.execute("SELECT FROM shard FOR UPDATE")
        writing = asyncio.ensure_future(put(store, entry(sequence=2)))
        await until_blocked(store.dsn)
        await asyncio.to_thread(own.crash)
        with pytest.raises(StoreUnavailable, match="nothing was committed"):
            await writing
        plain.terminate()
        again = entry(sequence=2)
        await put(store, again)
        assert again.position == 2


async def test_an_answer_lost_by_a_restart_of_the_server_is_found(
    own: Server, tmp_path: Path
) -> None:
    wire = Wire(own.directory, tmp_path)
    await wire.open()
    async with on(own) as direct:
        store = Store(direct.dsn.partition("?")[0] + f"?host={tmp_path}")
        await open_alone(store)
        await put(store, entry(sequence=2))
        wire.hears.clear()
        late = entry(sequence=3)
        writing = asyncio.ensure_future(put(store, late))
        async with asyncio.timeout(10):
            while await direct.journal.end(0) < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await asyncio.to_thread(own.crash)
        wire.cut()
        await writing
        assert late.position == 3
        await store.close()
    await wire.close()


async def test_a_node_does_not_go_on_with_a_server_that_took_over(own: Server) -> None:
    async with on(own) as store:
        copy = await asyncio.to_thread(own.copied)
        with suppress(StoreUnavailable):
            await put(store, entry(sequence=2))  # may only notice that the server was away
        await asyncio.to_thread(own.fail_over, copy)
        for _ in range(2):
            with pytest.raises(ConfigurationError, match="start it again"):
                await put(store, entry(sequence=3))
        again = Store(store.dsn)
        await open_alone(again)
        await put(again, entry(sequence=2))
        assert await again.journal.end(0) == 2
        await again.close()


async def test_a_server_that_lacks_acknowledged_commits_is_not_written_to(
    store: Store, plain: asyncpg.Connection
) -> None:
    await put(store, entry(sequence=2))
    await plain.execute("UPDATE writer SET number = 1")  # as a restored backup would say
    store._writer.drop()
    with pytest.raises(ConfigurationError, match="lost 1 commits"):
        await put(store, entry(sequence=3))
    assert await count(plain) == 2


async def test_a_database_that_is_not_there_is_a_mistake_of_the_settings(postgres: Server) -> None:
    with pytest.raises(ConfigurationError):
        await Store(postgres.dsn("nothing")).open()


async def test_the_number_of_shards_stays(dsn: str) -> None:
    with pytest.raises(ConfigurationError, match="1 shards"):
        await Store(dsn, shards=4).open()
