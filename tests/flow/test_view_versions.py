"""Rebuilds of a view: the version that answers does so until the next one takes over, whatever fails."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from eventmill.errors import Conflict, StoreUnavailable
from eventmill.ports.store import Store, ViewTables
from eventmill.testing import FaultyStore, Host
from tests.flow.sums import (
    Sum,
    Sums,
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


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_failed_clean_up_is_repeated_and_spares_the_live_version(
    store: FaultyStore, when: Any
) -> None:
    async with Host(service(Sums), store=store) as host:
        await host.call(Sum.add, "a", n=1)
        await host.settle()
        store.fail(when=when, matching=forgets)
        assert await host.operations.rebuild("sums") == 2
        await host.advance(timedelta(seconds=5))
        assert store.injected == 1
        await host.call(Sum.add, "a", n=2)
        assert await host.query(Sums.all) == [Sums.Row(id="a", n=3)]
        assert await tables(store) == [2]
        assert await offsets(store) == ["sums@2"]


async def test_what_a_crash_left_of_an_old_version_goes_at_start(store: FaultyStore) -> None:
    host = Host(service(Sums), store=store)
    await host.start()
    await host.call(Sum.add, "a", n=1)
    await host.settle()
    store.fail(matching=forgets)
    await host.operations.rebuild("sums")
    await host.advance(timedelta(milliseconds=200))
    await refused(store)
    assert await offsets(store) == ["sums@1", "sums@2"]
    await host.restart(crash=True)
    assert await host.query(Sums.all) == [Sums.Row(id="a", n=1)]
    assert await tables(store) == [2]
    assert await offsets(store) == ["sums@2"]
    await host.stop()


async def test_one_of_two_rebuilds_at_once_is_refused(store: FaultyStore) -> None:
    async with Host(service(Sums), store=store) as host:
        await host.call(Sum.add, "a", n=1)
        await host.settle()
        answers = await asyncio.gather(
            host.operations.rebuild("sums"),
            host.operations.rebuild("sums"),
            return_exceptions=True,
        )
        assert answers[0] == 2
        assert isinstance(answers[1], Conflict)
        await host.advance(timedelta(seconds=3))
        assert await host.query(Sums.all) == [Sums.Row(id="a", n=1)]
        assert await offsets(store) == ["sums@2"]


async def test_a_rebuild_that_could_not_be_stored_can_be_asked_for_again(
    store: FaultyStore,
) -> None:
    async with Host(service(Sums), store=store) as host:
        await host.call(Sum.add, "a", n=1)
        await host.settle()
        store.fail(matching=stores_fact)
        with pytest.raises(StoreUnavailable):
            await host.operations.rebuild("sums")
        assert await host.operations.rebuild("sums") == 2
        await host.advance(timedelta(seconds=3))
        assert await host.query(Sums.all) == [Sums.Row(id="a", n=1)]
        assert await tables(store) == [2]


async def test_a_paused_view_is_rebuilt_and_follows_again(store: FaultyStore) -> None:
    async with Host(service(Sums), store=store) as host:
        await host.call(Sum.add, "a", n=1)
        await host.settle()
        await host.operations.pause("sums@1")
        await host.call(Sum.add, "a", n=2)
        assert await host.query(Sums.all) == [Sums.Row("a", 1)]
        await host.operations.rebuild("sums")
        await host.advance(LATER)
        assert await host.query(Sums.all) == [Sums.Row("a", 3)]
        assert [name for name in await store.registry() if "sums@" in name] == []


async def test_a_build_that_is_paused_replaces_nothing_until_it_is_resumed(
    store: FaultyStore,
) -> None:
    async with Host(service(Sums), store=store) as host:
        await host.call(Sum.add, "a", n=1)
        await host.settle()
        store.fail(matching=writes_rows)
        await host.operations.rebuild("sums")
        await refused(store)
        await host.operations.pause("sums@2")
        await host.advance(LATER)
        await host.restart()
        assert status(host)["state"] == "replacing"
        await host.call(Sum.add, "a", n=1)
        await host.settle()
        assert await now(host, Sums.all) == [("a", 2)]
        await host.operations.resume("sums@2")
        await host.advance(LATER)
        assert status(host)["live"]["version"] == 2
        assert await now(host, Sums.all) == [("a", 2)]


async def test_poison_blocks_its_key_in_the_new_version_alone(store: FaultyStore) -> None:
    async with Host(service(TenfoldSums), store=store) as host:
        for id, n in (("a", 1), ("b", -1), ("b", 1), ("c", 1)):
            await host.call(Sum.add, id, n=n)
        await host.settle(retries=True)
        await host.operations.rebuild("sums")
        await host.advance(LATER)
        assert status(host)["live"]["version"] == 2
        assert await now(host, TenfoldSums.from_) == [("a", 10), ("c", 10)]
        letters = await host.letters()
        assert {letter.subscription for letter in letters} == {"sums@2"}
        assert [letter.key for letter in letters] == ["sum/b", "sum/b"]


async def test_an_entity_that_is_deleted_while_a_view_is_built_leaves_no_row(
    store: FaultyStore,
) -> None:
    async with Host(service(Sums), store=store) as host:
        await host.call(Sum.add, "a", n=1)
        await host.call(Sum.add, "b", n=1)
        await host.call(Sum.add, "c", n=1)
        await host.call(Sum.close, "b")
        await host.settle()
        store.fail(2, matching=writes_rows)  # the old version's, then the new one's
        await host.operations.rebuild("sums")
        await host.call(Sum.close, "a")
        await host.advance(LATER)
        assert status(host)["live"]["version"] == 2
        assert await now(host, Sums.all) == [("c", 1)]


async def test_a_build_that_always_has_something_to_go_takes_over(store: FaultyStore) -> None:
    async with Host(service(Sums), store=store) as host:
        await host.call(Sum.add, "a", n=1)
        await host.settle()
        await host.operations.rebuild("sums")
        (view,) = [s for name, s in host.runtime.subscriptions.items() if name == "sums@2"]
        for _ in range(10):
            for _ in range(10):
                await host.call(Sum.add, "a", n=1)
            assert view.lag > 0
            host.clock.move_to(host.clock.now() + 50_000)
        assert status(host)["live"]["version"] == 2
        assert await host.query(Sums.all) == [Sums.Row("a", 101)]


class HeldTables:
    """View tables that keep queries waiting."""

    def __init__(self, inner: ViewTables, gate: asyncio.Event) -> None:
        self._inner = inner
        self._gate = gate
        self.held = 0
        self.prepare, self.drop, self.rows = inner.prepare, inner.drop, inner.rows
        self.dialect = inner.dialect

    async def query(self, sql: str, parameters: dict[str, Any], *, seconds: float) -> bytes:
        self.held += 1
        await self._gate.wait()
        return await self._inner.query(sql, parameters, seconds=seconds)


class HeldStore(FaultyStore):
    """A store whose view queries wait as long as the gate is closed."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.gate = asyncio.Event()
        self.gate.set()
        self.held = HeldTables(inner.views, self.gate)

    @property
    def views(self) -> ViewTables:
        return self.held


async def test_a_query_whose_tables_go_asks_the_next_version(store: FaultyStore) -> None:
    held = HeldStore(store.inner)
    async with Host(service(Sums), store=held) as host:
        await host.call(Sum.add, "a", n=1)
        await host.settle()
        await host.operations.rebuild("sums")
        held.gate.clear()
        before = held.held.held
        answer = asyncio.create_task(now(host, Sums.all))
        while held.held.held == before:  # noqa: ASYNC110 - a counter, not an event
            await asyncio.sleep(0)
        await host.advance(LATER)
        assert status(host)["live"]["version"] == 2
        held.gate.set()
        assert await answer == [("a", 1)]
