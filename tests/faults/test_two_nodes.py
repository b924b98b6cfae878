"""Two nodes as operators run them, on PostgreSQL and NATS: one is killed, nothing is lost."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from eventmill.runtime.cluster.cluster import LEASE_SECONDS
from eventmill.testing.nats_server import NatsServer
from eventmill.testing.postgres import Server
from tests.faults.process import NodeProcess

CARTS = 40
JSON = {"content-type": "application/json"}
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
        while not all(b"shards taken" in node.log.read_bytes() for node in nodes):  # noqa: ASYNC110 - other processes
            await asyncio.sleep(0.05)


@pytest.fixture
async def nodes(
    tmp_path: Path, postgres: Server, broker: NatsServer
) -> AsyncIterator[list[NodeProcess]]:
    """Two nodes that are ready and share the shards."""
    dsn = await postgres.fresh(16)
    nodes = [
        NodeProcess.free(
            "examples.shopping_cart.shop:service",
            tmp_path / name / "data",
            *("--store", dsn, "--broker", broker.url, "--node", name, "--log", "json"),
            *("--admin-port", "0"),
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
                await node.announced()
        await forwarded(nodes)
        yield nodes
    finally:
        for node in nodes:
            await node.discard()


async def test_a_killed_nodes_work_is_taken_over_and_nothing_is_lost(
    nodes: list[NodeProcess],
) -> None:
    async with aiohttp.ClientSession() as http:
        answers = [await add(http, nodes[n % 2], n // 2, "before") for n in range(2 * CARTS)]
        assert answers == [200] * (2 * CARTS)
        await nodes[0].kill()
        killed = time.monotonic()
        calls = [add(http, nodes[1], n, "after") for n in range(CARTS)]
        assert await asyncio.gather(*calls) == [200] * CARTS
        assert time.monotonic() - killed < TAKEOVER_SECONDS
        for cart in range(CARTS):
            assert await content(http, nodes[1], cart) == {"before": 2, "after": 1}


async def test_what_one_node_is_asked_holds_for_both(nodes: list[NodeProcess]) -> None:
    admins = [json.loads((node.data / "node.json").read_bytes())["admin_url"] for node in nodes]
    async with aiohttp.ClientSession() as http:

        async def ask(url: str, method: str = "GET", body: object = None) -> Any:
            async with http.request(method, url, json=body, headers=JSON) as response:
                assert response.status == 200, await response.text()
                return await response.json()

        async def told(path: str, expected: Callable[[Any], bool]) -> None:
            """Wait until both nodes tell the same."""
            async with asyncio.timeout(10):
                while not all([expected(await ask(admin + path)) for admin in admins]):  # noqa: ASYNC110 - other processes
                    await asyncio.sleep(0.02)

        consumer = "/consumers/order-publisher"
        assert (await ask(admins[0] + consumer + "/pause", "POST"))["paused"]
        await told(consumer, lambda status: bool(status["paused"]))
        assert [await add(http, nodes[n % 2], n, "x") for n in range(CARTS)] == [200] * CARTS
        await told(consumer, lambda status: status["end"] == status["lag"] == CARTS)
        await ask(admins[1] + consumer + "/resume", "POST")
        await told(consumer, lambda status: not status["paused"] and status["lag"] == 0)
        await ask(admins[0] + consumer + "/reset", "POST", {"to": "beginning"})
        assert (await ask(admins[0] + "/views/open-carts/rebuild", "POST"))["version"] == 2
        await told("/views", lambda views: views[0]["live"]["version"] == 2)
        for node in nodes:
            rows = await ask(f"{node.url}/views/open-carts/larger_than?minimum=1")
            assert len(rows) == CARTS
