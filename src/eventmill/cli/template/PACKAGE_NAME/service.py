"""A small stock: items come and go, and somebody is told when one runs low.

Replace it with your own. The parts: events (what happened), an entity (decides, one per item), a
consumer (reacts), a topic (tells others), a view (answers questions about all items).
"""

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

LOW = 3


class Received(Event):
    quantity: int


class Taken(Event):
    quantity: int
    left: int


class RanLow(Event):
    item: str
    left: int


alerts = Topic("alerts", RanLow, key="item")


@component("item")  # the id is part of every stored key: it never changes
class Item(EventSourcedEntity):
    """One kind of thing in stock. Its fields are its state."""

    quantity: int = 0

    @command
    def receive(self, quantity: int) -> Effect[int]:
        if quantity < 1:
            raise Rejected("receive at least one", code="item.quantity")
        return self.persist(Received(quantity=quantity)).reply(lambda item: item.quantity)

    @command
    def take(self, quantity: int) -> Effect[int]:
        if quantity > self.quantity:
            raise Rejected(f"only {self.quantity} left", code="item.not_enough")
        event = Taken(quantity=quantity, left=self.quantity - quantity)
        return self.persist(event).reply(lambda item: item.quantity)

    @query
    def level(self) -> int:
        return self.quantity

    @on(Received)  # the only places where state changes
    def received(self, event: Received) -> None:
        self.quantity += event.quantity

    @on(Taken)
    def taken(self, event: Taken) -> None:
        self.quantity = event.left


@consumer("watch-levels", source=Item)
def watch_levels(event: Taken, ctx: Context) -> Effect[None] | None:
    """Tell everybody who listens to `alerts` that an item runs low."""
    if event.left >= LOW:
        return None
    return publish(alerts, RanLow(item=ctx.subject, left=event.left))


@component("stock")
class Stock(View):
    """All items, one row each."""

    class Row(Record):
        item: str
        quantity: int = 0

    @on(Item)
    def changed(self, event: Received | Taken, row: Row | None, ctx: Context) -> Row:
        row = row or self.Row(item=ctx.subject)
        match event:
            case Received():
                row.quantity += event.quantity
            case Taken():
                row.quantity = event.left
        return row

    @query("SELECT * FROM stock WHERE quantity < :limit ORDER BY item")
    def below(self, limit: int) -> list[Row]: ...


service = Service("PROJECT_NAME", components=[Item, watch_levels, Stock], topics=[alerts])
