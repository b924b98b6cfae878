"""The unit kits on the cart of the README: what they show, and what their guards find."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from eventmill import (
    ConfigurationError,
    Context,
    Effect,
    EntityDeleted,
    Event,
    EventSourcedEntity,
    InvalidPayload,
    KeyValueEntity,
    Record,
    Rejected,
    View,
    command,
    component,
    consumer,
    on,
    publish,
    query,
    schedule,
    scheduled,
    timed,
)
from eventmill.errors import HandlerFailed
from eventmill.testing import ActionKit, ConsumerKit, EntityKit, ViewKit
from examples.shopping_cart.shop import (
    Cart,
    CheckedOut,
    ItemAdded,
    OpenCarts,
    OrderPlaced,
    orders,
    place_order,
)


class TestEntityKit:
    def test_a_command_shows_events_reply_and_state(self) -> None:
        result = EntityKit(Cart, "c1").run(Cart.add_item, sku="x", quantity=2)
        assert result.events == [ItemAdded(sku="x", quantity=2)]
        assert result.reply == {"x": 2}
        assert result.state.items == {"x": 2}
        assert result.rejected is None

    def test_it_begins_with_a_given_history(self) -> None:
        kit = EntityKit(Cart).given(ItemAdded(sku="x", quantity=1), CheckedOut(items={"x": 1}))
        result = kit.run(Cart.add_item, "y", 1)
        assert result.rejected is not None
        assert result.rejected.code == "cart.checked_out"
        assert result.events == []
        with pytest.raises(AssertionError, match="add_item was refused: the cart is already"):
            _ = result.reply
        assert kit.run(Cart.content).reply == {"x": 1}

    def test_stored_form_and_metadata_are_in_the_entries(self) -> None:
        kit = EntityKit(Cart, "c1")
        kit.metadata = {"user": "ann"}
        (entry,) = kit.run(Cart.add_item, sku="x", quantity=1).entries
        assert (entry.type, entry.version, entry.sequence, entry.subject) == (
            "ItemAdded", 1, 1, "c1",
        )  # fmt: skip
        assert entry.payload == b'{"sku":"x","quantity":1}'
        assert entry.metadata == b'{"user":"ann"}'

    def test_the_returned_state_is_a_copy(self) -> None:
        kit = EntityKit(Cart).given(ItemAdded(sku="x", quantity=1))
        kit.state.items.clear()
        assert kit.state.items == {"x": 1}

    def test_arguments_are_validated(self) -> None:
        with pytest.raises(InvalidPayload, match="quantity"):
            EntityKit(Cart).run(Cart.add_item, sku="x", quantity="many")  # type: ignore[arg-type]

    def test_identity_time_expiry_and_deletion(self) -> None:
        kit = EntityKit(Parcel, "p1")
        result = kit.run(Parcel.register)
        assert result.state.label == f"p1/0/{kit.now.isoformat()}"
        assert result.expires_after == timedelta(days=1)
        deleted = kit.run(Parcel.remove)
        assert deleted.deleted
        assert deleted.events == [EntityDeleted()]
        assert kit.run(Parcel.register).rejected is not None

    def test_outgoing_effects(self) -> None:
        result = EntityKit(Parcel, "p1").run(Parcel.deliver)
        assert result.published == [(orders, OrderPlaced(order_id="p1", items={}))]
        assert result.sent == [(Cart.add_item, "c1", {"sku": "parcel", "quantity": 1})]
        ((name, when, handler, id, arguments),) = result.scheduled
        assert (name, when, id, arguments) == ("remind-p1", timedelta(hours=1), "p1", {})
        assert handler is Parcel.remove
        assert result.cancelled == ["other"]

    def test_a_lost_effect_is_found(self) -> None:
        with pytest.raises(HandlerFailed, match=r"Parcel\.forgetful .* did not return"):
            EntityKit(Parcel).run(Parcel.forgetful)

    def test_a_state_change_in_a_command_is_found(self) -> None:
        kit = EntityKit(Parcel)
        with pytest.raises(HandlerFailed, match=r"Parcel\.hasty .* changed the state"):
            kit.run(Parcel.hasty)
        assert kit.state.label == ""

    def test_a_fold_that_depends_on_more_than_its_event_is_found(self) -> None:
        with pytest.raises(AssertionError, match="folding the stored events again"):
            EntityKit(Parcel).run(Parcel.weigh)

    def test_a_key_value_entity(self) -> None:
        kit = EntityKit(Profile, "u1").given(Profile(name="Ann", visits=3))
        assert kit.state.revision == 1
        result = kit.run(Profile.visit)
        assert (result.reply, result.state.visits, result.state.name) == (4, 4, "Ann")
        assert result.events == [Profile(name="Ann", visits=4)]

    def test_a_class_that_no_service_would_take_is_refused(self) -> None:
        with pytest.raises(ConfigurationError, match="default"):
            EntityKit(Broken)


class TestConsumerKit:
    async def test_published_events(self) -> None:
        effects = await ConsumerKit(place_order).run(CheckedOut(items={"x": 1}), subject="c1")
        assert effects.published == [(orders, OrderPlaced(order_id="c1", items={"x": 1}))]

    async def test_an_event_it_does_not_take_has_no_effects(self) -> None:
        effects = await ConsumerKit(place_order).run(ItemAdded(sku="x", quantity=1))
        assert effects == ([], [], [], [], [])

    async def test_calls_are_answered_as_the_test_says(self) -> None:
        kit = ConsumerKit(ask_cart).answer(Cart.content, {"x": 7})
        effects = await kit.run(OrderPlaced(order_id="c1", items={}))
        assert effects.published == [(orders, OrderPlaced(order_id="c1", items={"x": 7}))]
        ((handler, id, arguments, key),) = effects.calls
        assert (handler, id, arguments, key) == (Cart.content, "c1", {}, None)

    async def test_calls_of_other_services_are_answered_by_class_or_name(self) -> None:
        kit = ConsumerKit(ask_another).answer(Cart.content, {"x": 7}).answer("prices.of", 3)
        effects = await kit.run(OrderPlaced(order_id="c1", items={}), subject="c1")
        typed, named = effects.calls
        assert (typed.handler, typed.id) == ("shop/cart.content", "c1")
        assert (named.handler, named.id) == ("sales/prices.of", "x")
        assert named.arguments == {"currency": "EUR"}
        assert typed.idempotency_key != named.idempotency_key
        with pytest.raises(AssertionError, match=r"kit\.answer\('cart\.content', …\)"):
            await ConsumerKit(ask_another).run(OrderPlaced(order_id="c1", items={}))

    async def test_a_handlers_name_has_its_component_in_front(self) -> None:
        with pytest.raises(InvalidPayload, match=r"'component\.handler'"):
            await ConsumerKit(ask_nameless).run(OrderPlaced(order_id="c1", items={}))

    async def test_an_unanswered_call_says_what_to_do(self) -> None:
        with pytest.raises(AssertionError, match=r"kit\.answer\(Cart\.content, …\)"):
            await ConsumerKit(ask_cart).run(OrderPlaced(order_id="c1", items={}))

    async def test_an_answer_may_be_a_refusal(self) -> None:
        kit = ConsumerKit(ask_cart).answer(Cart.content, Rejected("closed"))
        with pytest.raises(Rejected, match="closed"):
            await kit.run(OrderPlaced(order_id="c1", items={}))

    async def test_a_lost_effect_is_found(self) -> None:
        with pytest.raises(HandlerFailed, match="lossy"):
            await ConsumerKit(lossy).run(OrderPlaced(order_id="c1", items={}))


class TestViewKit:
    def test_rows_follow_the_events(self) -> None:
        kit = ViewKit(OpenCarts)
        kit.feed(ItemAdded(sku="x", quantity=2), ItemAdded(sku="y", quantity=1), subject="c1")
        kit.feed(ItemAdded(sku="x", quantity=5), subject="c2")
        assert kit.rows() == [
            OpenCarts.Row(cart_id="c1", items=3),
            OpenCarts.Row(cart_id="c2", items=5),
        ]
        kit.feed(CheckedOut(items={}), subject="c1")
        assert kit.row("c1") is None
        assert len(kit.rows()) == 1

    def test_a_deleted_entity_loses_its_row(self) -> None:
        kit = ViewKit(OpenCarts).feed(ItemAdded(sku="x", quantity=2), subject="c1")
        kit.feed(EntityDeleted(), subject="c1")
        assert kit.rows() == []

    def test_several_sources_must_be_named(self) -> None:
        kit = ViewKit(Everything)
        with pytest.raises(ConfigurationError, match="cart, orders"):
            kit.feed(ItemAdded(sku="x", quantity=1))
        kit.feed(ItemAdded(sku="x", quantity=1), subject="c1", source=Cart)
        kit.feed(OrderPlaced(order_id="o1", items={}), source=orders)
        assert [row.what for row in kit.rows()] == ["ItemAdded", "OrderPlaced"]

    def test_a_row_that_cannot_be_stored_is_found(self) -> None:
        with pytest.raises(HandlerFailed, match="what"):
            ViewKit(Wrong).feed(ItemAdded(sku="x", quantity=1))


numbers = count()


class Registered(Event):
    label: str


class Weighed(Event):
    pass


@component("parcel")
class Parcel(EventSourcedEntity):
    label: str = ""
    weight: int = 0

    @command
    def register(self) -> Effect[None]:
        label = f"{self.entity_id}/{self.sequence}/{self.now.isoformat()}"
        return self.persist(Registered(label=label)).expiring(timedelta(days=1))

    @command
    def remove(self) -> Effect[None]:
        return self.delete()

    @command
    def deliver(self) -> Effect[None]:
        return (
            self.reply(None)
            .publish(orders, OrderPlaced(order_id=self.entity_id, items={}))
            .send(Cart.add_item, "c1", sku="parcel", quantity=1)
            .schedule("remind-p1", timedelta(hours=1), Parcel.remove, self.entity_id)
            .cancel("other")
        )

    @command
    def forgetful(self) -> Effect[None]:
        self.persist(Registered(label="lost"))
        return self.reply(None)

    @command
    def hasty(self) -> Effect[None]:
        self.label = "changed here"
        return self.reply(None)

    @command
    def weigh(self) -> Effect[None]:
        return self.persist(Weighed())

    @on(Registered)
    def registered(self, event: Registered) -> None:
        self.label = event.label

    @on(Weighed)
    def weighed(self, event: Weighed) -> None:
        self.weight = next(numbers) + 1


@component("profile")
class Profile(KeyValueEntity):
    name: str = ""
    visits: int = 0

    @command
    def visit(self) -> Effect[int]:
        return self.update(visits=self.visits + 1).reply(lambda profile: profile.visits)


@component("broken")
class Broken(EventSourcedEntity):
    needed: int

    @query
    def content(self) -> int:
        return self.needed


@consumer("another-asker", source=orders)
async def ask_another(event: OrderPlaced, ctx: Context) -> None:
    items = await ctx.service("shop").call(Cart.content, event.order_id)
    for sku in items:
        assert await ctx.service("sales").call("prices.of", sku, currency="EUR") == 3


@consumer("nameless", source=orders)
async def ask_nameless(event: OrderPlaced, ctx: Context) -> None:
    await ctx.service("shop").call("content", event.order_id)


@consumer("ask-cart", source=orders)
async def ask_cart(event: OrderPlaced, ctx: Context) -> Effect[None]:
    content = await ctx.call(Cart.content, event.order_id)
    return publish(orders, OrderPlaced(order_id=event.order_id, items=content))


@consumer("lossy", source=orders)
async def lossy(event: OrderPlaced) -> None:
    publish(orders, event)


@component("everything")
class Everything(View):
    class Row(Record):
        what: str

    @on(Cart)
    def from_cart(self, event: ItemAdded | CheckedOut, row: Row | None) -> Row:
        return self.Row(what=type(event).__name__)

    @on(orders)
    def from_orders(self, event: OrderPlaced, row: Row | None) -> Row:
        return self.Row(what=type(event).__name__)


@component("wrong")
class Wrong(View):
    class Row(Record):
        what: str

    @on(Cart)
    def from_cart(self, event: ItemAdded, row: Row | None) -> Row:
        return self.Row(what=event.quantity)  # type: ignore[arg-type]  # the point of the test


@timed("remind")
async def remind(ctx: Context, cart: str, *, times: int = 1) -> Effect[None] | None:
    if times == 0:
        return None
    items = await ctx.call(Cart.content, cart)
    await ctx.schedule("now", timedelta(hours=2), Cart.check_out, cart)
    if times == 7:
        publish(orders, OrderPlaced(order_id=ctx.subject, items=items))
        return None
    return schedule("again", timedelta(hours=1), remind, cart, times=times - 1).publish(
        orders, OrderPlaced(order_id=ctx.subject, items=items)
    )


@scheduled("0 3 * * *", id="nightly")
def nightly(ctx: Context, tick: datetime) -> Effect[None]:
    return publish(orders, OrderPlaced(order_id=f"{tick:%d.%m.}", items={}))


class TestActionKit:
    async def test_it_is_called_as_by_a_timer_and_shows_effects_and_calls(self) -> None:
        kit = ActionKit(remind).answer(Cart.content, {"x": 1})
        kit.subject = "remind-c1"
        effects = await kit.run("c1", times=2)
        assert effects.published == [(orders, OrderPlaced(order_id="remind-c1", items={"x": 1}))]
        now, again = effects.scheduled
        assert (now.name, now.when, now.id) == ("now", timedelta(hours=2), "c1")
        assert (again.name, again.arguments) == ("again", {"cart": "c1", "times": 1})
        assert [(call.id, call.arguments) for call in effects.calls] == [("c1", {})]

    async def test_nothing_to_do_is_no_effect(self) -> None:
        effects = await ActionKit(remind).run("c1", times=0)
        assert (effects.published, effects.scheduled, effects.calls) == ([], [], [])

    async def test_a_lost_effect_and_wrong_arguments_are_found(self) -> None:
        kit = ActionKit(remind).answer(Cart.content, {})
        with pytest.raises(HandlerFailed, match="did not return"):
            await kit.run("c1", times=7)
        with pytest.raises(InvalidPayload, match="remind: Expected `int`"):
            await kit.run("c1", times="two")  # type: ignore[arg-type]

    async def test_a_schedule_is_told_its_tick(self) -> None:
        effects = await ActionKit(nightly).run(tick=datetime(2026, 3, 1, 3, tzinfo=UTC))
        assert [published.event.order_id for published in effects.published] == ["01.03."]
        with pytest.raises(ConfigurationError, match="its first parameter is its context"):
            ActionKit(timed("wrong")(lambda order: None))
