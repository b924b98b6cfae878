# mypy: disable-error-code="empty-body"
"""Versions of a view: whatever fails between them, the live one stays and the others go."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from eventmill import (
    Context,
    Effect,
    Event,
    EventSourcedEntity,
    Record,
    Service,
    View,
    command,
    component,
    on,
    query,
)
from eventmill.errors import Conflict, StoreUnavailable
from eventmill.model.commit import Commit
from eventmill.testing import FaultyStore, Host


class Added(Event):
    n: int


@component("sum")
class Sum(EventSourcedEntity):
    total: int = 0

    @command
    def add(self, n: int) -> Effect[None]:
        return self.persist(Added(n=n))

    @on(Added)
    def added(self, event: Added) -> None:
        self.total += event.n


@component("sums")
class Sums(View):
    class Row(Record):
        id: str
        n: int = 0

    @on(Sum)
    def change(self, event: Added, row: Row | None, context: Context) -> Row | None:
        return Sums.Row(id=context.subject, n=(row.n if row else 0) + event.n)

    @query("SELECT * FROM sums ORDER BY id")
    def all(self) -> list[Row]: ...


@component("sums")
class ChangedSums(View):
    class Row(Record):
        id: str
        m: int = 0

    @on(Sum)
    def change(self, event: Added, row: Row | None, context: Context) -> Row | None:
        return ChangedSums.Row(id=context.subject, m=(row.m if row else 0) + event.n)

    @query("SELECT * FROM sums ORDER BY id")
    def all(self) -> list[Row]: ...


service = Service("sums", components=[Sum, Sums])
changed_service = Service("sums", components=[Sum, ChangedSums])


def forgets(commit: Commit) -> bool:
    return bool(commit.forgotten)


def stores_fact(commit: Commit) -> bool:
    return "view/sums" in commit.registry


async def fact(store: FaultyStore) -> dict[str, Any]:
    stored = (await store.registry())["view/sums"]
    return msgspec.json.decode(stored)  # type: ignore[no-any-return]


async def versions(store: FaultyStore) -> list[str]:
    return sorted(name for name, _ in await store.offsets() if name.startswith("sums@"))


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_failed_clean_up_is_repeated_and_spares_the_live_version(
    store: FaultyStore, when: Any
) -> None:
    async with Host(service, store=store) as host:
        await host.call(Sum.add, "a", n=1)
        await host.settle()
        store.fail(when=when, matching=forgets)
        assert await host.operations.rebuild("sums") == 2
        await host.advance(timedelta(seconds=5))
        assert store.injected == 1
        await host.call(Sum.add, "a", n=2)
        assert await host.query(Sums.all) == [Sums.Row(id="a", n=3)]
        assert list((await fact(store))["tables"]) == ["2"]
        assert await versions(store) == ["sums@2"]


async def test_what_a_crash_left_of_an_old_version_goes_at_start(store: FaultyStore) -> None:
    host = Host(service, store=store)
    await host.start()
    await host.call(Sum.add, "a", n=1)
    await host.settle()
    store.fail(matching=forgets)
    await host.operations.rebuild("sums")
    await host.advance(timedelta(milliseconds=200))
    assert sorted((await fact(store))["tables"]) == ["1", "2"]
    await host.restart(crash=True)
    assert await host.query(Sums.all) == [Sums.Row(id="a", n=1)]
    assert list((await fact(store))["tables"]) == ["2"]
    assert await versions(store) == ["sums@2"]
    await host.stop()


async def test_one_of_two_rebuilds_at_once_is_refused(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
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
        assert await versions(store) == ["sums@2"]


async def test_a_rebuild_that_could_not_be_stored_can_be_asked_for_again(
    store: FaultyStore,
) -> None:
    async with Host(service, store=store) as host:
        await host.call(Sum.add, "a", n=1)
        await host.settle()
        store.fail(matching=stores_fact)
        with pytest.raises(StoreUnavailable):
            await host.operations.rebuild("sums")
        assert await host.operations.rebuild("sums") == 3
        await host.advance(timedelta(seconds=3))
        assert await host.query(Sums.all) == [Sums.Row(id="a", n=1)]
        assert list((await fact(store))["tables"]) == ["3"]


@pytest.mark.parametrize("matching", [forgets, stores_fact])
async def test_a_changed_view_whose_start_was_cut_short_can_be_changed_back(
    store: FaultyStore, matching: Any
) -> None:
    async with Host(service, store=store) as host:
        await host.call(Sum.add, "a", n=1)
        await host.settle()
    store.fail(matching=matching)
    try:
        async with Host(changed_service, store=store):
            pass
    except StoreUnavailable:
        assert matching is stores_fact
    assert store.injected == 1
    async with Host(service, store=store) as host:
        await host.advance(timedelta(seconds=3))
        assert await host.query(Sums.all) == [Sums.Row(id="a", n=1)]
        live = (await fact(store))["live"]
        assert list((await fact(store))["tables"]) == [str(live)]
