"""Mistakes that a type checker must find: one error on each marked line, none elsewhere."""

from __future__ import annotations

from datetime import timedelta

from eventmill import (
    Client,
    Context,
    Effect,
    EventSourcedEntity,
    LWWRegister,
    ORSet,
    PNCounter,
    ReplicatedEntity,
    StepContext,
    Topic,
    Workflow,
    branch,
    command,
    component,
    ignore,
    publish,
    schedule,
    scheduled,
    send,
    step,
    timed,
)
from eventmill.pipelines import Stream, Tumbling, count
from eventmill.testing import ActionKit, EntityKit, Host
from examples.shopping_cart.shop import Cart, CheckedOut, ItemAdded, OpenCarts, OrderPlaced, orders


@timed("remind")
def remind(ctx: Context, merchant: str, payment: str) -> None:
    pass


@scheduled("0 3 * * *", missed="never")  # wrong
def nightly(ctx: Context) -> None:
    pass


@timed("no-effect")  # wrong
def no_effect(ctx: Context) -> int:
    return 7


async def wrong_calls(ctx: Context, client: Client, host: Host) -> None:
    await ctx.call(Cart.add_item, "c1", sku=1, quantity=1)  # wrong
    await ctx.call(Cart.add_item, "c1", sku="x")  # wrong
    await ctx.call(Cart.add_item, "c1", sku="x", quantity=1, colour="red")  # wrong
    await ctx.call(Cart.add_item, "c1", "x", "1")  # wrong
    await ctx.service("shop").call(Cart.add_item, "c1", sku="x")  # wrong
    await ctx.service("shop").call("cart.add_item", "c1", "x", 1)  # wrong
    client.watch(Cart.content, 1)  # wrong
    client.stream(OpenCarts.larger_than, most=1)  # wrong
    await ctx.call(Cart.add_item, 7, sku="x", quantity=1)  # wrong
    await ctx.query(OpenCarts.larger_than, minimum="1")  # wrong
    await client.call(Cart.add_item, "c1", sku="x", quantity="1")  # wrong
    await client.query(OpenCarts.larger_than, maximum=1)  # wrong
    await host.call(Cart.check_out, "c1", "now")  # wrong
    EntityKit(Cart, "c1").run(Cart.add_item, sku="x")  # wrong


async def wrong_timers(ctx: Context) -> None:
    await ctx.schedule("later", timedelta(hours=1), Cart.add_item, "c1", sku="x")  # wrong
    await ctx.schedule("later", timedelta(hours=1), remind, "m1")  # wrong
    await ctx.call(remind, "m1", "p1")  # wrong
    await ActionKit(remind).run("m1")  # wrong


async def wrong_results(ctx: Context) -> None:
    text: str = await ctx.call(Cart.content, "c1")  # wrong
    number: int = (await ctx.query(OpenCarts.larger_than, 1))[0].cart_id  # wrong
    del text, number


def wrong_effects() -> None:
    send(Cart.add_item, "c1", sku=1, quantity=1)  # wrong
    schedule("later", timedelta(hours=1), Cart.add_item, "c1", quantity=1)  # wrong
    schedule("later", 5, Cart.check_out, "c1")  # wrong
    schedule("later", timedelta(hours=1), Cart.check_out)  # wrong
    schedule("later", timedelta(hours=1), remind, "m1", 7)  # wrong
    schedule("later", timedelta(hours=1), remind, "m1")  # wrong
    ignore().schedule("later", timedelta(hours=1), remind, "m1", "p1", "x")  # wrong
    send(remind, "m1", "p1")  # wrong
    Cart.checkout  # wrong  # noqa: B018


async def wrong_publications(ctx: Context, client: Client, host: Host) -> None:
    added = ItemAdded(sku="x", quantity=1)
    two = Topic("two", OrderPlaced, CheckedOut)
    Topic("three", OrderPlaced, retention=7)  # wrong
    Topic("four", OrderPlaced, size=7)  # wrong
    publish(orders, added)  # wrong
    publish(two, added)  # wrong
    ignore().publish(orders, added)  # wrong
    await ctx.publish(orders, added)  # wrong
    await client.publish(orders, added)  # wrong
    await host.publish(two, CheckedOut(items={}), added)  # wrong


def wrong_event() -> None:
    ItemAdded(sku="x")  # wrong
    ItemAdded(sku="x", quantity=1).sku = "y"  # wrong


@component("counter")
class Counter(EventSourcedEntity):
    count: int = 0

    @command
    def wrong_reply(self) -> Effect[str]:
        return self.reply(self.count)  # wrong

    @command
    def wrong_state(self) -> Effect[int]:
        return self.persist().reply(lambda counter: counter.total)  # wrong


@component("visit")
class Visit(Workflow):
    nights: int = 0

    @command
    def wrong_input(self) -> Effect[None]:
        return self.begin(Visit.book, 7)  # wrong

    @command
    def no_input(self) -> Effect[None]:
        return self.go(Visit.book)  # wrong

    @command
    def wrong_reply(self) -> Effect[str]:
        return self.update(nights=1).end().reply(lambda visit: visit.nights)  # wrong

    @step
    async def book(self, ctx: StepContext, room: str) -> Effect[None]:
        return self.go(Visit.leave, room)  # wrong

    @step
    async def wait(self) -> Effect[None]:
        return self.wait_for(orders, OrderPlaced, "o1", then=Visit.leave)  # wrong

    @step
    async def join(self) -> Effect[None]:
        return self.go_all(branch(Visit.book, nights=2), then=Visit.leave)  # wrong

    @step
    async def sleep(self) -> Effect[None]:
        return self.pause(timeout=timedelta(hours=1), on_timeout=Visit.book)  # wrong

    @step
    async def leave(self) -> Effect[None]:
        return self.finish()  # wrong


def wrong_pipelines() -> None:
    placed, windows = Stream(orders), Tumbling(timedelta(hours=1))
    items = Topic("items", ItemAdded)
    placed.filter(lambda order: order.missing)  # wrong
    placed.map(lambda order: order.order_id).to(orders, id="ids")  # wrong
    placed.window(windows, time=lambda order: order.order_id)  # wrong
    placed.window(windows, late=items)  # wrong
    placed.window(windows).aggregate(count()).map(lambda pane: pane.begin)  # wrong
    placed.join(orders, within=timedelta(hours=1))  # wrong


@component("player")
class Player(ReplicatedEntity):
    points: PNCounter
    badges: ORSet[str]
    name: LWWRegister[str] = LWWRegister(5)  # wrong

    @command
    def wrong_amount(self) -> Effect[None]:
        return self.update(self.points.increment("1"))  # wrong

    @command
    def wrong_element(self) -> Effect[None]:
        return self.update(self.badges.add(1))  # wrong

    @command
    def no_operation(self) -> Effect[None]:
        return self.update(self.points.value)  # wrong

    @command
    def key_value(self) -> Effect[None]:
        return self.update(points=1)  # wrong

    @command
    def wrong_reply(self) -> Effect[str]:
        return self.update().reply(lambda player: player.points.value)  # wrong
