# mypy: disable-error-code="empty-body"
"""Several services in one process: found by name, topics and streams read out of each other's
stores, exactly once in effect, whoever dies when."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from eventmill import (
    ConfigurationError,
    Context,
    Effect,
    Event,
    EventSourcedEntity,
    Record,
    Rejected,
    Retry,
    Service,
    ServiceStream,
    Topic,
    View,
    command,
    component,
    consumer,
    on,
    query,
    send,
    stream,
)
from eventmill.adapters.memory.store import Store as MemoryStore
from eventmill.adapters.sqlite.store import Store as SqliteStore
from eventmill.errors import Conflict, Unavailable
from eventmill.model.commit import LetterStatus
from eventmill.node.config import NodeConfig
from eventmill.node.process import Process
from eventmill.runtime.operating.inspection import Inspection
from eventmill.testing import FaultyStore, Host


class Placed(Event):
    order: str
    sku: str
    quantity: int


class Reserved(Event):
    """Private: the inventory's own business."""

    order: str
    quantity: int


class Restocked(Event):
    quantity: int


class Counted(Event):
    """Private, and nobody's business."""


class StockChanged(Event):
    """Public."""

    left: int
    delta: int


class Billed(Event):
    order: str


orders = Topic("orders", Placed, key="order")


@component("order")
class Order(EventSourcedEntity):
    billed: int = 0

    @command
    def bill(self) -> Effect[None]:
        return self.persist(Billed(order=self.entity_id))

    @query
    def times_billed(self) -> int:
        return self.billed

    @on(Billed)
    def was_billed(self, event: Billed) -> None:
        self.billed += 1


@component("stock-seen")
class StockSeen(View):
    """The other service's public events, in this one's rows."""

    class Row(Record):
        sku: str
        changes: int = 0
        sum: int = 0

    @on(ServiceStream("inventory", "stock-changes"))
    def changed(self, event: StockChanged, row: Row | None, ctx: Context) -> Row:
        row = row or self.Row(ctx.subject)
        row.changes += 1
        row.sum += event.delta
        return row

    @query("SELECT * FROM stock_seen ORDER BY sku")
    def all(self) -> list[Row]: ...


seen: list[Context] = []


@consumer("stock-watcher", source=ServiceStream("inventory", "stock-changes"))
def watch(event: StockChanged, ctx: Context) -> None:
    seen.append(ctx)


shop = Service("shop", components=[Order, StockSeen, watch], topics=[orders])


@component("stock")
class Stock(EventSourcedEntity):
    left: int = 0
    taken: dict[str, int] = {}

    @command
    def restock(self, quantity: int) -> Effect[int]:
        return self.persist(Restocked(quantity), Counted()).reply(lambda stock: stock.left)

    @command
    def reserve(self, order: str, quantity: int) -> Effect[int]:
        if quantity > self.left:
            raise Rejected("not so many are left", code="stock.short")
        return self.persist(Reserved(order, quantity)).reply(lambda stock: stock.left)

    @query
    def quantity(self) -> int:
        return self.left

    @query
    def reserved(self) -> dict[str, int]:
        return self.taken

    @on(Restocked)
    def restocked(self, event: Restocked) -> None:
        self.left += event.quantity

    @on(Counted)
    def counted(self, event: Counted) -> None: ...

    @on(Reserved)
    def was_reserved(self, event: Reserved) -> None:
        self.left -= event.quantity
        self.taken[event.order] = self.taken.get(event.order, 0) + event.quantity


@stream("stock-changes", source=Stock)
def public(event: Restocked | Reserved | Counted, ctx: Context) -> StockChanged | None:
    match event:
        case Restocked():
            return StockChanged(left=-1, delta=event.quantity)
        case Reserved():
            return StockChanged(left=-1, delta=-event.quantity)
        case _:
            return None


placed = Topic("orders", Placed, key="order", service="shop")


@consumer("reserver", source=placed, retry=Retry(attempts=2))
def reserve(event: Placed) -> Effect[None]:
    if event.quantity < 0:
        raise ValueError("less than nothing was ordered")
    return send(Stock.reserve, event.sku, event.order, event.quantity)


@consumer("biller", source=placed)
async def bill(event: Placed, ctx: Context) -> None:
    await ctx.service("shop").call(Order.bill, event.order)


inventory = Service("inventory", components=[Stock, public, reserve, bill], topics=[placed])


Make = Callable[[str], FaultyStore]


@pytest.fixture(params=["memory", "sqlite"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Make the store of a service."""

    def made(name: str) -> FaultyStore:
        inner = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / name)
        return FaultyStore(inner)

    return made


@pytest.fixture
async def host(make: Make) -> AsyncIterator[Host]:
    seen.clear()
    beside = Host(inventory, store=make("inventory"))
    async with Host(shop, store=make("shop"), beside=[beside]) as host:
        yield host


async def place(host: Host, *numbers: int, quantity: int = 1) -> None:
    await host.publish(orders, *(Placed(f"o{n}", "apple", quantity) for n in numbers))


async def reserved(host: Host) -> dict[str, int]:
    await host.settle()
    return await host.beside["inventory"].call(Stock.reserved, "apple")


async def test_topics_and_calls_find_each_other_by_name(host: Host) -> None:
    await host.beside["inventory"].call(Stock.restock, "apple", 10)
    await place(host, 1, 2, 3)
    assert await reserved(host) == {"o1": 1, "o2": 1, "o3": 1}
    assert [await host.call(Order.times_billed, f"o{n}") for n in (1, 2, 3)] == [1, 1, 1]


async def test_a_stream_tells_public_events_under_the_entitys_id(host: Host) -> None:
    stock = host.beside["inventory"]
    probe = stock.probe(public.topic)
    await stock.call(Stock.restock, "apple", 10)
    await stock.call(Stock.restock, "pear", 5)
    await place(host, 1)
    (apple, pear) = await host.query(StockSeen.all)
    assert (apple.sku, apple.changes, apple.sum) == ("apple", 2, 9)
    assert (pear.sku, pear.changes, pear.sum) == ("pear", 1, 5)
    events = await probe.expect_n(3, StockChanged)
    assert {event.delta for event in events} == {10, 5, -1}
    assert [(ctx.source, ctx.subject) for ctx in seen[:2]] == [
        ("inventory/stock-changes", "apple"),
        ("inventory/stock-changes", "pear"),
    ]
    assert all(ctx.event_id.startswith("inventory/") for ctx in seen), "ids are one store's own"


@pytest.mark.parametrize("crash", [False, True])
async def test_it_goes_on_where_it_was(host: Host, crash: bool) -> None:
    await host.beside["inventory"].call(Stock.restock, "apple", 10)
    await place(host, 1)
    assert await reserved(host) == {"o1": 1}
    await host.restart(crash=crash)
    await place(host, 2)
    assert await reserved(host) == {"o1": 1, "o2": 1}
    (apple,) = await host.query(StockSeen.all)
    assert (apple.changes, apple.sum) == (3, 8)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("nth", range(1, 7))
async def test_a_commit_of_the_follower_that_fails_doubles_nothing(
    host: Host, nth: int, when: str
) -> None:
    stock = host.beside["inventory"]
    await stock.call(Stock.restock, "apple", 100)
    await host.settle()
    assert isinstance(stock.store, FaultyStore)
    stock.store.fail(nth, when=when)  # type: ignore[arg-type]
    for number in range(4):
        await place(host, number)
        await host.settle(retries=True)
    assert stock.store.injected == 1
    await host.restart(crash=True)
    assert await reserved(host) == {f"o{n}": 1 for n in range(4)}
    assert [await host.call(Order.times_billed, f"o{n}") for n in range(4)] == [1] * 4
    (apple,) = await host.query(StockSeen.all)
    assert (apple.changes, apple.sum) == (5, 96)


async def test_what_fails_is_parked_with_its_key_also_across_a_restart(host: Host) -> None:
    stock = host.beside["inventory"]
    await stock.call(Stock.restock, "apple", 10)
    await place(host, 1, quantity=-1)
    await place(host, 1, 2)
    await host.settle(retries=True)
    await host.restart()
    letters = await stock.letters("reserver")
    assert [x.status for x in letters] == [LetterStatus.DEAD, LetterStatus.WAITING]
    assert {x.key for x in letters} == {"shop/orders/o1"}
    assert await reserved(host) == {"o2": 1}
    await stock.operations.discard("reserver", key="shop/orders/o1")
    assert await reserved(host) == {"o1": 1, "o2": 1}


async def test_a_consumer_is_reset(host: Host) -> None:
    stock = host.beside["inventory"]
    await stock.call(Stock.restock, "apple", 10)
    await place(host, 1)
    await host.advance(timedelta(minutes=1))
    time = host.clock.now()
    await place(host, 2)
    await host.settle()
    await stock.operations.reset("reserver", datetime.fromtimestamp(time / 1e6, UTC))
    assert await reserved(host) == {"o1": 1, "o2": 2}
    await stock.operations.reset("reserver", "beginning")
    assert await reserved(host) == {"o1": 2, "o2": 3}


async def test_messages_of_the_other_can_be_looked_at(host: Host) -> None:
    await place(host, 1, 2)
    looks = Inspection(host.beside["inventory"].runtime)
    found = await looks.last_messages("shop/orders", limit=1)
    assert [entry.subject for entry in found.messages] == ["o2"]
    again = await looks.messages("shop/orders", after="beginning")
    assert [entry.subject for entry in again.messages] == ["o1", "o2"]
    (told,) = [topic for topic in await looks.topics() if topic.service]
    assert (told.id, told.waiting) == ("shop/orders", "")


async def test_a_service_that_lost_its_store_is_not_taken_for_the_old_one(make: Make) -> None:
    stock = Host(inventory, store=make("inventory"))
    async with Host(shop, store=make("shop"), beside=[stock]) as host:
        await stock.call(Stock.restock, "apple", 10)
        await place(host, 1, 2)
        before = await reserved(host)
        assert before == {"o1": 1, "o2": 1}
    again = Host(inventory, store=stock.store)
    async with Host(shop, store=make("another"), beside=[again]) as host:
        await place(host, 3)
        await host.settle()
        (told,) = [t for t in await Inspection(again.runtime).topics() if t.service]
        assert "not the one that was read before" in told.waiting
        assert await reserved(host) == before
        assert await again.operations.adopt("shop/orders") == ["biller", "reserver"]
        assert await reserved(host) == {**before, "o3": 1}
        with pytest.raises(Conflict, match="reset its readers"):
            await again.operations.adopt("shop/orders")
        await host.restart()
        await place(host, 4)
        assert await reserved(host) == {**before, "o3": 1, "o4": 1}


async def test_a_view_of_a_service_that_lost_its_store_is_built_anew(make: Make) -> None:
    stock = Host(inventory, store=make("inventory"))
    async with Host(shop, store=make("shop"), beside=[stock]) as host:
        await stock.call(Stock.restock, "apple", 10)
        await stock.call(Stock.restock, "pear", 1)
        assert len(await host.query(StockSeen.all)) == 2
        kept = host.store
    new = Host(inventory, store=make("another"))
    async with Host(shop, store=kept, beside=[new]) as host:
        await new.call(Stock.restock, "plum", 3)
        assert len(await host.query(StockSeen.all)) == 2, "as it was"
        readers = await host.operations.adopt("inventory/stock-changes")
        assert readers == ["stock-seen", "stock-watcher"]
        await host.advance(timedelta(seconds=10))
        assert [row.sku for row in await host.query(StockSeen.all)] == ["plum"]


async def test_the_other_is_not_in_the_process(tmp_path: Path) -> None:
    process = Process([inventory], NodeConfig(data=tmp_path, port=0))
    with pytest.raises(ConfigurationError, match="run both in one process"):
        await process.start()
    assert os.listdir(tmp_path) == [], "nothing is left that both would meet"


async def test_who_is_not_there_is_told(host: Host) -> None:
    seen.clear()
    await host.beside["inventory"].call(Stock.restock, "apple", 1)
    await host.settle()
    context = Context(seen[0]._entry, "test", host.runtime)
    with pytest.raises(Unavailable, match="start it in this process") as refused:
        await context.service("billing").call("bill.send", "b1")
    assert refused.value.code == "unavailable.service"
    with pytest.raises(Rejected, match="not so many"):
        await context.service("inventory").call(Stock.reserve, "apple", "o1", quantity=2)


async def test_what_a_neighbour_has_not_read_is_kept(make: Make) -> None:
    brief = Topic("brief", Placed, key="order", retention=timedelta(seconds=30))
    read: list[str] = []

    @consumer("reader", source=Topic("brief", Placed, service="shop"))
    def reader(event: Placed) -> None:
        read.append(event.order)

    late = Host(Service("late", components=[reader]), store=make("late"))
    async with Host(Service("shop", topics=[brief]), store=make("shop"), beside=[late]) as host:
        await late.operations.pause("reader")
        await host.publish(brief, Placed("o1", "apple", 1))
        await host.advance(timedelta(minutes=5))
        await host.restart()  # nothing is in memory any more
        await late.operations.resume("reader")
        await host.settle()
        assert read == ["o1"]
        await host.advance(timedelta(minutes=5))
        assert (await host.store.journal.read(0, 0, limit=10)).entries == []
