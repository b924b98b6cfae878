"""Views as a service's author sees them: rows follow events, exactly, through crashes too."""

from __future__ import annotations

from eventmill.testing import FaultyStore, Host
from examples.shopping_cart.shop import Cart, OpenCarts, service


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
