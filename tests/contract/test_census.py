"""What is told of a store from outside is the same for a data directory and for PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from eventmill.adapters.postgres import census as postgres_census
from eventmill.adapters.postgres.store import Store as PostgresStore
from eventmill.adapters.sqlite import census as sqlite_census
from eventmill.adapters.sqlite.store import Store as SqliteStore
from eventmill.errors import ConfigurationError
from eventmill.model.census import StoredType, Subscriber
from eventmill.model.commit import Commit, Letter, LetterStatus, Offset, Rows, Timer
from eventmill.model.entry import COMMANDS, DELETED, DELTAS, STATE, STEP, Entry
from eventmill.model.table import Affinity, PhysicalTable
from eventmill.ports.store import Store
from eventmill.runtime.dispatch.courier import NAME as COURIER
from eventmill.runtime.replicated.log import NAME as COMPACTOR
from eventmill.testing.contract.harness import entry, letter, message, open_alone
from eventmill.testing.postgres import Server

ENGINES = ("sqlite", "postgres")


class Seen:
    """One engine's store, and its census."""

    def __init__(self, engine: str, place: Any) -> None:
        self.engine, self.place = engine, place

    def store(self) -> Store:
        return SqliteStore(self.place) if self.engine == "sqlite" else PostgresStore(self.place)

    async def types(self) -> list[StoredType]:
        if self.engine == "sqlite":
            return sqlite_census.stored_types(self.place, lambda done, total: None)
        return await postgres_census.stored_types(self.place)

    async def payloads(self, kind: StoredType) -> list[tuple[int, bytes]]:
        if self.engine == "sqlite":
            return list(sqlite_census.payloads(self.place, kind))
        return await postgres_census.payloads(self.place, kind)

    async def progresses(self, workflow: str) -> list[tuple[str, bytes]]:
        if self.engine == "sqlite":
            return list(sqlite_census.progresses(self.place, workflow))
        return await postgres_census.progresses(self.place, workflow)

    async def rows(self, table: str) -> list[tuple[Any, ...]]:
        if self.engine == "sqlite":
            return list(sqlite_census.rows(self.place, table))
        return await postgres_census.rows(self.place, table)

    async def waiting(self) -> list[tuple[str, Entry]]:
        if self.engine == "sqlite":
            return sqlite_census.waiting_commands(self.place, COURIER)
        return await postgres_census.waiting_commands(self.place, COURIER)

    async def deltas(self) -> list[Entry]:
        if self.engine == "sqlite":
            return sqlite_census.waiting_deltas(self.place, COMPACTOR)
        return await postgres_census.waiting_deltas(self.place, COMPACTOR)

    async def letters(self) -> list[Letter]:
        if self.engine == "sqlite":
            return sqlite_census.letters(self.place)
        return await postgres_census.letters(self.place)

    async def subscribers(self) -> list[Subscriber]:
        if self.engine == "sqlite":
            return sqlite_census.subscribers(self.place)
        return await postgres_census.subscribers(self.place)


@pytest.fixture(params=ENGINES)
async def seen(request: pytest.FixtureRequest, tmp_path: Path) -> Seen:
    if request.param == "sqlite":
        return Seen("sqlite", tmp_path)
    server: Server = request.getfixturevalue("postgres")
    return Seen("postgres", await server.fresh(1))


def sent(subject: str) -> Entry:
    return entry(subject, 0, COMMANDS, type="charge", payload=b'{"euros":1}')


async def test_a_census(seen: Seen) -> None:
    store = seen.store()
    await open_alone(store)
    outside = b'{"cloudevent":{"id":"1"}}'
    numbers = range(1, 60)
    await store.commit(
        Commit(
            entries=[
                *(entry("c1", n, payload=b"%d" % n) for n in numbers),
                entry("c1", 60, version=2),
                message("k"),
                message("k", metadata=outside, payload=b"7"),
                sent("account/a"),
                sent("account/b"),
            ],
        )
    )
    read = [e for e in (await store.journal.read(0, 0, limit=99)).entries if e.source == COMMANDS]
    await store.commit(
        Commit(
            timers={"remind": Timer("remind", 5, sent("account/c"))},
            offsets=[Offset(COURIER, 0, 0, read[0].position), Offset("biller", 0, 0, 9)],
            letters=[letter(3, subscription="biller")],
        )
    )
    await store.close()

    kinds = {(k.source, k.version, k.is_outside): k for k in await seen.types()}
    counts = {key: (kind.count, kind.of_entity) for key, kind in kinds.items()}
    topic = message("k").source
    assert counts == {
        ("cart", 1, False): (59, True),
        ("cart", 2, False): (1, True),
        (topic, 1, False): (1, False),
        (topic, 1, True): (1, False),
    }
    first = kinds["cart", 1, False]
    sampled = {payload for _, payload in first.samples}
    assert {b"1", b"59"} <= sampled
    assert [payload for _, payload in await seen.payloads(first)] == [b"%d" % n for n in numbers]
    assert [p for _, p in await seen.payloads(kinds[topic, 1, True])] == [b"7"]

    waiting = [(where.partition(" ")[0], one.subject) for where, one in await seen.waiting()]
    assert waiting == [("sent", "account/b"), ("timer", "account/c")]
    left = {one.name: (one.position, one.letters) for one in await seen.subscribers()}
    assert left == {COURIER: (read[0].position, 0), "biller": (9, 1)}


async def test_the_newest_progress_of_each_workflow(seen: Seen) -> None:
    store = seen.store()
    await open_alone(store)
    gone = entry("gone\0", 2, "transfer", type=DELETED, payload=b"{}")
    await store.commit(
        Commit(
            entries=[
                entry("a\0", 1, "transfer", type=STEP, payload=b"1"),
                entry("a\0", 2, "transfer", type=STATE, payload=b"no"),
                entry("a\0", 3, "transfer", type=STEP, payload=b"3"),
                entry("a\0", 4, "transfer", type=STATE, payload=b"no"),
                entry("b", 1, "transfer", type=STEP, payload=b"1"),
                entry("gone\0", 1, "transfer", type=STEP, payload=b"no"),
                gone,
                entry("a\0", 1, "other", type=STEP, payload=b"no"),
            ]
        )
    )
    await store.close()
    assert await seen.progresses("transfer") == [("a\0", b"3"), ("b", b"1")]
    assert await seen.progresses("never") == []


async def test_the_rows_of_a_hidden_table(seen: Seen) -> None:
    store = seen.store()
    await open_alone(store)
    table = PhysicalTable("t_hourly@1:key", (("n", Affinity.INTEGER), ("state", Affinity.TEXT)))
    await store.views.prepare([table])
    await store.commit(Commit(rows=[Rows(table.name, [("a\0", 1, "x\0")], [])]))
    await store.close()
    assert await seen.rows(table.name) == [("a\0", 1, "x\0")]
    assert await seen.rows("t_never@1:key") == []


async def test_deltas_that_wait_and_letters(seen: Seen) -> None:
    store = seen.store()
    await open_alone(store)
    deltas = [entry(id, 0, DELTAS, type="player", payload=id.encode()) for id in ("a", "b\0", "c")]
    await store.commit(Commit(entries=deltas))
    (first, *_) = (await store.journal.read(0, 0, limit=9)).entries
    statuses = (LetterStatus.DEAD, LetterStatus.REFUSED, LetterStatus.RETRYING)
    letters = [letter(n, status=status) for n, status in enumerate(statuses, 1)]
    await store.commit(Commit(offsets=[Offset(COMPACTOR, 0, 0, first.position)], letters=letters))
    await store.close()
    found = [(delta.type, delta.subject, delta.payload) for delta in await seen.deltas()]
    assert found == [("player", "b\0", b"b\0"), ("player", "c", b"c")]
    assert [(one.status, one.entry) for one in await seen.letters()] == [
        (one.status, one.entry) for one in letters
    ]


async def test_no_store(seen: Seen, postgres: Server) -> None:
    if seen.engine == "postgres":
        await postgres.execute("DROP DATABASE IF EXISTS empty WITH (FORCE)")
        await postgres.execute("CREATE DATABASE empty")
        seen.place = postgres.dsn("empty")
    with pytest.raises(ConfigurationError, match="no store"):
        await seen.types()
