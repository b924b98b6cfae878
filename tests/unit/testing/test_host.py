"""The host and its probes: what they wait for, and how their failures read."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from eventmill import ConfigurationError, Context, Effect, Retry, Service, Topic, consumer, send
from eventmill.adapters.memory.store import Store
from eventmill.testing import FaultyStore, Host
from examples.shopping_cart.shop import Cart, CheckedOut, OrderPlaced, orders, place_order, service


@consumer("clumsy", source=Cart, retry=Retry(attempts=1))
def clumsy(event: CheckedOut) -> Effect[None]:
    raise ValueError("dropped it")


@consumer("confirmer", source=orders)
async def confirmer(event: OrderPlaced, ctx: Context) -> None:
    await ctx.call(Cart.content, event.order_id)


async def order(host: Host, id: str = "c1") -> None:
    await host.call(Cart.add_item, id, sku="x", quantity=1)
    await host.call(Cart.check_out, id)


async def test_a_probe_returns_typed_events_and_uses_them_up() -> None:
    async with Host(service) as host:
        placed = host.probe(orders)
        await order(host)
        event = await placed.expect_one(OrderPlaced)
        assert event.order_id == "c1"
        assert placed.entries[0].subject == "c1"
        await placed.expect_none()
        await order(host, "c2")
        await order(host, "c3")
        assert [e.order_id for e in await placed.expect_n(2, OrderPlaced)] == ["c2", "c3"]


async def test_a_probe_sees_only_what_comes_after_it() -> None:
    async with Host(service) as host:
        await order(host)
        await host.settle()
        await host.probe(orders).expect_none()


async def test_a_failed_expectation_shows_what_came_instead() -> None:
    async with Host(service) as host:
        placed = host.probe(orders)
        await order(host)
        await order(host, "c2")
        with pytest.raises(AssertionError) as failed:
            await placed.expect_one(OrderPlaced)
        assert str(failed.value).splitlines() == [
            "expected 1 OrderPlaced on topic 'orders', got 2:",
            "  c1: OrderPlaced(order_id='c1', items={'x': 1})",
            "  c2: OrderPlaced(order_id='c2', items={'x': 1})",
        ]


async def test_a_failed_expectation_points_at_parked_letters() -> None:
    async with Host(Service("shop", components=[Cart, clumsy], topics=[orders])) as host:
        placed = host.probe(orders)
        await order(host)
        with pytest.raises(AssertionError) as failed:
            await placed.expect_one(OrderPlaced)
        assert str(failed.value).splitlines() == [
            "expected 1 OrderPlaced on topic 'orders', got nothing",
            "letters are parked, which may be why:",
            "  clumsy at cart/c1, dead, attempt 1: dropped it",
        ]


async def test_settle_waits_for_handlers_that_await_the_outside_world() -> None:
    done = list[str]()

    @consumer("slow", source=Cart)
    async def slow(event: CheckedOut) -> None:
        await asyncio.to_thread(lambda: None)
        loop = asyncio.get_running_loop()
        answered = loop.create_future()
        loop.call_later(0.02, answered.set_result, None)
        await answered
        done.append("outside")

    async with Host(Service("shop", components=[Cart, slow])) as host:
        before = host.clock.now()
        await order(host)
        await host.settle()
        assert done == ["outside"]
        assert host.clock.now() == before, "real waits do not move the virtual clock"


async def test_settle_says_what_does_not_come_to_an_end() -> None:
    never = asyncio.Event()

    @consumer("stuck", source=Cart)
    async def stuck(event: CheckedOut) -> None:
        await never.wait()

    async with Host(Service("shop", components=[Cart, stuck]), patience=0.05) as host:
        await order(host)
        with pytest.raises(AssertionError, match=r"not settled in 0\.05 s: .*stuck"):
            await host.settle()
        never.set()


async def test_settle_goes_through_the_waits_after_failed_commits() -> None:
    store = FaultyStore(Store())
    async with Host(service, store=store) as host:
        placed = host.probe(orders)
        for nth in (1, 2):
            store.fail(nth, matching=lambda commit: bool(commit.offsets))
        await order(host)
        await placed.expect_one(OrderPlaced)
        await host.call(Cart.add_item, "c2", sku="tea", quantity=1)
        await host.settle()
        assert store.injected == 2


async def test_advance_over_months_is_quick_and_exact() -> None:
    async with Host(service) as host:
        start = host.clock.time
        await host.advance(timedelta(days=400))
        assert host.clock.time == start + timedelta(days=400)


async def test_a_service_with_problems_lists_them() -> None:
    broken = Service("shop", components=[confirmer, place_order])
    with pytest.raises(ConfigurationError) as refused:
        async with Host(broken):
            pass
    assert "its source 'orders' is not part of service" in str(refused.value)
    assert "its source 'cart' is not part of service" in str(refused.value)


async def test_a_loop_that_ended_fails_the_test() -> None:
    async def broken() -> None:
        raise RuntimeError("a defect of the platform")

    host = await Host(service).__aenter__()
    host.runtime.supervisor.start("broken", broken())
    await host.settle()
    with pytest.raises(AssertionError, match="loop 'broken' of the node ended by an error"):
        await host.__aexit__(None, None, None)


def test_a_host_that_is_not_running_says_so() -> None:
    with pytest.raises(AssertionError, match="use `async with Host"):
        _ = Host(service).runtime


theirs = Topic("parcels", OrderPlaced, key="order_id", service="post")


@consumer("unpacker", source=theirs)
def unpack(event: OrderPlaced) -> Effect[None]:
    return send(Cart.add_item, event.order_id, "parcel", 1)


async def test_what_another_service_publishes_is_the_tests_to_publish() -> None:
    following = Service("shop", components=[Cart, unpack], topics=[theirs])
    async with Host(following) as host:
        await host.publish(theirs, OrderPlaced(order_id="c1", items={}))
        await host.settle()
        assert await host.call(Cart.content, "c1") == {"parcel": 1}
