"""What the service rows run: the carts of examples/shopping_cart, alone and as parts of more.

`carts` does the same work as the peers' carts. The whole shop has a consumer and a view follow every
event in the same process as well. `pipeline` is the long way: topic, consumer, entity, view.
"""

from __future__ import annotations

from eventmill import (
    Context,
    Effect,
    Event,
    Record,
    Service,
    Topic,
    View,
    component,
    consumer,
    on,
    query,
    send,
)
from examples.shopping_cart.shop import Cart, CheckedOut, ItemAdded
from examples.shopping_cart.shop import service as shop

__all__ = [
    "CartCounts",
    "ItemRequested",
    "Requested",
    "carts",
    "counted",
    "pipeline",
    "requests",
    "shop",
    "stream",
    "views",
]


class ItemRequested(Event):
    """Somebody elsewhere wants an item in a cart."""

    cart_id: str
    sku: str
    quantity: int


requests = Topic("requests", ItemRequested, key="cart_id")


@consumer("requests-to-carts", source=requests)
async def forward(event: ItemRequested, ctx: Context) -> Effect[None]:
    """Turn the message into a command of its cart."""
    return send(Cart.add_item, event.cart_id, sku=event.sku, quantity=event.quantity)


class Total(Record):
    """All rows of the view in one."""

    carts: int
    items: int
    fewest: int
    most: int


@component("cart-counts")
class CartCounts(View):
    """The open carts, with queries that show from outside how far the view has come."""

    class Row(Record):
        """A cart."""

        cart_id: str
        items: int = 0

    @on(Cart)
    def changed(self, event: ItemAdded | CheckedOut, row: Row | None, ctx: Context) -> Row | None:
        """Count the items; a cart that is checked out leaves."""
        match event:
            case ItemAdded():
                items = (row.items if row else 0) + event.quantity
                return self.Row(cart_id=ctx.subject, items=items)
            case CheckedOut():
                return None

    @query("SELECT * FROM cart_counts")
    def all(self) -> list[Row]: ...

    @query(
        "SELECT count(*) AS carts, coalesce(sum(items), 0) AS items, "
        "coalesce(min(items), 0) AS fewest, coalesce(max(items), 0) AS most FROM cart_counts"
    )
    def total(self) -> list[Total]: ...


class Counted:
    """What the handler without state has seen."""

    events = 0


counted = Counted()


@consumer("request-counter", source=requests)
async def count(event: ItemRequested, ctx: Context) -> None:
    """Count, and keep nothing."""
    counted.events += 1


class RequestedTotal(Record):
    """All rows in one."""

    items: int


@component("requested")
class Requested(View):
    """What was requested, by cart."""

    class Row(Record):
        """A cart."""

        cart_id: str
        items: int = 0

    @on(requests)
    def changed(self, event: ItemRequested, row: Row | None, ctx: Context) -> Row:
        """Count the items."""
        return self.Row(cart_id=ctx.subject, items=(row.items if row else 0) + event.quantity)

    @query("SELECT coalesce(sum(items), 0) AS items FROM requested")
    def total(self) -> list[RequestedTotal]: ...


carts = Service("carts", components=[Cart])
views = Service("views", components=[Cart, CartCounts])
pipeline = Service("pipeline", components=[Cart, CartCounts, forward], topics=[requests])
stream = Service("stream", components=[Requested, count], topics=[requests])
