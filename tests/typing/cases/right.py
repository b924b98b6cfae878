"""Calls as users write them: a type checker finds nothing wrong and knows every result."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, assert_type

from eventmill import (
    WHEN_READ,
    Client,
    Context,
    Effect,
    KeyValueEntity,
    Service,
    ServiceStream,
    Topic,
    command,
    component,
    consumer,
    publish,
    schedule,
    send,
    stream,
)
from eventmill.testing import ConsumerKit, EntityKit, Host
from examples.shopping_cart.shop import (
    Cart,
    CheckedOut,
    ItemAdded,
    OpenCarts,
    OrderPlaced,
    orders,
    place_order,
)


@dataclass
class Plain:
    number: int


@dataclass
class Other:
    number: int


@component("note")
class Note(KeyValueEntity):
    text: str = ""

    @command
    def write(self, text: str, *, loud: bool = False) -> Effect[int]:
        effect = self.update(text=text.upper() if loud else text)
        return effect.reply(lambda note: note.revision)

    @command
    def shout(self) -> Effect[str]:
        return self.reply(self.text.upper())

    @command
    def sign(self, name: str) -> Effect[int]:
        later = timedelta(hours=1)
        return (
            self.update(text=name)
            .with_metadata(author=name)
            .publish(orders, OrderPlaced(order_id=name, items={}))
            .send(Cart.check_out, "c1")
            .schedule("later", later, Cart.check_out, "c1")
            .cancel("earlier")
            .expiring(later)
            .reply(lambda note: note.revision)
        )

    @command
    def tell(self) -> Effect[None]:
        later = timedelta(hours=1)
        return (
            self.reply(None)
            .publish(orders, OrderPlaced(order_id=self.entity_id, items={}))
            .send(Cart.add_item, "c1", sku="x", quantity=1)
            .schedule("later", later, Cart.check_out, "c1")
            .cancel("earlier")
        )


async def in_a_consumer(ctx: Context) -> Effect[None]:
    assert_type(await ctx.call(Cart.add_item, "c1", sku="x", quantity=1), dict[str, int])
    assert_type(await ctx.call(Cart.add_item, "c1", "x", 1), dict[str, int])
    assert_type(await ctx.call(Cart.check_out, "c1"), None)
    assert_type(await ctx.call(Cart.content, "c1"), dict[str, int])
    assert_type(await ctx.call(Note.write, "n1", "hello", loud=True), int)
    shop = ctx.service("shop")
    assert_type(await shop.call(Cart.add_item, "c1", sku="x", quantity=1), dict[str, int])
    assert_type(await shop.call("cart.add_item", "c1", sku="x", quantity=1), Any)
    assert_type(await ctx.query(OpenCarts.larger_than, minimum=1), list[OpenCarts.Row])
    await ctx.publish(orders, OrderPlaced(order_id="o1", items={}))
    if ctx.attempt > 1:
        return send(Cart.add_item, "c1", sku="x", quantity=1)
    if ctx.sequence:
        return schedule("later", timedelta(hours=1), Cart.add_item, "c1", sku="x", quantity=1)
    return publish(orders, OrderPlaced(order_id="o1", items={}))


def topics_know_their_types() -> None:
    one = Topic("one", OrderPlaced, key="order_id")
    two = Topic("two", OrderPlaced, ItemAdded, key=lambda event: str(event))
    assert_type(one, Topic[OrderPlaced])
    assert_type(two, Topic[OrderPlaced | ItemAdded])
    day = timedelta(days=1)
    one_kept = Topic("one", OrderPlaced, retention=day)
    two_kept = Topic("two", OrderPlaced, ItemAdded, retention=day)
    three_kept = Topic("three", OrderPlaced, ItemAdded, CheckedOut, retention=day)
    four_kept = Topic("four", OrderPlaced, ItemAdded, CheckedOut, Plain, key="x", retention=day)
    assert_type(one_kept, Topic[OrderPlaced])
    assert_type(two_kept, Topic[OrderPlaced | ItemAdded])
    assert_type(three_kept, Topic[OrderPlaced | ItemAdded | CheckedOut])
    assert_type(four_kept, Topic[OrderPlaced | ItemAdded | CheckedOut | Plain])
    assert_type(Topic("one", OrderPlaced, ItemAdded, service="s"), Topic[OrderPlaced | ItemAdded])
    size = 10 << 30
    read = Topic("read", OrderPlaced, ItemAdded, retention=WHEN_READ, bytes_max=size, replicas=3)
    assert_type(read, Topic[OrderPlaced | ItemAdded])
    publish(two, OrderPlaced(order_id="o1", items={}), ItemAdded(sku="x", quantity=1))
    publish(Topic("five", OrderPlaced, ItemAdded, CheckedOut, Plain, Other), Plain(1), Other(2))
    declared: Topic[Plain] = Topic("plain", Plain)
    publish(declared, Plain(1))
    anything: list[Topic[Any]] = [one, two, declared]
    Service("shop", topics=anything)
    Service("shop", topics=[one, two, declared])


@stream("noted", source=Note, key="number")
def noted(event: Note, ctx: Context) -> Plain | None:
    return Plain(1) if ctx.subject else None


@consumer("watch-stock", source=ServiceStream("inventory", "stock", Plain))
def watch(event: Plain) -> Effect[None]:
    return publish(orders, OrderPlaced(order_id=str(event.number), items={}))


async def two_services(shop: Service, inventory: Service) -> None:
    async with Host(shop, beside=[inventory]) as host:
        left = await host.beside["inventory"].call(Note.shout, "n1")
        assert_type(left, str)
        foreign = Topic("orders", service="shop")
        await host.publish(foreign, Plain(1), key="p1")
    Service("shop", components=[noted, watch], topics=[noted.topic, foreign])


async def over_http(client: Client) -> None:
    assert_type(await client.call(Cart.add_item, "c1", sku="x", quantity=1), dict[str, int])
    assert_type(await client.query(OpenCarts.larger_than, minimum=1), list[OpenCarts.Row])


async def in_a_test(host: Host) -> None:
    assert_type(await host.call(Cart.add_item, "c1", sku="x", quantity=1), dict[str, int])
    assert_type(await host.call_once("key", Note.shout, "n1"), str)
    assert_type(await host.query(OpenCarts.larger_than, 1), list[OpenCarts.Row])
    assert_type(await host.probe(orders).expect_one(OrderPlaced), OrderPlaced)
    assert_type(await host.probe(orders).expect_n(2, OrderPlaced), list[OrderPlaced])
    kit = EntityKit(Cart, "c1").given(ItemAdded(sku="x", quantity=1))
    result = kit.run(Cart.add_item, sku="x", quantity=1)
    assert_type(result.reply, dict[str, int])
    assert_type(result.state, Cart)
    assert_type(EntityKit(Note).run(Note.write, "x").reply, int)
    effects = await ConsumerKit(place_order).run(OrderPlaced(order_id="o", items={}))
    events: list[Any] = [published.event for published in effects.published]
    assert events
