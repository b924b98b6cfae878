"""The cart, tested as its users would: the entity alone, the consumer alone, the whole shop."""

from __future__ import annotations

import pytest

from eventmill import Rejected
from eventmill.adapters.memory.store import Store as MemoryStore
from eventmill.adapters.postgres.store import Store as PostgresStore
from eventmill.ports.store import Store
from eventmill.testing import ConsumerKit, EntityKit, Host, ViewKit
from examples.shopping_cart.shop import (
    Cart,
    CheckedOut,
    ItemAdded,
    OpenCarts,
    OrderPlaced,
    orders,
    place_order,
    service,
)


def test_items_add_up() -> None:
    cart = EntityKit(Cart, "c1")
    cart.run(Cart.add_item, sku="tea", quantity=2)
    result = cart.run(Cart.add_item, sku="tea", quantity=1)
    assert result.events == [ItemAdded(sku="tea", quantity=1)]
    assert result.reply == {"tea": 3}
    assert result.state.items == {"tea": 3}


def test_a_checked_out_cart_takes_nothing_more() -> None:
    cart = EntityKit(Cart, "c1")
    cart.run(Cart.add_item, sku="tea", quantity=2)
    assert cart.run(Cart.check_out).events == [CheckedOut(items={"tea": 2})]
    refused = cart.run(Cart.add_item, sku="milk", quantity=1)
    assert refused.rejected is not None
    assert refused.rejected.code == "cart.checked_out"
    assert refused.events == []


async def test_a_checked_out_cart_is_published_as_an_order() -> None:
    effects = await ConsumerKit(place_order).run(CheckedOut(items={"tea": 2}), subject="c1")
    assert [p.event for p in effects.published] == [OrderPlaced(order_id="c1", items={"tea": 2})]


def test_open_carts_count_items_and_forget_checked_out_ones() -> None:
    view = ViewKit(OpenCarts)
    view.feed(ItemAdded(sku="tea", quantity=2), ItemAdded(sku="milk", quantity=1), subject="c1")
    assert view.row("c1") == OpenCarts.Row(cart_id="c1", items=3)
    view.feed(CheckedOut(items={}), subject="c1")
    assert view.row("c1") is None


@pytest.mark.parametrize("engine", ["memory", "postgres"])
async def test_the_shop(engine: str, request: pytest.FixtureRequest) -> None:
    store: Store = MemoryStore()
    if engine == "postgres":
        store = PostgresStore(await request.getfixturevalue("postgres").fresh(16))
    async with Host(service, store=store) as host:
        await host.call(Cart.add_item, "c1", sku="tea", quantity=2)
        await host.call(Cart.add_item, "c2", sku="milk", quantity=5)
        await host.settle()
        larger = await host.query(OpenCarts.larger_than, minimum=1)
        assert [row.cart_id for row in larger] == ["c2", "c1"]
        await host.call(Cart.check_out, "c1")
        assert await host.probe(orders).expect_one(OrderPlaced) == OrderPlaced(
            order_id="c1", items={"tea": 2}
        )
        with pytest.raises(Rejected):
            await host.call(Cart.add_item, "c1", sku="tea", quantity=1)
        await host.settle()
        assert await host.query(OpenCarts.larger_than, minimum=0) == [
            OpenCarts.Row(cart_id="c2", items=5)
        ]
