"""Key-value entities: the state is the latest change, and changes feed whoever follows."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from eventmill import (
    Context,
    Deleted,
    Effect,
    EntityDeleted,
    Event,
    Service,
    Topic,
    consumer,
    publish,
)
from eventmill.errors import HandlerFailed, StoreUnavailable
from eventmill.testing import FaultyStore, Host
from tests.flow.bank import Profile


class Seen(Event):
    id: str
    name: str
    sequence: int


seen = Topic("seen", Seen, key="id")


@consumer("watcher", source=Profile)
async def watcher(state: Profile | EntityDeleted, ctx: Context) -> Effect[None]:
    name = state.name if isinstance(state, Profile) else "(deleted)"
    return publish(seen, Seen(id=ctx.subject, name=name, sequence=ctx.sequence))


service = Service("people", components=[Profile, watcher], topics=[seen])


async def test_an_update_replaces_the_named_fields_only(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        assert await host.call(Profile.show, "p") == ("", [], 0)
        assert await host.call(Profile.rename, "p", "Ann") == 1
        assert await host.call(Profile.tag, "p", "x") == ["x"]
        for crash in (None, False, True):
            if crash is not None:
                await host.restart(crash=crash)
            assert await host.call(Profile.show, "p") == ("Ann", ["x"], 2)


async def test_only_the_latest_change_is_stored(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        await asyncio.gather(*(host.call(Profile.tag, "p", f"{n}") for n in range(20)))
        (entry,) = await store.journal.history("profile", "p", limit=99)
        assert entry.sequence == 20
        assert (await host.call(Profile.show, "p"))[1] == [f"{n}" for n in range(20)]


async def test_a_failed_update_leaves_the_state(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        await host.call(Profile.rename, "p", "Ann")
        store.fail(matching=lambda commit: bool(commit.entries))
        with pytest.raises(StoreUnavailable):
            await host.call(Profile.rename, "p", "Bob")
        assert await host.call(Profile.show, "p") == ("Ann", [], 1)


async def test_an_unknown_field_or_a_wrong_value_is_refused(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        with pytest.raises(HandlerFailed, match=r"Profile\.misspell .*nmae"):
            await host.call(Profile.misspell, "p")
        with pytest.raises(HandlerFailed, match=r"Profile\.number"):
            await host.call(Profile.number, "p")
        assert await host.call(Profile.show, "p") == ("", [], 0)


async def test_a_deleted_one_is_refused_then_purged_then_new(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        await host.call(Profile.rename, "p", "Ann")
        await host.call(Profile.remove, "p")
        for crash in (None, False, True):
            if crash is not None:
                await host.restart(crash=crash)
            with pytest.raises(Deleted):
                await host.call(Profile.show, "p")
        await host.advance(timedelta(days=8))
        assert await host.call(Profile.show, "p") == ("", [], 0)
        assert await host.call(Profile.rename, "p", "Bob") == 1


async def test_changes_reach_followers_in_order(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        changes = host.probe(seen)
        await host.call(Profile.rename, "p", "Ann")
        assert await changes.expect_one(Seen) == Seen(id="p", name="Ann", sequence=1)
        await host.call(Profile.rename, "p", "Bob")
        await host.call(Profile.remove, "p")
        assert [s.name for s in await changes.expect_n(2, Seen)] == ["Bob", "(deleted)"]


async def test_a_state_that_is_followed_knows_whose_it_is(store: FaultyStore) -> None:
    @consumer("registrar", source=Profile)
    def register(state: Profile, ctx: Context) -> Effect[None]:
        about = f"{state.name} at {state.now.isoformat()}"
        return publish(seen, Seen(id=state.entity_id, name=about, sequence=state.revision))

    registry = Service("people", components=[Profile, register], topics=[seen])
    async with Host(registry, store=store) as host:
        changes = host.probe(seen)
        await host.call(Profile.rename, "p", "Ann")
        await host.call(Profile.rename, "p", "Bob")
        last = (await changes.expect_n(2, Seen))[-1]
        assert (last.id, last.sequence) == ("p", 2)
        (entry,) = await store.journal.history("profile", "p", limit=9)
        assert last.name == f"Bob at {datetime.fromtimestamp(entry.time / 1e6, UTC).isoformat()}"


async def test_a_follower_that_was_away_gets_at_least_the_latest_state(
    store: FaultyStore,
) -> None:
    async with Host(service, store=store) as host:
        changes = host.probe(seen)
        await host.operations.pause("watcher")
        for n in range(5):
            await host.call(Profile.rename, "p", f"{n}")
            await host.call(Profile.rename, "q", f"{n}")
        await host.restart()
        await changes.expect_none()
        await host.operations.resume("watcher")
        latest = await changes.expect_n(2, Seen)
        assert sorted((s.id, s.name) for s in latest) == [("p", "4"), ("q", "4")]
