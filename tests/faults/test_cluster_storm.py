"""Three nodes on PostgreSQL and NATS; each of the five may die or freeze at any moment, and each node
may be cut off from the servers.

What must hold: nothing acknowledged is lost, nothing is there twice, no owner of the past writes,
and work goes on: within a lease and three seconds without the node, within five seconds after the
servers are back.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from eventmill.runtime.cluster.cluster import LEASE_SECONDS
from eventmill.testing.nats_server import NatsServer
from eventmill.testing.postgres import Server
from tests.faults.cluster import VAULTS, Clients, Cluster, journal, problems, tenures, unbounded
from tests.faults.figures import Report
from tests.faults.process import NodeProcess
from tests.faults.valve import Valve

WORKERS = 8
AT_ONCE = 100
TAKEOVER_SECONDS = LEASE_SECONDS + 3
HEALED_SECONDS = 5.0
HEALED_SHARE = 0.95
BETWEEN = 150
"""Acknowledged operations between two faults."""
UNDER_WAY_SECONDS = 1.0
"""After a cut, for answers that were on their way."""
CUT_SECONDS = 5.0
FAULTS = 7


@pytest.fixture
def database() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with NatsServer(tmp_path / "nats") as server:
        yield server


class Storm:
    """Does harm, and measures how soon the work goes on."""

    def __init__(self, cluster: Cluster, clients: Clients, http: aiohttp.ClientSession) -> None:
        self.cluster = cluster
        self.clients = clients
        self.http = http
        self.fired: Counter[str] = Counter()
        self.slowest: Counter[str] = Counter()
        """Milliseconds of the slowest command that had to be in time, by kind of fault."""

    def __str__(self) -> str:
        faults = ", ".join(f"{name} × {count}" for name, count in sorted(self.fired.items()))
        slowest = ", ".join(f"{name} {ms / 1e3:.1f} s" for name, ms in self.slowest.items())
        return (
            f"{faults}; {self.clients.acknowledged} operations acknowledged after "
            f"{self.clients.failures} attempts that were not; {len(self.clients.reads)} reads; "
            f"slowest: {slowest}"
        )

    async def round(self) -> None:
        """One fault of each kind, in any order."""
        faults = [
            self.kill_node,
            self.freeze_node,
            self.cut_off_node,
            self.cut_off_database,
            self.cut_off_broker,
            self.kill_database,
            self.kill_broker,
        ]
        self.clients.luck.shuffle(faults)
        for fault in faults:
            await self.clients.reached(self.clients.acknowledged + BETWEEN)
            await fault()

    async def kill_node(self) -> None:
        victim = self.clients.luck.choice(self.cluster.nodes)
        await victim.kill()
        self.fired["kill a node"] += 1
        await self._taken_over("kill a node", victim)
        await victim.start()
        await victim.ready(self.http)
        await self._healed("kill a node")

    async def freeze_node(self) -> None:
        victim = self.clients.luck.choice(self.cluster.nodes)
        os.kill(victim.process.pid, signal.SIGSTOP)
        before = self.clients.acknowledged
        asked = [asyncio.ensure_future(self.clients.append(first=victim)) for _ in range(AT_ONCE)]
        await self._taken_over("freeze a node", victim)
        assert self.clients.acknowledged > before
        assert not all(one.done() for one in asked), "the frozen node answered"
        os.kill(victim.process.pid, signal.SIGCONT)
        self.fired["freeze a node"] += 1
        await self._healed("freeze a node")
        await asyncio.gather(*asked)

    async def cut_off_node(self) -> None:
        """From both servers: it is a minority of one, and must acknowledge nothing."""
        victim = self.clients.luck.choice(self.cluster.nodes)
        links = self.cluster.links[victim.url]
        for valve in links:
            valve.shut()
        await asyncio.sleep(UNDER_WAY_SECONDS)
        acknowledged = self.clients.by[victim.url]
        asked = [asyncio.ensure_future(self.clients.append(first=victim)) for _ in range(AT_ONCE)]
        await self._taken_over("cut off a node", victim)
        assert self.clients.by[victim.url] == acknowledged, "a minority acknowledged commands"
        await self._open("cut off a node", *links)
        await asyncio.gather(*asked)

    async def cut_off_database(self) -> None:
        """A node loses PostgreSQL alone: the others take its shards, and it finds them there."""
        victim = self.clients.luck.choice(self.cluster.nodes)
        valve = self.cluster.links[victim.url].database
        valve.shut()
        await self._taken_over("cut off PostgreSQL", victim)
        await self._open("cut off PostgreSQL", valve)

    async def cut_off_broker(self) -> None:
        """A node loses NATS alone: it keeps its shards, and those who ask it itself are served."""
        victim = self.clients.luck.choice(self.cluster.nodes)
        valve = self.cluster.links[victim.url].broker
        valve.shut()
        await asyncio.sleep(CUT_SECONDS)
        await self._open("cut off NATS", valve)

    async def _open(self, what: str, *valves: Valve) -> None:
        assert all(valve.held_up for valve in valves), "nothing met the cut"
        for valve in valves:
            valve.open()
        self.fired[what] += 1
        await self._healed(what)

    async def kill_database(self) -> None:
        await asyncio.to_thread(self.cluster.database.crash, signal.SIGKILL)
        self.fired["kill PostgreSQL"] += 1
        await self._healed("kill PostgreSQL")

    async def kill_broker(self) -> None:
        self.cluster.broker.kill()
        self.fired["kill NATS"] += 1
        await self.cluster.broker.start()
        await self._healed("kill NATS")

    async def _taken_over(self, what: str, without: NodeProcess) -> None:
        """The others do all the work, soon enough."""
        others = [node for node in self.cluster.nodes if node is not without]
        times = await asyncio.gather(*(self.clients.append(nodes=others) for _ in range(AT_ONCE)))
        self._note(f"{what}, taken over", max(times))
        assert max(times) < TAKEOVER_SECONDS, f"{what}: taken over after {max(times):.1f} s"

    async def _healed(self, what: str) -> None:
        times = sorted(await asyncio.gather(*(self.clients.append() for _ in range(AT_ONCE))))
        late = times[round(HEALED_SHARE * AT_ONCE) - 1]
        self._note(f"{what}, healed", late)
        assert late < HEALED_SECONDS, f"{what}: 95 % of commands took up to {late:.1f} s"

    def _note(self, what: str, seconds: float) -> None:
        self.slowest[what] = max(self.slowest[what], round(1_000 * seconds))


@pytest.mark.soak  # the short form too, until a takeover is in time on a busy machine as well
@pytest.mark.timeout(0)
@pytest.mark.parametrize(("seconds", "operations"), [(0, 1_500), (300, 50_000)])
async def test_storm(
    tmp_path: Path,
    database: Server,
    broker: NatsServer,
    report: Report,
    seconds: int,
    operations: int,
) -> None:
    """At least one fault of each kind, for so long and so much work."""
    cluster = Cluster(tmp_path, database, broker, "abc")
    over = asyncio.Event()
    try:
        async with aiohttp.ClientSession(connector=unbounded()) as http:
            await cluster.start(http)
            clients = Clients(cluster, http, seed=operations)
            storm = Storm(cluster, clients, http)
            async with asyncio.TaskGroup() as group:
                for _ in range(WORKERS):
                    group.create_task(clients.run(over))
                end = asyncio.get_running_loop().time() + seconds
                rounds = 0
                while not rounds or asyncio.get_running_loop().time() < end:
                    await storm.round()
                    rounds += 1
                await clients.reached(operations)
                over.set()
            rows = await clients.settled()
        await cluster.stop()
        entries, ends = await journal(database.dsn())
        epochs = await tenures(database)
    finally:
        await cluster.discard()
    report(storm)
    assert problems(clients, entries, ends, epochs, rows) == []
    assert set(storm.fired.values()) == {rounds}
    assert len(storm.fired) == FAULTS
    assert clients.failures > 0  # the faults met work under way
    assert clients.acknowledged == len(clients.sent) >= operations
    assert len(set(epochs.values())) > 1  # shards have moved
    assert {entry.subject for entry in entries if entry.source == "vault"} == set(VAULTS)
