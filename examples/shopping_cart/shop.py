"""The shopping cart: carts, the orders they lead to, and a view of the open ones."""

from __future__ import annotations

from eventmill import (
    Context,
    Effect,
    Event,
    EventSourcedEntity,
    Record,
    Rejected,
    Service,
    Topic,
    View,
    command,
    component,
    consumer,
    on,
    publish,
    query,
)


class ItemAdded(Event):
    sku: str
    quantity: int


class CheckedOut(Event):
    items: dict[str, int]


class OrderPlaced(Event):
    order_id: str
    items: dict[str, int]


orders = Topic("orders", OrderPlaced, key="order_id")


@component("cart")
class Cart(EventSourcedEntity):
    items: dict[str, int] = {}
    checked_out: bool = False

    @command
    def add_item(self, sku: str, quantity: int) -> Effect[dict[str, int]]:
        if self.checked_out:
            raise Rejected("the cart is already checked out", code="cart.checked_out")
        return self.persist(ItemAdded(sku=sku, quantity=quantity)).reply(lambda cart: cart.items)

    @command
    def check_out(self) -> Effect[None]:
        return self.persist(CheckedOut(items=self.items))

    @query
    def content(self) -> dict[str, int]:
        return self.items

    @on(ItemAdded)
    def item_added(self, event: ItemAdded) -> None:
        self.items[event.sku] = self.items.get(event.sku, 0) + event.quantity

    @on(CheckedOut)
    def was_checked_out(self, event: CheckedOut) -> None:
        self.checked_out = True


@consumer("order-publisher", source=Cart)
async def place_order(event: CheckedOut, ctx: Context) -> Effect[None]:
    return publish(orders, OrderPlaced(order_id=ctx.subject, items=event.items))


@component("open-carts")
class OpenCarts(View):
    class Row(Record):
        cart_id: str
        items: int = 0

    @on(Cart)
    def changed(self, event: ItemAdded | CheckedOut, row: Row | None, ctx: Context) -> Row | None:
        match event:
            case ItemAdded():
                items = (row.items if row else 0) + event.quantity
                return self.Row(cart_id=ctx.subject, items=items)
            case CheckedOut():
                return None

    @query("SELECT * FROM open_carts WHERE items >= :minimum ORDER BY items DESC")
    def larger_than(self, minimum: int) -> list[Row]: ...


service = Service("shop", components=[Cart, OpenCarts, place_order], topics=[orders])
