"""A node that is killed: followers go on where they were, repeated requests take effect once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp

from eventmill import Client, Retry
from eventmill.errors import Unavailable
from tests.endpoints.shop import Cart
from tests.faults.process import NodeProcess

KILLS = 2
PER_LIFE = 20
PATIENT = Retry(attempts=1_000, initial=0.01, maximum=0.1)


async def test_a_follower_sees_every_event_once_over_kills(tmp_path: Path) -> None:
    node = NodeProcess.free("tests.endpoints.shop:service", tmp_path / "data")
    seen: list[int] = []

    async def follow(client: Client) -> None:
        async for change in client.changes(Cart, "c1", after=0):
            seen.append(change.sequence)
            if change.event.sku == "last":
                return

    async def add(http: aiohttp.ClientSession, sku: str, key: str) -> None:
        """Post to the endpoint until it is done, as a caller does who has a key."""
        while True:
            headers = {"Idempotency-Key": key}
            path = f"{node.url}/shop/carts/c1/items"
            try:
                async with http.post(path, json={"sku": sku}, headers=headers) as answer:
                    if answer.status == 201:
                        return
            except (aiohttp.ClientError, Unavailable):
                await asyncio.sleep(0.01)

    async def kill() -> None:
        for life in range(1, KILLS + 1):
            while len(seen) < life * PER_LIFE:  # noqa: ASYNC110 - filled by a client
                await asyncio.sleep(0.01)
            await node.kill()
            await node.start()

    try:
        await node.start()
        async with (
            aiohttp.ClientSession() as http,
            Client(node.url, retry=PATIENT) as client,
            asyncio.TaskGroup() as group,
        ):
            await node.ready(http)
            group.create_task(follow(client))
            killing = group.create_task(kill())
            number = 0
            while not killing.done():
                number += 1
                await add(http, "tea", f"key-{number}")
            await add(http, "last", "last")
        async with Client(node.url) as client:
            assert await client.call(Cart.content, "c1") == {"tea": number, "last": 1}
        assert seen == list(range(1, number + 2))
    finally:
        await node.discard()
