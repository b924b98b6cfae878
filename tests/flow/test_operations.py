"""What an operator does: letters in order per key, resets, the past of an entity."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from eventmill import (
    Effect,
    Event,
    EventSourcedEntity,
    Rejected,
    Retry,
    Service,
    Topic,
    command,
    component,
    consumer,
    on,
    send,
)
from eventmill.adapters.memory.store import Store as MemoryStore
from eventmill.errors import Conflict, InvalidPayload, NotFound, StoreUnavailable
from eventmill.model.commit import Commit, Letter, LetterStatus
from eventmill.ports.store import Parking
from eventmill.runtime.control.acts import letter_id
from eventmill.runtime.dispatch.reaction import key_of
from eventmill.runtime.operating.inspection import Inspection
from eventmill.testing import FaultyStore, Host
from tests.flow.brokers import need_time_in_hand


class Sold(Event):
    shop: str
    number: int


class Opened(Event):
    pass


sales = Topic("sales", Sold, key="shop")


@component("till")
class Till(EventSourcedEntity):
    is_open: bool = False
    total: int = 0

    @command
    def open(self) -> Effect[None]:
        return self.persist(Opened())

    @command
    def take(self, shop: str, number: int) -> Effect[None]:
        if not self.is_open:
            raise Rejected("the till is closed")
        return self.persist(Sold(shop=shop, number=number))

    @on(Opened)
    def opened(self, event: Opened) -> None:
        self.is_open = True

    @on(Sold)
    def sold(self, event: Sold) -> None:
        self.total += event.number


class World:
    """A service whose bookkeeper cannot book the numbers in `poison`."""

    def __init__(self, store: FaultyStore, attempts: int = 1) -> None:
        self.booked: list[tuple[str, int]] = []
        self.poison: set[int] = set()

        @consumer("bookkeeper", source=sales, retry=Retry(attempts=attempts))
        def book(event: Sold) -> None:
            if event.number in self.poison:
                raise ValueError(f"{event.number} cannot be booked")
            self.booked.append((event.shop, event.number))

        @consumer("cashier", source=sales)
        def cash(event: Sold) -> Effect[None]:
            return send(Till.take, "main", event.shop, event.number)

        service = Service("shops", components=[Till, book, cash], topics=[sales])
        self.host = Host(service, store=store)

    async def sell(self, shop: str, *numbers: int) -> None:
        await self.host.publish(sales, *[Sold(shop=shop, number=n) for n in numbers])
        await self.host.settle()

    async def parked(self) -> list[tuple[str, int, str]]:
        letters = await self.host.letters("bookkeeper")
        kind = sales.event_types()[0]
        return [
            (x.entry.subject, kind.decode(x.entry.payload, 1).number, x.status.value)
            for x in letters
        ]


class Held:
    """Letters whose next read of an empty queue waits, after it has read, for the test."""

    def __init__(self, inner: Parking) -> None:
        self.inner = inner
        self.read, self.may_return = asyncio.Event(), asyncio.Event()

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    async def queue(self, subscription: str, shard: int, key: str, *, limit: int) -> list[Letter]:
        queue = await self.inner.queue(subscription, shard, key, limit=limit)
        if not queue and not self.read.is_set():
            self.read.set()
            await self.may_return.wait()
        return queue


async def test_what_is_parked_while_the_last_letter_goes_is_not_forgotten() -> None:
    inner = MemoryStore()
    held = inner.parking = Held(inner.parking)  # type: ignore[assignment]
    world = World(FaultyStore(inner))
    async with world.host as host:
        world.poison = {1}
        await world.sell("a", 1)
        world.poison.clear()
        await host.operations.redrive("bookkeeper", "sales/a")
        await held.read.wait()
        handled = host.runtime.subscription("bookkeeper").handled
        await host.publish(sales, Sold(shop="a", number=2))
        async with asyncio.timeout(10):
            while host.runtime.subscription("bookkeeper").handled == handled:  # noqa: ASYNC110
                await asyncio.sleep(0)
        held.may_return.set()
        await host.settle(retries=True)
        assert world.booked == [("a", 1), ("a", 2)]
        assert await world.parked() == []


async def test_a_redrive_replays_a_key_in_order(store: FaultyStore) -> None:
    world = World(store)
    async with world.host as host:
        world.poison = {2}
        await world.sell("a", 1, 2, 3, 4)
        await world.sell("b", 5)
        assert world.booked == [("a", 1), ("b", 5)]
        assert await world.parked() == [("a", 2, "dead"), ("a", 3, "waiting"), ("a", 4, "waiting")]

        assert await host.operations.redrive("bookkeeper") == 1
        assert await world.parked() == [("a", 2, "dead"), ("a", 3, "waiting"), ("a", 4, "waiting")]

        world.poison.clear()
        assert await host.operations.redrive("bookkeeper", "sales/a") == 1
        await world.sell("a", 6)
        assert world.booked == [("a", 1), ("b", 5), ("a", 2), ("a", 3), ("a", 4), ("a", 6)]
        assert await world.parked() == []


async def test_a_redriven_letter_has_fresh_attempts(store: FaultyStore) -> None:
    world = World(store, attempts=3)
    async with world.host as host:
        world.poison = {1}
        await world.sell("a", 1)
        await host.settle(retries=True)
        (letter,) = await host.letters("bookkeeper")
        assert (letter.status, letter.attempts) == (LetterStatus.DEAD, 3)

        await host.operations.redrive("bookkeeper", letter=letter_id(letter))
        await host.settle()
        (letter,) = await host.letters("bookkeeper")
        assert (letter.status, letter.attempts) == (LetterStatus.RETRYING, 1)


async def test_a_discard_lets_the_next_proceed(store: FaultyStore) -> None:
    world = World(store)
    async with world.host as host:
        world.poison = {2, 3}
        await world.sell("a", 1, 2, 3, 4)
        await world.sell("b", 3)
        assert await host.operations.discard("bookkeeper") == 2
        assert await world.parked() == [("a", 3, "dead"), ("a", 4, "waiting")]
        assert await host.operations.discard("bookkeeper", "sales/a") == 1
        assert await world.parked() == []
        assert world.booked == [("a", 1), ("a", 4)]


async def test_one_letter_is_discarded_from_the_middle(store: FaultyStore) -> None:
    world = World(store)
    async with world.host as host:
        world.poison = {1}
        await world.sell("a", 1, 2, 3)
        _, second, third = await host.letters("bookkeeper")
        assert await host.operations.discard("bookkeeper", letter=letter_id(second)) == 1
        with pytest.raises(Conflict, match="waits behind another"):
            await host.operations.redrive("bookkeeper", letter=letter_id(third))

        world.poison.clear()
        await host.operations.redrive("bookkeeper")
        await host.settle()
        assert world.booked == [("a", 1), ("a", 3)]


async def test_letters_survive_a_restart_in_between(store: FaultyStore) -> None:
    world = World(store)
    async with world.host as host:
        world.poison = {1}
        await world.sell("a", 1, 2)
        await host.operations.pause("bookkeeper")
        await host.operations.redrive("bookkeeper")
        await host.restart(crash=True)
        world.poison.clear()
        await host.operations.resume("bookkeeper")
        await host.settle()
        assert world.booked == [("a", 1), ("a", 2)]


async def test_refused_commands_are_sent_anew_after_what_came_since(store: FaultyStore) -> None:
    world = World(store)
    async with world.host as host:
        await world.sell("a", 1)
        await host.call(Till.open, "main")
        await world.sell("a", 2)
        (refused,) = await host.letters("$courier")
        assert refused.status is LetterStatus.REFUSED
        assert key_of(refused.entry) == "$commands/till/main"

        assert await host.operations.redrive("$courier") == 0
        assert await host.operations.redrive("$courier", refused=True) == 1
        await host.settle()
        assert await host.letters("$courier") == []
        events = await Inspection(host.runtime).events("till", "main")
        assert [e.payload for e in events[1:]] == [
            b'{"shop":"a","number":2}',
            b'{"shop":"a","number":1}',
        ]


async def test_refused_commands_are_discarded(store: FaultyStore) -> None:
    world = World(store)
    async with world.host as host:
        await world.sell("a", 1, 2)
        first, _ = await host.letters("$courier")
        assert await host.operations.discard("$courier", letter=letter_id(first)) == 1
        assert await host.operations.discard("$courier", refused=True) == 1
        assert await host.letters("$courier") == []


async def test_a_reset_keeps_letters_that_are_not_read_again(store: FaultyStore) -> None:
    world = World(store)
    async with world.host as host:
        world.poison = {1, 2}
        await world.sell("a", 1)
        await host.advance(timedelta(hours=1))
        after_first = host.clock.time
        await world.sell("b", 2)
        await world.sell("c", 3)
        status = await host.operations.reset("bookkeeper", "latest")
        assert status.position == status.end
        assert await world.parked() == [("a", 1, "dead"), ("b", 2, "dead")]

        world.poison = {1}
        await host.operations.reset("bookkeeper", after_first)
        await host.settle()
        assert await world.parked() == [("a", 1, "dead")]
        assert sorted(world.booked) == [("b", 2), ("c", 3), ("c", 3)]

        world.poison.clear()
        await host.operations.reset("bookkeeper", "beginning")
        await host.settle()
        assert await world.parked() == []
        assert sorted(world.booked[3:]) == [("a", 1), ("b", 2), ("c", 3)]


async def test_a_reset_to_a_time(store: FaultyStore) -> None:
    need_time_in_hand(store)
    world = World(store)
    async with world.host as host:
        await world.sell("a", 1)
        await host.advance(timedelta(hours=1))
        noon = host.clock.time
        await world.sell("a", 2)
        await host.operations.reset("bookkeeper", noon)
        await host.settle()
        assert world.booked == [("a", 1), ("a", 2), ("a", 2)]


async def test_a_reset_to_a_position_needs_a_store_of_one_shard(store: FaultyStore) -> None:
    world = World(store)
    async with world.host as host:
        await world.sell("a", 1, 2)
        if store.placement.shards > 1:
            with pytest.raises(InvalidPayload, match="reset it to a time instead"):
                await host.operations.reset("bookkeeper", 1)
            return
        await host.operations.reset("bookkeeper", 1)
        await host.settle()
        assert world.booked == [("a", 1), ("a", 2), ("a", 2)]
        with pytest.raises(InvalidPayload, match="outside the journal"):
            await host.operations.reset("bookkeeper", 999)


class Counting(FaultyStore):
    """A store that counts how many commits are under way at once."""

    now = most = 0

    async def commit(self, commit: Commit) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await super().commit(commit)
        finally:
            self.now -= 1


async def test_a_fact_is_committed_in_turn_and_its_refusal_fails_nobody_else(
    store: FaultyStore,
) -> None:
    counting = Counting(store.inner)
    async with World(counting).host as host:
        counting.fail(matching=pauses, error=Conflict("somebody else was faster"))
        first, paused, second = await asyncio.gather(
            host.call(Till.open, "a"),
            host.operations.pause("bookkeeper"),
            host.call(Till.open, "b"),
            return_exceptions=True,
        )
        assert (first, second) == (None, None)
        assert isinstance(paused, Conflict)
        counting.fail(matching=lambda commit: bool(commit.entries))
        opening = asyncio.create_task(host.call(Till.open, "c"))
        while not counting.now:  # noqa: ASYNC110 - a counter, not an event
            await asyncio.sleep(0)
        await host.operations.pause("bookkeeper")
        with pytest.raises(StoreUnavailable):
            await opening
        assert host.runtime.subscription("bookkeeper").paused
        assert counting.most == 1


async def test_a_pause_whose_caller_gives_up_is_heeded() -> None:
    store = FaultyStore(MemoryStore())
    async with World(store).host as host:
        before = store.commits
        pausing = asyncio.create_task(host.operations.pause("bookkeeper"))
        while store.commits == before:  # noqa: ASYNC110 - a counter, not an event
            await asyncio.sleep(0)
        pausing.cancel()
        await host.settle()
        assert host.runtime.subscription("bookkeeper").paused


def pauses(commit: Commit) -> bool:
    return "paused/bookkeeper" in commit.registry


async def test_what_cannot_be(store: FaultyStore) -> None:
    world = World(store)
    async with world.host as host:
        world.poison = {1}
        await world.sell("a", 1)
        (letter,) = await host.letters("bookkeeper")
        operations = host.operations
        with pytest.raises(NotFound, match="does not belong"):
            await operations.redrive("cashier", letter=letter_id(letter))
        with pytest.raises(NotFound, match="no letter"):
            await operations.discard("bookkeeper", letter="bookkeeper:0:999")
        with pytest.raises(NotFound, match="no subscription"):
            await operations.redrive("nobody")
        with pytest.raises(Conflict, match="built in"):
            await operations.reset("$courier", "latest")
        assert await operations.discard("nobody") == 0
