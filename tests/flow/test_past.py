"""Entities as they were: also those that store whole states, for as long as they keep them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, ParamSpec, TypeVar, cast

import pytest

from eventmill import (
    Conflict,
    Context,
    Deleted,
    Effect,
    EntityDeleted,
    Event,
    KeyValueEntity,
    NotFound,
    PNCounter,
    ReplicatedEntity,
    Service,
    Topic,
    Workflow,
    command,
    component,
    consumer,
    publish,
    query,
    step,
)
from eventmill.errors import DataMisfit
from eventmill.model.commit import Commit
from eventmill.model.entry import STATE, Entry
from eventmill.model.handler import Handler
from eventmill.ports.store import Journal
from eventmill.runtime.operating.inspection import Inspection, Moment
from eventmill.runtime.turns import past
from eventmill.testing import FaultyStore, Host
from tests.flow.bank import Profile

P = ParamSpec("P")
R = TypeVar("R")

DAY = timedelta(days=1)


@component("price")
class Price(KeyValueEntity):
    keep_history = 10 * DAY

    cents: int = 0

    @command
    def set(self, cents: int) -> Effect[int]:
        return self.update(cents=cents).reply(lambda price: price.revision)

    @command
    def remove(self) -> Effect[None]:
        return self.delete()

    @query
    def read(self) -> int:
        return self.cents

    @query
    def times(self, factor: int) -> int:
        return self.cents * factor


@component("stock")
class Stock(ReplicatedEntity):
    keep_history = 10 * DAY

    pieces: PNCounter

    @command
    def add(self, pieces: int) -> Effect[None]:
        return self.update(self.pieces.increment(pieces))

    @query
    def count(self) -> int:
        return self.pieces.value


@component("errand")
class Errand(Workflow):
    done: list[str] = []

    @command
    def start(self) -> Effect[None]:
        return self.begin(Errand.shop)

    @step
    async def shop(self) -> Effect[None]:
        return self.update(done=["shop"]).go(Errand.cook)

    @step
    async def cook(self) -> Effect[None]:
        return self.update(done=[*self.done, "cook"]).end()

    @query
    def so_far(self) -> tuple[str, list[str]]:
        return self.status, self.done


class Told(Event):
    price: str
    cents: int


told = Topic("told", Told, key="price")


@consumer("teller", source=Price)
def tell(state: Price | EntityDeleted, ctx: Context) -> Effect[None]:
    cents = state.cents if isinstance(state, Price) else -1
    return publish(told, Told(price=ctx.subject, cents=cents))


service = Service("past", components=[Price, Stock, Errand, Profile, tell], topics=[told])


async def then(
    host: Host, handler: Handler[P, R], id: str, moment: int | datetime, *arguments: object
) -> R:
    """Ask an entity as it was after a sequence or at a time."""
    sequence = moment if isinstance(moment, int) else None
    time = round(moment.timestamp() * 1e6) if isinstance(moment, datetime) else None
    reply = await host.runtime.ask_past(handler, id, arguments, sequence=sequence, time=time)
    return handler.decode_reply(reply)


def now(host: Host) -> datetime:
    return datetime.fromtimestamp(host.clock.now() / 1e6, UTC)


async def sequences(host: Host, component: str, id: str) -> list[int]:
    return [e.sequence for e in await host.store.journal.history(component, id, limit=999)]


async def test_each_state_that_is_kept_can_be_asked(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        moments = [now(host)]
        for cents in range(1, 12):
            await host.advance(timedelta(hours=1))
            assert await host.call(Price.set, "p", cents) == cents
            moments.append(now(host))
        for crash in (None, False, True):
            if crash is not None:
                await host.restart(crash=crash)
            assert await host.call(Price.read, "p") == 11
            for cents, moment in enumerate(moments):
                assert await then(host, Price.read, "p", cents) == cents
                assert await then(host, Price.read, "p", moment) == cents
                assert await then(host, Price.read, "p", moment + timedelta(minutes=59)) == cents
                assert await then(host, Price.times, "p", cents, 3) == 3 * cents
        assert await then(host, Price.read, "nobody", now(host)) == 0
        with pytest.raises(NotFound, match="its last is 11") as unknown:
            await then(host, Price.read, "p", 12)
        assert unknown.value.code == "entity.no_sequence"


async def test_operators_see_and_compare_its_states(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        for cents in (5, 7, 7):
            await host.call(Price.set, "p", cents)
        looks = Inspection(host.runtime)
        assert [bytes(e.payload) for e in await looks.events("price", "p")] == [
            b'{"cents":5}',
            b'{"cents":7}',
            b'{"cents":7}',
        ]
        assert bytes((await looks.state("price", "p", sequence=1)).state) == b'{"cents":5}'
        (one,) = (await looks.difference("price", "p", Moment(sequence=1))).differences
        assert (one.path, one.before, one.after) == ("/cents", 5, 7)
        same = await looks.difference("price", "p", Moment(sequence=2), Moment(sequence=3))
        assert same.differences == []


async def test_old_states_go_and_what_is_left_is_known_without_a_gap(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        begin = now(host)
        for day in range(1, 15):
            await host.advance(begin + day * DAY - now(host))
            await host.call(Price.set, "p", day)
            if day <= 3:
                await host.call(Price.set, "q", day)
        await host.advance(begin + 15.1 * DAY - now(host))
        # What was set on day 5 is older than the cut-off, and was still so at the cut-off.
        assert await sequences(host, "price", "p") == [*range(5, 15)]
        assert await sequences(host, "price", "q") == [3], "nobody writes it any more"
        for day in range(5, 15):
            assert await then(host, Price.read, "p", begin + day * DAY + DAY / 2) == day
        assert await then(host, Price.read, "q", begin + 5 * DAY) == 3
        for moment in (4, begin + 4 * DAY, begin):
            with pytest.raises(
                Conflict, match=r"price/p is known from sequence 5 on \(\S+Z\); .* for 10 d "
            ) as gone:
                await then(host, Price.read, "p", moment)
            assert gone.value.code == "entity.not_kept"
        assert gone.value.details["sequence"] == 5
        await host.advance(30 * DAY)
        assert await sequences(host, "price", "p") == [14]
        await host.restart(crash=True)
        assert await host.call(Price.set, "p", 99) == 15
        assert await then(host, Price.read, "p", 14) == 14


async def test_without_history_only_the_latest_state_is_known(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        await host.call(Profile.rename, "p", "Ann")
        assert await then(host, Profile.show, "p", 0) == ("", [], 0), "nothing was forgotten yet"
        await host.advance(DAY)
        await host.call(Profile.rename, "p", "Bob")
        await host.advance(DAY)
        assert await then(host, Profile.show, "p", 2) == ("Bob", [], 2)
        assert await then(host, Profile.show, "p", now(host)) == ("Bob", [], 2)
        for moment in (1, 0, now(host) - DAY - timedelta(seconds=1)):
            with pytest.raises(Conflict, match="Profile keeps no older states: keep_history"):
                await then(host, Profile.show, "p", moment)


async def test_what_is_replaced_while_somebody_asks_is_refused_not_guessed(
    store: FaultyStore,
) -> None:
    async with Host(service, store=store) as host:
        await host.call(Profile.rename, "p", "Ann")
        await host.advance(DAY)
        journal = host.store.journal

        class Slow:
            """Between two reads the entity changes: what was its last state is gone."""

            def __getattr__(self, name: str) -> Any:
                return getattr(journal, name)

            async def latest(self, source: str, subject: str) -> Entry | None:
                await host.call(Profile.rename, "p", "Bob")
                found = await journal.latest(source, subject)
                await host.advance(DAY)
                await host.call(Profile.rename, "p", "Cid")
                return found

        definition, time = host.runtime.entities.definition("profile"), host.clock.now()
        with pytest.raises(Conflict, match="is known from sequence 3 on"):
            await past.restore(cast(Journal, Slow()), definition, "p", sequence=None, time=time)


async def test_what_is_removed_for_good_while_somebody_asks_is_not_guessed(
    store: FaultyStore,
) -> None:
    async with Host(service, store=store) as host:
        for cents in range(1, 9):
            await host.call(Price.set, "p", cents)
        journal = host.store.journal

        class Slow:
            """Between two reads the entity goes."""

            def __getattr__(self, name: str) -> Any:
                return getattr(journal, name)

            async def latest(self, source: str, subject: str) -> Entry | None:
                found = await journal.latest(source, subject)
                purged = Commit(purged=[(source, subject)])
                await host.runtime.committer.submit_alone(purged)
                return found

        definition, time = host.runtime.entities.definition("price"), host.clock.now()
        slow = cast(Journal, Slow())
        live = await past.restore(slow, definition, "p", sequence=None, time=time)
        assert (live.identity.sequence, live.state.cents) == (0, 0)


async def test_a_deleted_one_is_known_until_it_is_removed(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        await host.call(Price.set, "p", 5)
        await host.call(Price.remove, "p")
        assert await then(host, Price.read, "p", 1) == 5
        with pytest.raises(Deleted):
            await then(host, Price.read, "p", 2)
        await host.advance(8 * DAY)
        assert await sequences(host, "price", "p") == []
        assert await host.call(Price.set, "p", 6) == 1
        assert await then(host, Price.read, "p", 1) == 6


async def test_a_follower_that_was_away_gets_each_state_that_is_kept(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        news = host.probe(told)
        await host.operations.pause("teller")
        for cents in range(5):
            await host.call(Price.set, "p", cents)
        await host.operations.resume("teller")
        assert [one.cents for one in await news.expect_n(5, Told)] == [*range(5)]


async def test_an_old_state_that_this_code_cannot_read_stops_nobody_but_who_asks_for_it(
    store: FaultyStore,
) -> None:
    async with Host(service, store=store) as host:
        await host.call(Price.set, "p", 5)

    @component("price")
    class Newer(KeyValueEntity):
        keep_history = 10 * DAY

        cents: str = ""
        currency: str = "EUR"

        @command
        def set(self, cents: str) -> Effect[int]:
            return self.update(cents=cents).reply(lambda price: price.revision)

        @command
        def remove(self) -> Effect[None]:
            return self.delete()

        @query
        def read(self) -> tuple[str, str]:
            return self.cents, self.currency

    state = b'{"cents":"7"}'
    await store.open()
    await store.commit(
        Commit(
            entries=[
                Entry("price", "p", 2, STATE, 1, 9_000, state, shard=store.placement.entity("p"))
            ]
        )
    )
    await store.close()
    async with Host(Service("past", components=[Newer]), store=store) as host:
        assert await then(host, Newer.read, "p", 2) == ("7", "EUR"), "a field came, with a default"
        with pytest.raises(DataMisfit, match="stored state does not fit"):
            await then(host, Newer.read, "p", 1)
        assert await host.call(Newer.set, "p", "9") == 3


async def test_a_replicated_entity_is_known_by_its_stored_states(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        begin = now(host)
        for day in range(1, 15):
            await host.advance(begin + day * DAY - now(host))
            await asyncio.gather(*(host.call(Stock.add, "s", 1) for _ in range(5)))
        await host.advance(begin + 15.1 * DAY - now(host))
        kept = await sequences(host, "stock", "s")
        assert kept == [*range(kept[0], kept[-1] + 1)]
        assert kept[0] > 1
        for day in range(5, 15):
            assert await then(host, Stock.count, "s", begin + day * DAY + DAY / 2) == 5 * day
        with pytest.raises(Conflict, match="keeps older states for 10 d "):
            await then(host, Stock.count, "s", begin + 2 * DAY)
        looks = Inspection(host.runtime)
        assert bytes((await looks.state("stock", "s", sequence=kept[-1])).state) == b'{"pieces":70}'
        (one,) = (await looks.difference("stock", "s", Moment(sequence=kept[0]))).differences
        assert (one.path, one.after) == ("/pieces", 70)
        await host.restart(crash=True)
        assert await host.call(Stock.count, "s") == 70


async def test_a_workflow_keeps_all(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        await host.call(Errand.start, "e")
        await host.settle()
        assert await host.call(Errand.so_far, "e") == ("ended", ["shop", "cook"])
        seen = [
            await then(host, Errand.so_far, "e", n) for n in await sequences(host, "errand", "e")
        ]
        assert seen[0] == ("running", [])
        assert ("running", ["shop"]) in seen
        assert seen[-1] == ("ended", ["shop", "cook"])
