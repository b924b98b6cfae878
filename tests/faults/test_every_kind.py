"""Every kind of component on two nodes, PostgreSQL and NATS, one of which is killed on the way; and
beside them another service that follows the first one's stream, killed there too."""

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

TRANSFERS, HITS, ALARMS, GAUGES, HOURS, VISITS = 20, 40, 40, 6, 3, 40
PATIENCE_SECONDS = 60.0
"""Takeover, and what was interrupted runs again, on a loaded machine."""


Nodes = list[NodeProcess]
TARGETS = {"tests.faults.every_kind:service": 16, "tests.faults.guests:tallies": 6}
"""Each with its shards."""


@pytest.fixture
async def services(tmp_path: Path, postgres: Server) -> AsyncIterator[list[Nodes]]:
    """Both services, each on the nodes a and b."""
    broker = NatsServer(tmp_path / "nats")
    await broker.start()
    services: list[Nodes] = []
    for target, shards in TARGETS.items():
        options = ("--store", await postgres.fresh(shards), "--broker", broker.url, "--log", "json")
        places = {name: tmp_path / f"{shards}{name}" / "data" for name in "ab"}
        services.append(
            [
                NodeProcess.free(target, place, *options, "--node", name)
                for name, place in places.items()
            ]
        )
    nodes = [node for service in services for node in service]
    try:
        async with aiohttp.ClientSession() as http:
            for node in nodes:
                node.log.parent.mkdir()
                await node.start()
                await node.ready(http)
        yield services
    finally:
        for node in nodes:
            await node.discard()
        broker.stop()


class Caller:
    """Asks the nodes in turn, and tries again where an answer did not come."""

    def __init__(self, http: aiohttp.ClientSession, nodes: Nodes) -> None:
        self.nodes = list(nodes)
        self._http = http
        self._number = 0

    async def call(self, path: str, **arguments: Any) -> Any:
        return await self.post(f"components/{path}", **arguments)

    async def post(self, path: str, **arguments: Any) -> Any:
        self._number += 1
        url = f"{self.nodes[self._number % len(self.nodes)].url}/{path}"
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

    async def talk(self, guests: list[str]) -> list[int]:
        """Let guests in over a WebSocket; return how often each of them was here then."""
        async with self._http.ws_connect(f"{self.nodes[-1].url}/guests/desk") as desk:
            for guest in guests:
                await desk.send_str(guest)
            return [await desk.receive_json() for _ in guests]

    async def visits(self, guest: str, count: int) -> list[int]:
        """Follow a guest's visits, and go on elsewhere when the node that tells of them dies."""
        seen: list[int] = []
        while True:
            url, headers = f"{self.nodes[0].url}/guests/{guest}/visits", {}
            if seen:
                headers["last-event-id"] = str(seen[-1])
            try:
                async with self._http.get(url, headers=headers) as stream:
                    async for line in stream.content:
                        if line.startswith(b"data:"):
                            seen.append(int(line[5:]))
                            if len(seen) == count:
                                return seen
            except aiohttp.ClientError:
                await asyncio.sleep(0.1)

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


async def test_every_kind_goes_on_when_one_of_two_nodes_is_killed(services: list[Nodes]) -> None:
    nodes, others = services
    async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as group:
        caller, tallies = Caller(http, nodes), Caller(http, others)
        live = group.create_task(caller.visits("eve", VISITS))
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
            numbers = range(half * VISITS // 2 + 1, (half + 1) * VISITS // 2 + 1)
            for _ in numbers:
                await caller.post("guests/eve")
            assert await caller.talk(["mary" for _ in numbers]) == [*numbers]
            if half == 0:
                for asking, service in ((caller, nodes), (tallies, others)):
                    await service[0].kill()
                    asking.nodes.remove(service[0])
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
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await live == [*range(1, VISITS + 1)]
        for guest in ("eve", "mary"):
            counted = await tallies.until(f"tally/{guest}/content", lambda n: n >= VISITS)
            assert counted == await caller.call(f"guest/{guest}/count") == VISITS
