"""What an export from PostgreSQL and an import into it refuse, and what is easily lost on the way."""

from __future__ import annotations

import asyncio
import hashlib
import io

import asyncpg
import pytest

from eventmill.adapters.postgres import archive, restoring
from eventmill.adapters.postgres.leases import Leases
from eventmill.adapters.postgres.store import Store
from eventmill.errors import ConfigurationError, InvalidPayload
from eventmill.model.commit import LetterKey, Offset, Rows
from eventmill.model.placement import EVERY_SHARD
from eventmill.model.table import Affinity, PhysicalTable
from eventmill.testing.contract.harness import entry, letter, message, open_alone, put
from eventmill.testing.postgres import Server

LONG = "v_" + "ü" * 60


@pytest.fixture
async def empty(postgres: Server) -> str:
    await postgres.execute("DROP DATABASE IF EXISTS importing WITH (FORCE)")
    await postgres.execute("CREATE DATABASE importing")
    return postgres.dsn("importing")


async def exported(dsn: str) -> bytes:
    file = io.BytesIO()
    await archive.export(dsn, file, lambda done, total: None)
    return file.getvalue()


async def imported(dsn: str, text: bytes, shards: int | None = None) -> None:
    await restoring.restore(dsn, shards, io.BytesIO(text), lambda done, total: None)


async def filled(dsn: str) -> Store:
    store = Store(dsn)
    await open_alone(store)
    placement = await store.place(["orders"])
    shards = [placement.message("orders", key) for key in "ab"]
    await put(
        store,
        *(entry(f"c{n}", shard=placement.entity(f"c{n}")) for n in range(15, 24)),
        *(message(key, shard=shard) for key, shard in zip("ab", shards, strict=True)),
    )
    return store


async def test_the_number_of_shards_may_change(postgres: Server, empty: str) -> None:
    store = await filled(await postgres.fresh(4))
    table = PhysicalTable(LONG, ((LONG, Affinity.REAL), ("n", Affinity.TEXT)))
    await store.views.prepare([table])
    await put(store, rows=[Rows(LONG, [("k\0", 1.0, None)], [])])
    await store.close()
    text = await exported(store.dsn)
    await imported(empty, text, 3)

    moved = Store(empty)
    await open_alone(moved)
    assert moved.placement.shards == 3
    await moved.views.prepare([table])  # as a node does at start
    assert (await moved.views.rows(LONG, ["k\0"])).rows == [("k\0", 1.0, None)]
    assert await moved.journal.subjects("cart", limit=99) == [(f"c{n}", 1) for n in range(15, 24)]
    # A topic that comes later begins behind the positions that offsets of the file mean.
    placement = await moved.place(["orders", "news"])
    late = message("k", "news", shard=placement.message("news", "k"))
    await put(moved, late)
    assert late.position > 11
    await moved.close()
    again = await exported(empty)
    assert again.count(b'"kind":"entry"') == 12


async def test_an_import_needs_an_empty_database(postgres: Server, empty: str) -> None:
    store = await filled(await postgres.fresh(4))
    await store.close()
    text = await exported(store.dsn)
    with pytest.raises(ConfigurationError, match="a store already"):
        await imported(store.dsn, text)
    with pytest.raises(ConfigurationError, match="holds no store"):
        await exported(empty)


async def test_of_two_imports_at_once_one_is_refused(postgres: Server, empty: str) -> None:
    store = await filled(await postgres.fresh(4))
    await store.close()
    text = await exported(store.dsn)
    both = await asyncio.gather(
        imported(empty, text), imported(empty, text), return_exceptions=True
    )
    assert {type(one) for one in both} == {ConfigurationError, type(None)}


async def test_a_bad_file_leaves_nothing(postgres: Server, empty: str) -> None:
    store = await filled(await postgres.fresh(4))
    await store.close()
    text = await exported(store.dsn)
    lines = b'{"kind":"eventmill","format":1,"entries":0}\n' + (
        b'{"kind":"table","table":{"name":"registry","columns":[]}}\n'
    )
    end = b'{"kind":"end","lines":2,"digest":"%s"}\n' % hashlib.sha256(lines).hexdigest().encode()
    for bad, message_ in {
        text[: text.rindex(b'{"kind":"end"')]: "torn",
        text.replace(b'"c17"', b'"c9"', 1): "changed",
        text.replace(b'"format":1', b'"format":2'): "no export of format 1",
        lines + end: "the store's own",
    }.items():
        with pytest.raises(InvalidPayload, match=message_):
            await imported(empty, bad)
    plain = await asyncpg.connect(empty)
    assert await plain.fetchval("SELECT to_regclass('eventmill.entry')") is None
    await plain.close()
    await imported(empty, text)


async def test_a_store_is_exported_when_no_node_runs_on_it(postgres: Server) -> None:
    store = await filled(await postgres.fresh(4))
    leases = Leases(store)
    await leases.open()
    await leases.join("n1", "there", seconds=60)
    with pytest.raises(ConfigurationError, match="n1"):
        await exported(store.dsn)
    await leases.leave("n1", "there")
    assert await exported(store.dsn)
    await leases.close()
    await store.close()


async def test_readers_that_are_ahead_of_each_other_have_to_catch_up(postgres: Server) -> None:
    store = await filled(await postgres.fresh(2))
    ends = {shard: end for shard, end in (await store.journal.ends()).items() if shard < 2}
    await put(store, offsets=[Offset("a", 0, 0, ends[0]), Offset("b", 1, 0, ends[1])])
    with pytest.raises(ConfigurationError, match="a, b"):
        await exported(store.dsn)
    await put(store, offsets=[Offset("a", 1, 0, ends[1])])
    assert b'"subscription":"b"' in await exported(store.dsn)
    await store.close()


async def test_where_topics_live_in_a_broker_marks_tell_what_was_read(
    postgres: Server, empty: str
) -> None:
    store = await filled(await postgres.fresh(4))
    shards = [store.placement.message("orders", key) for key in "ab"]
    marks = [Offset("late~outbox", shards[0], 0, 1)]
    await put(
        store,
        offsets=[Offset(name, s, 0, 900) for name in ("late", "$relay") for s in shards] + marks,
        registry={"topics": b"broker"},
    )
    await store.close()
    text = await exported(store.dsn)
    offsets = [line for line in text.splitlines() if b'"kind":"offset"' in line]
    (late,) = offsets
    assert b'"subscription":"late"' in late
    await imported(empty, text)

    moved = Store(empty)
    await open_alone(moved)
    await moved.place(["orders"])
    assert "topics" not in await moved.registry()
    position = (await moved.offsets())["late", EVERY_SHARD]
    unread = {}
    for key in "ab":
        shard = moved.placement.message("orders", key)
        unread[key] = (await moved.journal.read(shard, position, limit=9)).entries
    assert (unread["a"], [e.subject for e in unread["b"]]) == ([], ["b"])
    await moved.close()


async def test_how_far_a_topic_of_another_service_was_read_stays_behind(
    postgres: Server, empty: str
) -> None:
    """Its positions and marks are the broker's."""
    store = await filled(await postgres.fresh(4))
    await store.place(["shop/orders"])
    shard = store.placement.message("shop/orders", "a")
    await put(
        store,
        offsets=[Offset("biller", shard, 0, 900), Offset("biller~outbox/17", shard, 0, 5)],
        registry={"topics": b"broker"},
    )
    await store.close()
    text = await exported(store.dsn)
    assert b"~outbox" not in text
    await imported(empty, text)
    moved = Store(empty)
    await open_alone(moved)
    assert {name for name, _ in await moved.offsets()} <= {"biller"}
    await moved.close()


async def test_letters_of_messages_in_a_broker_are_not_left_behind(postgres: Server) -> None:
    store = await filled(await postgres.fresh(4))
    shard = store.placement.message("orders", "a")
    await put(store, letters=[letter(900, shard=shard)], registry={"topics": b"broker"})
    with pytest.raises(ConfigurationError, match="1 letters"):
        await exported(store.dsn)
    await put(store, settled=[LetterKey("billing", shard, 900)])
    assert await exported(store.dsn)
    await store.close()
