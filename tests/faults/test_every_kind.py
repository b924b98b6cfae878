"""Every kind of component on two nodes, PostgreSQL and NATS, one of which is killed on the way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from eventmill.testing.nats_server import NatsServer
from eventmill.testing.postgres import Server
from tests.faults.process import NodeProcess
from tests.faults.tides import measured

pytestmark = [pytest.mark.soak, pytest.mark.timeout(0)]

TRANSFERS, HITS, ALARMS, GAUGES, HOURS = 20, 40, 40, 6, 3
PATIENCE_SECONDS = 60.0
"""Takeover, and what was interrupted runs again, on a loaded machine."""


@pytest.fixture
async def nodes(tmp_path: Path, postgres: Server) -> AsyncIterator[list[NodeProcess]]:
    dsn, broker = await postgres.fresh(16), NatsServer(tmp_path / "nats")
    await broker.start()
    nodes = [
        NodeProcess.free(
            "tests.faults.every_kind:service",
            tmp_path / name / "data",
            *("--store", dsn, "--broker", broker.url, "--node", name, "--log", "json"),
        )
        for name in ("a", "b")
    ]
    try:
        async with aiohttp.ClientSession() as http:
            for node in nodes:
                node.log.parent.mkdir()
                await node.start()
                await node.ready(http)
        yield nodes
    finally:
        for node in nodes:
            await node.discard()
        broker.stop()


class Caller:
    """Asks the nodes in turn, and tries again where an answer did not come."""

    def __init__(self, http: aiohttp.ClientSession, nodes: list[NodeProcess]) -> None:
        self.nodes = list(nodes)
        self._http = http
        self._number = 0

    async def call(self, path: str, **arguments: Any) -> Any:
        self._number += 1
        url = f"{self.nodes[self._number % len(self.nodes)].url}/components/{path}"
        headers = {"idempotency-key": f"{path}-{self._number}"}
        while True:
            async with self._http.post(url, json=arguments, headers=headers) as answer:
                if answer.status not in (429, 503, 504):
                    assert answer.status in (200, 409), await answer.text()
                    return await answer.json()
            await asyncio.sleep(0.1)

    async def measure(self, gauge: int, number: int, minute: int) -> None:
        data = {"gauge": f"g{gauge}", "number": number, "minute": minute}
        headers = {
            "ce-specversion": "1.0",
            "ce-type": "Measured",
            "ce-source": "/test",
            "ce-id": f"{gauge}-{number}",
            "ce-subject": f"g{gauge}",
        }
        url = f"{self.nodes[number % len(self.nodes)].url}/topics/{measured.id}"
        async with self._http.post(url, json=data, headers=headers) as answer:
            assert answer.status == 202, await answer.text()

    async def messages(self, topic: str, count: int) -> list[Any]:
        """Read a topic from its beginning."""
        found: list[Any] = []
        url = f"{self.nodes[0].url}/topics/{topic}?from=beginning"
        async with asyncio.timeout(PATIENCE_SECONDS), self._http.get(url) as stream:
            async for line in stream.content:
                if line.startswith(b"data:") and len(line) > len(b"data: \n"):
                    found.append(json.loads(line[5:])["data"])
                    if len(found) == count:
                        break
        return found

    async def until(self, path: str, is_so: Callable[[Any], bool]) -> Any:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not is_so(found := await self.call(path)):  # noqa: ASYNC110 - other processes
                await asyncio.sleep(0.1)
        return found


async def test_every_kind_goes_on_when_one_of_two_nodes_is_killed(
    nodes: list[NodeProcess],
) -> None:
    async with aiohttp.ClientSession() as http:
        caller = Caller(http, nodes)
        await caller.call("wallet/ann/deposit", amount=1_000)
        await caller.call(
            "bell/door/set", prefix="x", count=ALARMS, first=1.0, step=0.3, action=True
        )
        for half in range(2):
            for n in range(half * TRANSFERS // 2, (half + 1) * TRANSFERS // 2):
                start = {"source": "ann", "target": "bob", "amount": 10}
                await caller.call(f"transfer/t{n}/start", **start)
            for _ in range(HITS // 2):
                await caller.call("player/ann/hit", weapon="bow", points=1)
            for gauge in range(GAUGES):
                for minute in range(half * HOURS * 30, (half + 1) * HOURS * 30, 10):
                    await caller.measure(gauge, minute // 10, minute)
            if half == 0:
                await nodes[0].kill()
                caller.nodes.remove(nodes[0])
        for n in range(TRANSFERS):
            await caller.until(f"transfer/t{n}/content", lambda told: "done" in str(told))
        left, got = await caller.call("wallet/ann/content"), await caller.call("wallet/bob/content")
        assert (left, got) == ([1_000 - 10 * TRANSFERS, 0], [10 * TRANSFERS, 0])
        assert await caller.until("player/ann/score", lambda score: score == HITS) == HITS
        rung = await caller.until("bell/door/content", lambda rung: len(rung) >= ALARMS)
        assert sorted(name for name, _ in rung) == sorted(f"x-{n}" for n in range(ALARMS))
        assert all(late >= 0 for _, late in rung)
        ticks = [name for name, _ in await caller.call("bell/seconds/content")]
        assert len(ticks) == len(set(ticks)) > 0
        hours = await caller.messages("collected", GAUGES * (HOURS - 1))
        assert len({(hour["gauge"], hour["start"]) for hour in hours}) == GAUGES * (HOURS - 1)
        assert all(len(hour["numbers"]) == 6 for hour in hours)
