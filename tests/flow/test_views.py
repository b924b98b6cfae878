"""Views as a service's author sees them: rows follow events, exactly, through crashes too."""

from __future__ import annotations

from datetime import timedelta

from eventmill import Context, Record, Service, View, component, on, query
from eventmill.testing import FaultyStore, Host
from examples.shopping_cart.shop import Cart, ItemAdded, OpenCarts, service


async def carts(host: Host, minimum: int = 0) -> list[tuple[str, int]]:
    rows = await host.query(OpenCarts.larger_than, minimum=minimum)
    return [(row.cart_id, row.items) for row in rows]


async def test_a_query_answers_typed_rows(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        for id, quantity in (("a", 1), ("b", 5), ("a", 2)):
            await host.call(Cart.add_item, id, sku="x", quantity=quantity)
        assert await carts(host) == [("b", 5), ("a", 3)]
        assert await carts(host, minimum=4) == [("b", 5)]
        await host.call(Cart.check_out, "b")
        assert await carts(host) == [("a", 3)]


async def test_rows_count_every_event_once_whatever_fails(store: FaultyStore) -> None:
    def writes_rows(commit: object) -> bool:
        return bool(commit.rows)  # type: ignore[attr-defined]

    async with Host(service, store=store) as host:
        total = 0
        for round, when in enumerate(("before", "after", "before", "after")):
            store.fail(when=when, matching=writes_rows)  # type: ignore[arg-type]
            await host.call(Cart.add_item, "a", sku="x", quantity=10**round)
            total += 10**round
            if round >= 2:
                await host.settle()
                await host.restart(crash=True)
            assert await carts(host) == [("a", total)]
    assert store.injected == 4


async def test_a_row_whose_retry_was_not_committed_is_folded_from_what_is_stored(
    store: FaultyStore,
) -> None:
    broken = True

    @component("sums")
    class Sums(View):
        class Row(Record):
            cart_id: str
            items: int = 0

        @on(Cart)
        def changed(self, event: ItemAdded, row: Row | None, ctx: Context) -> Row | None:
            if broken:
                raise RuntimeError("not now")
            return self.Row(cart_id=ctx.subject, items=(row.items if row else 0) + event.quantity)

        @query("SELECT * FROM sums")
        def all(self) -> list[Row]: ...

    async with Host(Service("s", components=[Cart, Sums]), store=store) as host:
        await host.call(Cart.add_item, "a", sku="x", quantity=1)
        await host.settle()
        broken = False
        store.fail(matching=lambda commit: bool(commit.rows))
        while not store.injected:
            await host.advance(timedelta(milliseconds=50))
        await host.call(Cart.add_item, "a", sku="x", quantity=10)  # is parked behind it
        await host.settle(retries=True)
        assert [row.items for row in await host.query(Sums.all)] == [11]
