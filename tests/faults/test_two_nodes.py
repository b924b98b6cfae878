"""Two nodes as operators run them, on PostgreSQL and NATS: one is killed, nothing is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from eventmill.runtime.cluster import LEASE_SECONDS
from eventmill.testing.nats_server import NatsServer
from eventmill.testing.postgres import Server
from tests.faults.process import NodeProcess

CARTS = 40
TAKEOVER_SECONDS = LEASE_SECONDS + 3


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[NatsServer]:
    server = NatsServer(tmp_path / "nats")
    await server.start()
    yield server
    server.stop()


async def add(http: aiohttp.ClientSession, node: NodeProcess, cart: int, sku: str) -> int:
    url = f"{node.url}/components/cart/c{cart}/add_item"
    async with http.post(url, json={"sku": sku, "quantity": 1}) as response:
        await response.read()
        return response.status


async def content(http: aiohttp.ClientSession, node: NodeProcess, cart: int) -> dict[str, int]:
    async with http.get(f"{node.url}/components/cart/c{cart}/content") as response:
        assert response.status == 200, await response.text()
        found: dict[str, int] = await response.json()
        return found


async def forwarded(nodes: list[NodeProcess]) -> None:
    """Wait until both nodes hold shards."""
    async with asyncio.timeout(30):
        while not all(b"shard taken" in node.log.read_bytes() for node in nodes):  # noqa: ASYNC110 - other processes
            await asyncio.sleep(0.05)


async def test_a_killed_nodes_work_is_taken_over_and_nothing_is_lost(
    tmp_path: Path, postgres: Server, broker: NatsServer
) -> None:
    dsn = await postgres.fresh(16)
    nodes = [
        NodeProcess.free(
            "examples.shopping_cart.shop:service",
            tmp_path / name / "data",
            *("--store", dsn, "--broker", broker.url, "--node", name, "--log", "json"),
        )
        for name in ("a", "b")
    ]
    for node in nodes:
        node.log.parent.mkdir()
    try:
        async with aiohttp.ClientSession() as http:
            for node in nodes:
                await node.start()
                await node.ready(http)
            await forwarded(nodes)
            answers = [await add(http, nodes[n % 2], n // 2, "before") for n in range(2 * CARTS)]
            assert answers == [200] * (2 * CARTS)
            await nodes[0].kill()
            killed = time.monotonic()
            calls = [add(http, nodes[1], n, "after") for n in range(CARTS)]
            assert await asyncio.gather(*calls) == [200] * CARTS
            assert time.monotonic() - killed < TAKEOVER_SECONDS
            for cart in range(CARTS):
                assert await content(http, nodes[1], cart) == {"before": 2, "after": 1}
    finally:
        for node in nodes:
            await node.discard()
