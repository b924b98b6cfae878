"""A small service whose events are pushed."""

from __future__ import annotations

from eventmill import Effect, Event, EventSourcedEntity, Service, Topic, command, component, on


class Added(Event):
    sku: str


class Closed(Event):
    pass


class Order(Event):
    order_id: str
    number: int = 0


orders = Topic("orders", Order, key="order_id")


@component("cart")
class Cart(EventSourcedEntity):
    count: int = 0

    @command
    def add(self, sku: str) -> Effect[int]:
        return self.persist(Added(sku=sku)).reply(lambda cart: cart.count)

    @command
    def close(self) -> Effect[None]:
        return self.persist(Closed())

    @on(Added)
    def added(self, event: Added) -> None:
        self.count += 1

    @on(Closed)
    def closed(self, event: Closed) -> None:
        pass


service = Service("shop", components=[Cart], topics=[orders])
