"""Two services for one process: a shop whose orders an inventory reserves, and whose view follows it."""

from __future__ import annotations

from eventmill import (
    Context,
    Effect,
    Event,
    EventSourcedEntity,
    Record,
    Service,
    ServiceStream,
    Topic,
    View,
    command,
    component,
    consumer,
    on,
    query,
    send,
    stream,
)


class Placed(Event):
    order: str
    sku: str


class Reserved(Event):
    order: str


class Restocked(Event):
    quantity: int


class StockChanged(Event):
    delta: int


class Billed(Event):
    pass


orders = Topic("orders", Placed, key="order")


@component("order")
class Order(EventSourcedEntity):
    billed: int = 0

    @command
    def bill(self) -> Effect[int]:
        return self.persist(Billed()).reply(lambda order: order.billed)

    @query
    def times_billed(self) -> int:
        return self.billed

    @on(Billed)
    def was_billed(self, event: Billed) -> None:
        self.billed += 1


@component("levels")
class Levels(View):
    class Row(Record):
        sku: str
        left: int = 0
        changes: int = 0

    @on(ServiceStream("inventory", "stock-changes"))
    def changed(self, event: StockChanged, row: Row | None, ctx: Context) -> Row:
        row = row or self.Row(ctx.subject)
        row.left += event.delta
        row.changes += 1
        return row

    @query("SELECT * FROM levels ORDER BY sku")
    def all(self) -> list[Row]: ...


shop = Service("shop", components=[Order, Levels], topics=[orders])


@component("stock")
class Stock(EventSourcedEntity):
    taken: dict[str, int] = {}

    @command
    def restock(self, quantity: int) -> Effect[None]:
        return self.persist(Restocked(quantity))

    @command
    def reserve(self, order: str) -> Effect[None]:
        return self.persist(Reserved(order))

    @query
    def reserved(self) -> dict[str, int]:
        return self.taken

    @on(Restocked)
    def restocked(self, event: Restocked) -> None:
        pass

    @on(Reserved)
    def was_reserved(self, event: Reserved) -> None:
        self.taken[event.order] = self.taken.get(event.order, 0) + 1


@stream("stock-changes", source=Stock)
def stock_changes(event: Restocked | Reserved) -> StockChanged | None:
    match event:
        case Restocked(quantity):
            return StockChanged(quantity)
        case Reserved():
            return StockChanged(-1)


placed = Topic("orders", Placed, key="order", service="shop")


@consumer("reserver", source=placed)
def reserve(event: Placed) -> Effect[None]:
    return send(Stock.reserve, event.sku, event.order)


@consumer("biller", source=placed)
async def bill(event: Placed, ctx: Context) -> None:
    await ctx.service("shop").call(Order.bill, event.order)


inventory = Service("inventory", components=[Stock, stock_changes, reserve, bill], topics=[placed])
