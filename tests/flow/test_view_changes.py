"""A changed definition of a view: what answers until it is built, and what becomes of the old one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from eventmill import View
from eventmill.errors import Conflict, StoreUnavailable, Unavailable
from eventmill.testing import FaultyStore, Host
from tests.flow.sums import (
    RenamedSums,
    Sum,
    Sums,
    SumsAndNotes,
    TenfoldSums,
    forgets,
    now,
    offsets,
    refused,
    service,
    status,
    stores_fact,
    tables,
    writes_rows,
)

LATER = timedelta(seconds=5)


async def filled(store: FaultyStore) -> None:
    """Run the first definition, then stop."""
    async with Host(service(Sums), store=store) as host:
        await host.call(Sum.add, "a", n=1)
        await host.call(Sum.add, "b", n=2)
        assert await host.query(Sums.all) == [Sums.Row("a", 1), Sums.Row("b", 2)]


async def stuck(store: FaultyStore, view: type[View]) -> Host:
    """Start a definition whose first rows the store refuses: the build waits for the clock."""
    host = Host(service(view), store=store)
    store.fail(matching=writes_rows)
    await host.start()
    await refused(store)
    return host


@asynccontextmanager
async def running(host: Host) -> AsyncIterator[Host]:
    """Stop a host that is started already."""
    try:
        yield host
    finally:
        await host.stop()


async def test_the_old_version_answers_frozen_until_the_new_one_has_caught_up(
    store: FaultyStore,
) -> None:
    await filled(store)
    async with running(await stuck(store, TenfoldSums)) as host:
        await host.call(Sum.add, "a", n=3)
        assert await now(host, TenfoldSums.from_) == [("a", 1), ("b", 2)]
        assert await now(host, TenfoldSums.from_, least=2) == [("b", 2)]
        told = status(host)
        assert (told["state"], told["live"]) == ("frozen", None)
        assert told["frozen"]["version"] == 1
        assert told["building"]["version"] == 2
        assert told["building"]["position"] < told["frozen"]["position"]
        with pytest.raises(Conflict, match="version 2, 0 %"):
            await host.operations.rebuild("sums")
        await host.advance(LATER)
        assert await now(host, TenfoldSums.from_) == [("a", 40), ("b", 20)]
        assert (status(host)["state"], status(host)["frozen"]) == ("live", None)
        assert await tables(store) == [2]
        assert await offsets(store) == ["sums@2"]


async def test_rows_that_do_not_fit_answer_nothing_and_say_how_far_the_build_is(
    store: FaultyStore,
) -> None:
    await filled(store)
    async with running(await stuck(store, RenamedSums)) as host:
        with pytest.raises(Unavailable, match=r"version 2: 0 %.*no column 'm'") as unavailable:
            await now(host, RenamedSums.all)
        assert unavailable.value.code == "view.building"
        ends = await store.journal.ends()  # those of entities: it reads no topic
        lag = sum(end for shard, end in ends.items() if shard < store.placement.shards)
        assert unavailable.value.details["lag"] == lag
        assert status(host)["state"] == "building"
        await host.advance(LATER)
        assert await now(host, RenamedSums.all) == [("a", 1), ("b", 2)]
        assert await tables(store) == [2]


@pytest.mark.parametrize("between", [TenfoldSums, RenamedSums])
async def test_a_definition_that_is_changed_back_goes_on_where_it_was(
    store: FaultyStore, between: type[TenfoldSums | RenamedSums]
) -> None:
    await filled(store)
    host = await stuck(store, between)
    await host.call(Sum.add, "a", n=3)
    await host.stop()
    async with Host(service(Sums), store=store) as host:
        assert (status(host)["state"], status(host)["live"]["version"]) == ("live", 1)
        assert await host.query(Sums.all) == [Sums.Row("a", 4), Sums.Row("b", 2)]
        assert await tables(store) == [1]
        assert await offsets(store) == ["sums@1"]
        assert await host.operations.rebuild("sums") == 3
        await host.advance(LATER)
        assert await now(host, Sums.all) == [("a", 4), ("b", 2)]


async def test_a_definition_that_is_changed_twice_builds_the_last_one(store: FaultyStore) -> None:
    await filled(store)
    for changed in (RenamedSums, TenfoldSums):
        host = await stuck(store, changed)
        await host.stop()
    async with running(await stuck(store, TenfoldSums)) as host:
        assert await now(host, TenfoldSums.from_) == [("a", 1), ("b", 2)]
        assert await tables(store) == [1, 3]
        await host.advance(LATER)
        assert await now(host, TenfoldSums.from_) == [("a", 10), ("b", 20)]
        assert await tables(store) == [3]


@pytest.mark.parametrize("changed", [TenfoldSums, RenamedSums])
async def test_a_crash_while_a_changed_view_is_built_changes_nothing(
    store: FaultyStore, changed: type[TenfoldSums | RenamedSums]
) -> None:
    await filled(store)
    host = await stuck(store, changed)
    for _ in range(3):
        await host.call(Sum.add, "a", n=1)
        store.fail(matching=writes_rows)
        await host.restart(crash=True)
        await refused(store)
    await host.advance(LATER)
    assert status(host)["state"] == "live"
    expected = [("a", 40), ("b", 20)] if changed is TenfoldSums else [("a", 4), ("b", 2)]
    ask = TenfoldSums.from_ if changed is TenfoldSums else RenamedSums.all
    assert await now(host, ask) == expected
    assert await tables(store) == [2]
    await host.stop()


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_crash_at_the_swap_leaves_one_of_two_whole_states(
    store: FaultyStore, when: str
) -> None:
    await filled(store)
    host = Host(service(TenfoldSums), store=store)
    store.fail(2, when=when, matching=stores_fact)  # type: ignore[arg-type]  # first: the build
    await host.start()
    while not store.injected:
        await host.advance(timedelta(milliseconds=60))
    await host.restart(crash=True)
    if when == "after":
        assert status(host)["state"] == "live"
    await host.advance(LATER)
    assert await now(host, TenfoldSums.from_) == [("a", 10), ("b", 20)]
    assert await tables(store) == [2]
    assert await offsets(store) == ["sums@2"]
    await host.stop()


async def test_a_crash_after_the_swap_leaves_the_frozen_tables_to_the_next_start(
    store: FaultyStore,
) -> None:
    await filled(store)
    host = Host(service(TenfoldSums), store=store)
    store.fail(matching=forgets)
    await host.start()  # on a slow machine the rows come, and the swap, before it returns
    async with asyncio.timeout(30):
        while store.to_come:
            await host.advance(timedelta(milliseconds=200))
    await host.restart(crash=True)
    assert await now(host, TenfoldSums.from_) == [("a", 10), ("b", 20)]
    assert await tables(store) == [2]
    assert await offsets(store) == ["sums@2"]
    await host.stop()


async def test_a_start_whose_first_fact_is_not_stored_can_be_repeated(store: FaultyStore) -> None:
    await filled(store)
    store.fail(matching=stores_fact)
    with pytest.raises(StoreUnavailable):
        await Host(service(TenfoldSums), store=store).start()
    async with Host(service(TenfoldSums), store=store) as host:
        await host.advance(LATER)
        assert await now(host, TenfoldSums.from_) == [("a", 10), ("b", 20)]
        assert await tables(store) == [2]


async def test_a_view_that_was_away_goes_on_where_it_was(store: FaultyStore) -> None:
    await filled(store)
    async with Host(service(None), store=store) as host:
        await host.call(Sum.add, "a", n=3)
        await host.call(Sum.close, "b")
    async with Host(service(Sums), store=store) as host:
        assert status(host)["live"]["version"] == 1
        assert await host.query(Sums.all) == [Sums.Row("a", 4)]


async def test_a_changed_view_with_several_sources_and_tables(store: FaultyStore) -> None:
    await filled(store)
    async with Host(service(SumsAndNotes), store=store) as host:
        await host.call(Sum.add, "a", n=3)
        await host.advance(LATER)
        rows = await host.query(SumsAndNotes.both)
        assert rows == [{"n": 4, "text": "+3"}, {"n": 2, "text": "+2"}]
        await host.operations.rebuild("sums")
        await host.call(Sum.close, "b")
        await host.advance(LATER)
        assert await host.query(SumsAndNotes.both) == [{"n": 4, "text": "+3"}]
        assert await tables(store) == [3]


async def test_a_frozen_version_keeps_its_place_among_letters(store: FaultyStore) -> None:
    """What was parked for a version is there again when its definition comes back."""
    async with Host(service(TenfoldSums), store=store) as host:
        await host.call(Sum.add, "a", n=-1)
        await host.settle(retries=True)
        await host.call(Sum.add, "a", n=2)
        await host.settle()
    host = await stuck(store, Sums)
    await host.stop()
    async with Host(service(TenfoldSums), store=store) as host:
        letters = await host.letters("sums@1")
        assert [letter.status for letter in letters] == ["dead", "waiting"]
        assert await host.operations.discard("sums@1", "sum/a") == 1
        await host.advance(LATER)
        assert await now(host, TenfoldSums.from_) == [("a", 20)]


async def test_whoever_watches_sees_the_swap_as_a_change(store: FaultyStore) -> None:
    await filled(store)
    async with running(await stuck(store, TenfoldSums)) as host:
        watching = host.runtime.watch_view("sums", "from_", {})
        assert await anext(watching) == [b'{"id":"a","n":1}', b'{"id":"b","n":2}']
        later = asyncio.create_task(anext(watching))  # type: ignore[arg-type]
        await host.advance(LATER)
        assert await later == [b'{"id":"a","n":10}', b'{"id":"b","n":20}']
