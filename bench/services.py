"""What the service rows run: the carts of examples/shopping_cart, alone and as parts of more.

`carts` does the same work as the peers' carts. The whole shop has a consumer and a view follow every
event in the same process as well. `pipeline` is the long way: topic, consumer, entity, view.
"""

from __future__ import annotations

from eventmill import Context, Effect, Event, Service, Topic, consumer, send
from examples.shopping_cart.shop import Cart, OpenCarts
from examples.shopping_cart.shop import service as shop

__all__ = ["ItemRequested", "carts", "pipeline", "requests", "shop", "views"]


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


carts = Service("carts", components=[Cart])
views = Service("views", components=[Cart, OpenCarts])
pipeline = Service("pipeline", components=[Cart, OpenCarts, forward], topics=[requests])
