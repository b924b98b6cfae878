"""Two nodes as operators run them: a topic in JetStream, published through one, followed through both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import msgspec
import pytest

from eventmill.testing.nats_server import NatsServer
from eventmill.testing.postgres import Server
from tests.faults.process import NodeProcess

KEYS = [f"o{number}" for number in range(24)]
LONG = 60.0


@pytest.fixture
async def nodes(tmp_path: Path, postgres: Server) -> AsyncIterator[list[NodeProcess]]:
    async with NatsServer(tmp_path / "nats") as broker:
        dsn = await postgres.fresh(16)
        nodes = [
            NodeProcess.free(
                "examples.shopping_cart.shop:service",
                tmp_path / name / "data",
                *("--store", dsn, "--broker", broker.url, "--node", name, "--log", "json"),
            )
            for name in ("a", "b")
        ]
        try:
            for node in nodes:
                node.log.parent.mkdir()
                await node.start()
            yield nodes
        finally:
            for node in nodes:
                await node.discard()


async def publish(http: aiohttp.ClientSession, node: NodeProcess, key: str) -> None:
    event = {
        "specversion": "1.0",
        "id": key,
        "source": "/test",
        "type": "OrderPlaced",
        "subject": key,
        "data": {"order_id": key, "items": {"x": 1}},
    }
    headers = {"content-type": "application/cloudevents+json"}
    body = msgspec.json.encode(event)
    async with http.post(f"{node.url}/topics/orders", data=body, headers=headers) as response:
        assert response.status == 202, await response.text()


async def followed(http: aiohttp.ClientSession, node: NodeProcess, count: int) -> list[str]:
    """The keys of a topic's first events, as a node streams them."""
    found: list[str] = []
    async with http.get(f"{node.url}/topics/orders?from=beginning") as response:
        async for line in response.content:
            if line.startswith(b"data: "):
                found.append(msgspec.json.decode(line[6:])["subject"])
                if len(found) == count:
                    return found
    raise AssertionError(f"the stream ended after {len(found)} events")


async def test_a_topic_is_whole_on_every_node(nodes: list[NodeProcess]) -> None:
    async with aiohttp.ClientSession() as http, asyncio.timeout(LONG):
        for node in nodes:
            await node.ready(http)
        streams = [asyncio.ensure_future(followed(http, node, len(KEYS))) for node in nodes]
        for number, key in enumerate(KEYS):
            await publish(http, nodes[number % 2], key)
        for stream in streams:
            assert sorted(await stream) == sorted(KEYS)
