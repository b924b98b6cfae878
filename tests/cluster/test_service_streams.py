"""Service streams between services of several nodes at one broker: mapped, followed, once."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from eventmill import (
    Context,
    Effect,
    Event,
    EventSourcedEntity,
    Service,
    ServiceStream,
    command,
    component,
    consumer,
    on,
    stream,
)
from tests.cluster.nodes import Nodes


class Restocked(Event):
    quantity: int


class StockChanged(Event):
    delta: int


@component("item")
class Item(EventSourcedEntity):
    left: int = 0

    @command
    def restock(self, quantity: int) -> Effect[None]:
        return self.persist(Restocked(quantity))

    @on(Restocked)
    def restocked(self, event: Restocked) -> None:
        self.left += event.quantity


@stream("stock", source=Item)
def public(event: Restocked) -> StockChanged | None:
    return StockChanged(event.quantity) if event.quantity > 0 else None


inventory = Service("inventory", components=[Item, public])
seen: list[tuple[str, int]] = []


@consumer("watcher", source=ServiceStream("inventory", "stock"))
def watch(event: StockChanged, ctx: Context) -> None:
    seen.append((ctx.subject, event.delta))


shop = Service("shop", components=[watch])


@pytest.fixture(params=[16, 4], ids=["equal", "unequal"])
async def services(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Nodes, Nodes]]:
    seen.clear()
    stock = Nodes(inventory, broker=True)
    shops = Nodes(shop, beside=stock, broker=True, shards=request.param)
    await stock.start("a", "b")
    await shops.start("a", "b")
    yield stock, shops
    await shops.close()
    await stock.close()


async def test_what_is_public_arrives_in_order_per_entity(services: tuple[Nodes, Nodes]) -> None:
    stock, _ = services
    for number in (1, -1, 2, 3):
        for item in range(12):
            await stock.call("a", Item.restock, f"i{item}", number)
    await stock.until(lambda: len(seen) >= 36)
    await stock.advance(2)
    assert {item: [d for i, d in seen if i == item] for item, _ in seen} == {
        f"i{item}": [1, 2, 3] for item in range(12)
    }
