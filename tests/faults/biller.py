"""A service that follows the orders of another one, `examples.shopping_cart.shop`."""

from __future__ import annotations

from eventmill import (
    Context,
    Effect,
    Event,
    EventSourcedEntity,
    Service,
    Topic,
    command,
    component,
    consumer,
    event_type,
    on,
    query,
    send,
)


@event_type("OrderPlaced")
class Order(Event):
    """What this service wants to know of it."""

    order_id: str


class Billed(Event):
    pass


orders = Topic("orders", Order, key="order_id", service="shop")


@component("bill")
class Bill(EventSourcedEntity):
    count: int = 0

    @command
    def add(self) -> Effect[None]:
        return self.persist(Billed())

    @query
    def times(self) -> int:
        return self.count

    @on(Billed)
    def billed(self, event: Billed) -> None:
        self.count += 1


@consumer("biller", source=orders)
def bill(event: Order, ctx: Context) -> Effect[None]:
    return send(Bill.add, event.order_id)


service = Service("billing", components=[Bill, bill], topics=[orders])
