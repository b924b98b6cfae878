"""Two services as operators run them, each on a database of its own with other shards, at one NATS
server: one follows the other's topic and knows nothing but its name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from eventmill import Client, Retry
from eventmill.cli.main import run
from eventmill.testing.nats_server import NatsServer
from eventmill.testing.postgres import Server
from examples.shopping_cart.shop import Cart, OrderPlaced, orders
from tests.faults.biller import Bill
from tests.faults.process import NodeProcess

KEYS = [f"o{number}" for number in range(24)]
LONG = 60.0
PATIENT = Retry(attempts=150, initial=0.2, factor=1.0)
TARGETS = {"shop": "examples.shopping_cart.shop:service", "billing": "tests.faults.biller:service"}


class System(NamedTuple):
    shop: NodeProcess
    billing: list[NodeProcess]
    broker: str


@pytest.fixture
async def system(tmp_path: Path, postgres: Server) -> AsyncIterator[System]:
    async with NatsServer(tmp_path / "nats") as broker:
        stores = {"shop": await postgres.fresh(6), "billing": await postgres.fresh(16)}
        nodes = []
        for service, name in (("shop", "a"), ("billing", "a"), ("billing", "b")):
            place = tmp_path / service / name
            place.mkdir(parents=True)
            options = ("--store", stores[service], "--broker", broker.url, "--node", name)
            node = NodeProcess.free(TARGETS[service], place / "data", *options, "--log", "json")
            nodes.append(node)
        try:
            yield System(nodes[0], nodes[1:], broker.url)
        finally:
            for node in nodes:
                await node.discard()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(LONG):
        while not await condition():  # noqa: ASYNC110 - other processes
            await asyncio.sleep(0.05)


async def test_a_topic_is_followed_by_name_whoever_starts_first_or_ends_meanwhile(
    system: System, capsys: pytest.CaptureFixture[str]
) -> None:
    shop, billing, broker = system

    async def are_billed(times: int) -> bool:
        return [await biller.call(Bill.times, key) for key in KEYS] == [times] * len(KEYS)

    async with (
        Client.of("shop", broker=broker, retry=PATIENT) as shopper,
        Client.of("billing", broker=broker, retry=PATIENT) as biller,
    ):
        for node in billing:
            await node.start()
        for node in billing:
            await node.announced()
        assert "no node of service 'shop' answers" in billing[0].log.read_text()
        await shop.start()
        await shop.announced()
        for key in KEYS:
            await shopper.call(Cart.add_item, key, sku="x", quantity=1)
            await shopper.call(Cart.check_out, key)
        await until(lambda: are_billed(1))
        await shop.kill()
        await billing[0].kill()
        await shop.start()
        placed = [OrderPlaced(order_id=key, items={}) for key in KEYS]
        await shopper.publish(orders, *placed)
        await until(lambda: are_billed(2))
        described = ["services", "describe", "billing", "--broker", broker]
        assert await asyncio.to_thread(run, described) == 0
        shown = " ".join(capsys.readouterr().out.split())
        assert "biller consumer follows shop/orders" in shown
        assert "orders shop OrderPlaced" in shown
