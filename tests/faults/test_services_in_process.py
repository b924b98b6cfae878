"""kill -9 of a process that runs two services: what one published has its effects in the other once,
and what that makes public comes back once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp

from tests.faults.figures import Report
from tests.faults.process import NodeProcess, command

MARKET = "tests.cli.project.market"
PER_ROUND = 120
KILLS = 5


async def test_each_order_has_its_effects_once(tmp_path: Path, report: Report) -> None:
    data = tmp_path / "data"
    node = NodeProcess.free(f"{MARKET}:shop", data, f"{MARKET}:inventory")
    other = node.url.rpartition(":")
    inventory = f"{other[0]}:{int(other[2]) + 1}"
    ids: list[str] = []
    early: list[int] = []
    try:
        async with aiohttp.ClientSession() as http:
            await _start(node, inventory, http)
            for round in range(KILLS):
                # The kill comes while they are handled: at once, or some steps later.
                ids += await _publish(http, node.url, round)
                early += [len(ids) - len(await _reserved(http, inventory)) for _ in range(round)]
                await node.kill()
                await _start(node, inventory, http)
            while len(await _reserved(http, inventory)) < len(ids):
                pass
            assert await _reserved(http, inventory) == dict.fromkeys(ids, 1)
            expected = [{"sku": "apple", "left": -len(ids), "changes": len(ids)}]
            while (levels := await _get(http, f"{node.url}/views/levels/all")) != expected:
                assert levels[0]["changes"] <= len(ids), levels
            billed = [await _billed(http, node.url, id) for id in ids]
            assert billed == [1] * len(ids), "the calls of the other service had effects once"
            await node.stop()
    finally:
        await node.discard()
    report(f"{KILLS} kills, {len(ids)} orders; not reserved shortly before: {early}")
    assert any(early), "no kill met work under way"


async def _start(node: NodeProcess, inventory: str, http: aiohttp.ClientSession) -> None:
    await node.start()
    await node.ready(http)
    while True:
        try:
            async with http.get(f"{inventory}/health/ready") as response:
                if response.status == 200:
                    return
        except aiohttp.ClientError:
            assert node.running


async def _publish(http: aiohttp.ClientSession, url: str, round: int) -> list[str]:
    ids = [f"o{round}-{number}" for number in range(PER_ROUND)]
    events = [
        {
            "specversion": "1.0", "id": id, "source": "/tests", "type": "Placed",
            "subject": id, "data": {"order": id, "sku": "apple"},
        }
        for id in ids
    ]  # fmt: skip
    headers = {"content-type": "application/cloudevents-batch+json"}
    async with http.post(f"{url}/topics/orders", json=events, headers=headers) as response:
        assert response.status < 300, await response.text()
    return ids


async def _reserved(http: aiohttp.ClientSession, url: str) -> dict[str, int]:
    found: dict[str, int] = await _get(http, f"{url}/components/stock/apple/reserved")
    return found


async def _billed(http: aiohttp.ClientSession, url: str, id: str) -> Any:
    while True:
        _, count = await command(http, url, f"order/{id}/times_billed", {})
        if count:
            return count


async def _get(http: aiohttp.ClientSession, url: str) -> Any:
    async with http.get(url) as response:
        assert response.status == 200, await response.text()
        return await response.json()
