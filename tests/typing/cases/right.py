"""Calls as users write them: a type checker finds nothing wrong and knows every result."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

from eventmill import (
    WHEN_READ,
    Client,
    Context,
    CounterMap,
    Effect,
    KeyValueEntity,
    LWWRegister,
    ORMap,
    ORSet,
    PNCounter,
    ReplicatedEntity,
    RequestContext,
    Service,
    ServiceStream,
    StepContext,
    Topic,
    Workflow,
    WorkflowEnded,
    branch,
    command,
    component,
    consumer,
    endpoint,
    publish,
    schedule,
    scheduled,
    send,
    step,
    stream,
    timed,
)
from eventmill.pipelines import Pair, Pane, Results, Session, Stream, Transform, count, fold, max_of
from eventmill.testing import ActionKit, ConsumerKit, EntityKit, Host, ReplicasKit, WorkflowKit
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


@timed("remind")
async def remind(ctx: Context, merchant: str, *, payment: str) -> Effect[None]:
    await ctx.schedule("once-more", datetime.now(UTC), remind, merchant, payment=payment)
    await ctx.schedule("out", timedelta(hours=1), Cart.check_out, "c1")
    await ctx.cancel("out")
    return schedule("again", timedelta(hours=1), remind, merchant, payment=payment)


@scheduled("0 3 * * *", timezone="Europe/Berlin", missed="all")
async def nightly(ctx: Context, tick: datetime) -> None:
    pass


@scheduled(timedelta(minutes=5))
def often(ctx: Context) -> Effect[None] | None:
    return None


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
            .schedule("remind", later, remind, "m1", payment="p1")
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
    assert_type(await client.as_of(3).call(Cart.content, "c1"), dict[str, int])
    async for row in client.stream(OpenCarts.larger_than, minimum=1):
        assert_type(row, OpenCarts.Row)
    async for rows in client.watch(OpenCarts.larger_than, minimum=1):
        assert_type(rows, list[OpenCarts.Row])
    async for items in client.watch(Cart.content, "c1"):
        assert_type(items, dict[str, int])


@endpoint("/shop")
class Shop:
    @endpoint.post("/carts/{id}", status=201)
    async def add(self, ctx: RequestContext, id: str, sku: str) -> dict[str, int]:
        items = await ctx.call(Cart.add_item, id, sku=sku, quantity=1)
        assert_type(items, dict[str, int])
        return items


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
    assert (await ActionKit(remind).run("m1", payment="p1")).scheduled
    await ActionKit(nightly).run(datetime.now(UTC))
    await ActionKit(often).run()
    Service("clocks", components=[remind, nightly, often])
    effects = await ConsumerKit(place_order).run(OrderPlaced(order_id="o", items={}))
    events: list[Any] = [published.event for published in effects.published]
    assert events


@component("visit")
class Visit(Workflow):
    nights: int = 0

    @command
    def start(self, room: str) -> Effect[int]:
        return self.update(nights=1).begin(Visit.book, room, nights=2).reply(lambda v: v.nights)

    @command
    def hold(self) -> Effect[None]:
        return self.pause(timeout=timedelta(hours=1), on_timeout=Visit.leave)

    @step
    async def book(self, ctx: StepContext, room: str, nights: int = 1) -> Effect[None]:
        assert_type(await ctx.call(Cart.add_item, room, "x", 1), dict[str, int])
        several = branch(Visit.clean, room), branch(Visit.book, room, nights=nights)
        return self.update(nights=nights).go_all(*several, then=Visit.leave)

    @step(timeout=2.0, failover="leave")
    async def clean(self, room: str) -> Effect[None] | None:
        if room:
            return None
        return self.wait_for(orders, OrderPlaced, "o1", then=Visit.ordered)

    @step(compensate=clean)
    async def ordered(self, event: OrderPlaced) -> Effect[None]:
        waiting = self.wait_for_end(Visit, event.order_id, then=Visit.ended)
        return waiting.start_child(Visit.start, event.order_id, room="1")

    @step
    async def ended(self, event: WorkflowEnded) -> Effect[None]:
        return self.compensate(Visit.leave).publish(orders, OrderPlaced(order_id="", items={}))

    @step
    async def leave(self) -> Effect[None]:
        return self.end()


async def workflows(host: Host) -> None:
    assert_type(await host.call(Visit.start, "v1", room="7"), int)
    kit = WorkflowKit(Visit, "v1").given(nights=2).answer(Cart.add_item, {})
    assert_type(kit.run(Visit.start, "7"), int)
    assert_type(kit.state, Visit)
    await kit.step(Visit.book, "7", nights=3)


def pipelines() -> None:
    placed = Stream(orders)
    assert_type(placed, Stream[OrderPlaced])
    assert_type(Stream(Cart, ItemAdded), Stream[ItemAdded])
    sizes = placed.filter(lambda order: order.items).map(lambda order: len(order.items))
    assert_type(sizes, Stream[int])
    open = placed.window(Session(timedelta(hours=1)), late=orders)
    assert_type(open.aggregate(count()), Results[Pane[int]])
    longest = max_of(_length)
    assert_type(open.aggregate(count(), longest), Results[Pane[tuple[int, int]]])
    open.aggregate(fold(list, lambda ids, order: [*ids, order.order_id]))
    pairs = placed.join(Stream(Cart, CheckedOut), within=timedelta(hours=1))
    assert_type(pairs, Results[Pair[OrderPlaced, CheckedOut]])
    left = placed.join(Stream(Cart, CheckedOut), within=timedelta(hours=1), kind="left")
    assert_type(left, Results[Pair[OrderPlaced, CheckedOut | None]])
    two = Topic("two", OrderPlaced, Plain)
    assert_type(pairs.map(lambda pair: pair.left).to(two, id="pairs"), Transform)


def _length(order: OrderPlaced) -> int:
    return len(order.order_id)


@component("player")
class Player(ReplicatedEntity):
    write_consistency = "majority"

    points: PNCounter
    name: LWWRegister[str] = LWWRegister("nobody", "reverse")
    badges: ORSet[str]
    games: CounterMap[str]
    rooms: ORMap[int, ORSet[str]]

    @command
    def score(self, points: int) -> Effect[int]:
        changes = self.points.increment(points), self.games.increment("go", points)
        return self.update(*changes).reply(lambda player: player.points.value)

    @command
    def enter(self, room: int) -> Effect[set[str]]:
        assert_type(self.rooms[room], ORSet[str])
        assert_type(self.name.value, str)
        assert_type(self.games.value, dict[str, int])
        change = self.rooms[room].add(self.name.value)
        return self.update(change).reply(lambda player: player.rooms[room].value)

    @command
    def leave(self) -> Effect[None]:
        return self.delete()


async def play(host: Host, ctx: Context) -> None:
    assert_type(await host.call(Player.score, "p", 5), int)
    assert_type(await ctx.call(Player.enter, "p", room=5), set[str])
    kit = ReplicasKit(Player, nodes=("a", "b"))
    assert_type(kit.run("a", Player.score, 5).reply, int)
    assert_type(kit.state("a").badges.value, set[str])
