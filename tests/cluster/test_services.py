"""Services that call each other by name, each on several nodes and a store of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

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
    View,
    command,
    component,
    consumer,
    on,
    query,
)
from eventmill.errors import DeadlineExceeded, Unavailable, UnknownHandler, Unreachable
from eventmill.model.entry import metadata_of
from eventmill.runtime.cluster.forwarding import Request
from eventmill.runtime.operating.operations import Operations
from tests.cluster.nodes import Nodes


class Reserved(Event):
    quantity: int


class Ordered(Event):
    sku: str
    quantity: int


@component("stock")
class Stock(EventSourcedEntity):
    reserved: int = 0

    @command
    def reserve(self, quantity: int) -> Effect[int]:
        if quantity > 90:
            raise Rejected("so much is not there")
        return self.persist(Reserved(quantity=quantity)).reply(lambda stock: stock.reserved)

    @query
    def content(self) -> int:
        return self.reserved

    @on(Reserved)
    def on_reserved(self, event: Reserved) -> None:
        self.reserved += event.quantity


@component("shelf")
class Shelf(View):
    class Row(Record):
        sku: str
        reserved: int = 0

    @on(Stock)
    def changed(self, event: Reserved, row: Row | None, ctx: Context) -> Row:
        return self.Row(sku=ctx.subject, reserved=(row.reserved if row else 0) + event.quantity)

    @query("SELECT * FROM shelf WHERE reserved >= :least ORDER BY sku")
    def above(self, least: int) -> list[Row]: ...

    @query("SELECT * FROM shelf WHERE sku IN (:skus)")
    def some(self, skus: list[str]) -> list[Row]: ...


@component("order")
class Order(EventSourcedEntity):
    @command
    def place(self, sku: str, quantity: int) -> Effect[None]:
        return self.persist(Ordered(sku=sku, quantity=quantity))

    @on(Ordered)
    def on_ordered(self, event: Ordered) -> None: ...


SECONDS = 20.0
"""Time of a reservation, unlike that of any other wait."""

answers: list[object] = []
failures: list[Exception] = []


@consumer("reserver", source=Order, retry=Retry(attempts=6, initial=1.0), timeout=SECONDS)
async def reserve(event: Ordered, ctx: Context) -> None:
    inventory = ctx.service("inventory")
    try:
        answers.append(await inventory.call(Stock.reserve, event.sku, quantity=event.quantity))
        answers.append(await inventory.call("stock.content", event.sku))
        answers.append(await inventory.query(Shelf.above, least=0))
        answers.append(await inventory.query("shelf.above", least=0))
        some = await inventory.query(Shelf.some, skus=[event.sku])
        assert {row.sku for row in some} <= {event.sku}
        assert await inventory.query("shelf.some", skus=[]) == []
    except Exception as error:
        failures.append(error)
        raise
    if ctx.attempt == 1:
        raise RuntimeError("after everything was done: it will be tried again")


IDS = [f"sku-{number}" for number in range(40)]
shop = Service("shop", components=[Order, reserve])
inventory = Service("inventory", components=[Stock, Shelf])


@pytest.fixture
async def shops() -> AsyncIterator[Nodes]:
    answers.clear()
    failures.clear()
    nodes = Nodes(shop)
    yield nodes
    await nodes.close()


@pytest.fixture
async def inventories(shops: Nodes) -> AsyncIterator[Nodes]:
    nodes = Nodes(inventory, beside=shops)
    yield nodes
    await nodes.close()


async def test_a_consumer_calls_another_service_and_a_repetition_has_no_second_effect(
    shops: Nodes, inventories: Nodes
) -> None:
    await inventories.start("a", "b")
    await shops.start("a", "b")
    for number in range(8):  # entities of both nodes, so some calls are routed to the owner
        await shops.call("a", Order.place, f"o{number}", f"sku-{number}", 2)
    await shops.advance(20)
    assert failures == []
    first = [answer for answer in answers if isinstance(answer, int)]
    assert first == [2] * 32, "reply and content, at the first attempt and at the second"
    for number in range(8):
        assert await inventories.call("b", Stock.content, f"sku-{number}") == 2
    typed, named = answers[-2:]
    assert isinstance(typed, list)
    assert isinstance(named, list)
    assert Shelf.Row("sku-7", 2) in typed
    assert {"sku": "sku-7", "reserved": 2} in named
    (event,) = await inventories.store.journal.history("stock", "sku-1", limit=9)
    (cause,) = await shops.store.journal.history("order", "o1", limit=9)
    assert metadata_of(event)["causation"] == f"shop/{cause.id}"


async def test_a_service_that_nobody_runs_is_unavailable_and_called_when_it_is_back(
    shops: Nodes, inventories: Nodes
) -> None:
    await shops.start("a")
    await shops.call("a", Order.place, "o1", "sku-1", 1)
    await shops.advance(1)
    assert isinstance(failures[0], Unreachable)
    assert failures[0].code == "unavailable.service"
    assert "no service 'inventory' can be reached now" in failures[0].message
    peers = shops.running["a"].peers
    assert peers is not None
    assert repr(peers.services._forwarder) == "<Forwarder [idle]>", "nothing is kept for it"
    await inventories.start("a")
    await shops.advance(20)
    assert await inventories.call("a", Stock.content, "sku-1") == 1


async def test_any_node_that_is_left_answers_for_its_service(
    shops: Nodes, inventories: Nodes
) -> None:
    await inventories.start("a", "b")
    await shops.start("a")
    await inventories.stop("b")
    await shops.call("a", Order.place, "o1", "sku-1", 1)
    await shops.advance(5)
    assert failures == []
    assert await inventories.call("a", Stock.content, "sku-1") == 1


async def test_a_service_that_cannot_find_the_entitys_node_is_there_all_the_same(
    shops: Nodes, inventories: Nodes
) -> None:
    await inventories.start("b", "a")
    await shops.start("a")
    sku = next(id for id in IDS if inventories.store.placement.entity(id) in held_by_a(inventories))
    await inventories.crash("a")
    peers = shops.running["a"].peers
    assert peers is not None
    asked = Request("stock", sku, "content", b"{}", None, 2.0, None, None, True)
    with pytest.raises(Unavailable, match="between two nodes") as raised:
        await shops.while_time_passes(peers.services._forwarder.send("inventory", asked))
    assert not isinstance(raised.value, Unreachable)


def held_by_a(nodes: Nodes) -> set[int]:
    return nodes.running["a"].held.copy()


async def test_nobody_waits_longer_than_the_handler_may(shops: Nodes, inventories: Nodes) -> None:
    await inventories.start("a")
    await shops.start("a")
    shops.network.pause(inventories.place("a"))
    began = shops.clock.monotonic()
    await shops.call("a", Order.place, "o1", "sku-1", 1)
    while not failures:
        await shops.advance(0.5)
    assert isinstance(failures[0], DeadlineExceeded)
    assert SECONDS <= shops.clock.monotonic() - began < SECONDS + 2
    shops.network.resume(inventories.place("a"))


async def test_a_rejection_comes_back_as_what_it_was(shops: Nodes, inventories: Nodes) -> None:
    await inventories.start("a")
    await shops.start("a")
    await shops.call("a", Order.place, "o1", "sku-1", 99)
    await shops.advance(60)
    assert {type(error) for error in failures} == {Rejected}
    (letter,) = await Operations(shops.running["a"]).letters()
    assert "so much is not there" in letter.error


async def test_what_nodes_ask_of_each_other_is_not_for_other_services(
    shops: Nodes, inventories: Nodes
) -> None:
    await inventories.start("a")
    await shops.start("a")
    await inventories.call("a", Stock.reserve, "sku-1", 5)
    peers = shops.running["a"].peers
    assert peers is not None
    forwarder = peers.services._forwarder
    for name, origin in (("$purge", None), ("reserve", "0:1")):
        body = b"[]" if name == "$purge" else b'{"quantity":1}'
        request = Request("stock", "sku-1", name, body, None, 5.0, None, origin, True)
        with pytest.raises(UnknownHandler):
            await shops.while_time_passes(forwarder.send("inventory", request))
    assert await inventories.call("a", Stock.content, "sku-1") == 5


async def test_nodes_find_all_services_and_what_they_are(shops: Nodes, inventories: Nodes) -> None:
    await inventories.start("a", "b")
    await shops.start("a")
    peers = shops.running["a"].peers
    assert peers is not None
    found = await peers.services.find()
    assert [(i.service, i.metadata["node"]) for i in found] == [
        ("inventory", "a"),
        ("inventory", "b"),
        ("shop", "a"),
    ]
    assert [endpoint.name for endpoint in found[0].endpoints] == ["stock", "shelf", "describe"]
    # A thread draws the graph, and knows of no virtual time: the clock stands.
    told = await peers.services.describe("inventory")
    assert [(node.node, node.shards) for node in told.nodes] == [("a", 8), ("b", 8)]
    assert told.components[0].commands == ["reserve"]
    await inventories.stop("a")
    assert [i.metadata["node"] for i in await peers.services.find("inventory")] == ["b"]


async def test_a_store_belongs_to_one_service(shops: Nodes) -> None:
    await shops.start("a")
    await shops.stop("a")
    shops.service = inventory
    with pytest.raises(ConfigurationError, match="the store belongs to service 'shop'"):
        await shops.start("a")


@pytest.mark.parametrize("turns", range(12))
async def test_of_two_services_that_start_at_once_one_gets_the_store(
    shops: Nodes, inventories: Nodes, turns: int
) -> None:
    """Whatever the second one sees of the first: it is that many turns of the loop behind."""
    inventories.store, inventories.leases = shops.store, shops.leases

    async def start_later() -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        await inventories.start("b")

    started = await asyncio.gather(shops.start("a"), start_later(), return_exceptions=True)
    (refused,) = [outcome for outcome in started if outcome is not None]
    assert isinstance(refused, ConfigurationError)
    assert "the store belongs to service" in refused.message


async def test_a_name_belongs_to_one_store(shops: Nodes) -> None:
    await shops.start("a")
    other = Nodes(shop, beside=shops)
    other.place = lambda name: f"other-{name}"  # type: ignore[method-assign]
    with pytest.raises(ConfigurationError, match="a service 'shop' with another store"):
        await other.start("b")
    await shops.start("b")  # of the same store: that is what nodes are for
