"""Three nodes on PostgreSQL and NATS are restarted one by one under load, then replaced one by one by
the next version of the service, and by the one after that: nothing is lost, nothing is there twice,
and no command waits long.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path

import aiohttp
import msgspec
import pytest

from eventmill.model.entry import Entry
from eventmill.testing.nats_server import NatsServer
from eventmill.testing.postgres import Server
from tests.faults.cluster import Clients, Cluster, Links, journal, problems, tenures
from tests.faults.figures import Report
from tests.faults.history import Append
from tests.faults.process import NodeProcess

WORKERS = 8
WAIT_SECONDS = 2.0
"""No command waits longer for its acknowledgement, whatever is stopped or started."""
BETWEEN = 400
"""Acknowledged operations between two restarts."""
SHARDS = 16
NOW = "tests.faults.vault:service"
NEXT = "tests.faults.vault_next:service"
LATER = "tests.faults.vault_later:service"


@pytest.fixture
def database() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with NatsServer(tmp_path / "nats") as server:
        yield server


class Direct(Cluster):
    """Nodes that reach the servers without a valve in this process, whose time would count as theirs."""

    def _node(self, name: str, links: Links) -> NodeProcess:
        node = super()._node(name, links)
        servers = ("--store", self.database.dsn(), "--broker", self.broker.url)
        node.options = (*servers, "--node", name, "--log", "json")
        return node


class Roll:
    """Restarts nodes, and tells what clients noticed."""

    def __init__(self, cluster: Cluster, clients: Clients, http: aiohttp.ClientSession) -> None:
        self.cluster = cluster
        self.clients = clients
        self.http = http
        self.restarts = 0
        self.told: list[str] = []

    async def over_all(self, target: str) -> None:
        """Restart every node, with that version of the service."""
        began, failures = asyncio.get_running_loop().time(), self.clients.failures
        for node in self.cluster.nodes:
            await self.clients.reached(self.clients.acknowledged + BETWEEN)
            await self._restart(node, target)
        await self.clients.reached(self.clients.acknowledged + BETWEEN)
        waits = sorted(waits_of(self.clients.sent.values(), began))
        self.told.append(
            f"{target}: {len(waits)} commands, {self.clients.failures - failures} attempts refused, "
            f"waited at most {waits[-1]:.2f} s, 99.9 % {waits[len(waits) * 999 // 1000]:.2f} s; "
            f"load {os.getloadavg()[0]:.1f}"
        )

    async def _restart(self, node: NodeProcess, target: str) -> None:
        others = [other for other in self.cluster.nodes if other is not node]
        before, taken = node.process.pid, sum(map(self.cluster.taken, others))
        await node.stop()
        await self._shared_by(len(others))
        await _until(lambda: sum(map(self.cluster.taken, others)) > taken, "others take its shards")
        node.target = target
        before_it = self.cluster.taken(node)
        await node.start()
        await node.ready(self.http)
        await self._shared_by(len(others) + 1)
        await _until(lambda: self.cluster.taken(node) > before_it, "it takes shards")
        assert node.process.pid != before
        self.restarts += 1

    async def _shared_by(self, nodes: int) -> None:
        """Wait until all shards are shared out to so many nodes."""
        most = -(-SHARDS // nodes)
        async with asyncio.timeout(30):
            while True:
                rows = await self.cluster.database.fetch(
                    "SELECT owner, count(*) FROM eventmill.shard JOIN eventmill.member ON node = owner "
                    f"WHERE shard < {SHARDS} GROUP BY owner"
                )
                held = [count for _, count in rows]
                if len(held) == nodes and sum(held) == SHARDS and max(held) <= most:
                    return
                await asyncio.sleep(0.05)


async def _until(condition: Callable[[], bool], what: str) -> None:
    """Wait until the logs tell it: they are written after it is so."""
    try:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - other processes
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"it never came to this: {what}") from None


def waits_of(sent: Iterable[Append], since: float) -> list[float]:
    """How long commands waited for their acknowledgement."""
    return [a.ended - a.began for a in sent if a.ended is not None and a.began >= since]


def transfers_of(entries: list[Entry]) -> list[float]:
    """How long each payment was on its way, by the consumer, to the other vault."""
    paid: dict[str, int] = {}
    received: dict[str, int] = {}
    for entry in entries:
        if entry.type in ("Paid", "Received"):
            op = msgspec.json.decode(entry.payload)["op"]
            (paid if entry.type == "Paid" else received)[op] = entry.time
    return [(received[op] - time) / 1e6 for op, time in paid.items()]


@pytest.mark.soak
@pytest.mark.timeout(0)
async def test_rolling_restart_and_update(
    tmp_path: Path, database: Server, broker: NatsServer, report: Report
) -> None:
    cluster = Direct(tmp_path, database, broker, "abc")
    over = asyncio.Event()
    try:
        async with aiohttp.ClientSession() as http:
            await cluster.start(http)
            clients = Clients(cluster, http, seed=1)
            roll = Roll(cluster, clients, http)
            async with asyncio.TaskGroup() as group:
                for _ in range(WORKERS):
                    group.create_task(clients.run(over))
                await roll.over_all(NOW)
                await roll.over_all(NEXT)
                await roll.over_all(LATER)
                over.set()
            rows = await clients.settled()
        await cluster.stop()
        entries, ends = await journal(database.dsn())
        epochs = await tenures(database)
    finally:
        await cluster.discard()
    for line in roll.told:
        report(line)
    versions = Counter(entry.version for entry in entries if entry.type == "Received")
    assert versions.keys() == {1, 2}
    report(f"payments were on their way for at most {max(transfers_of(entries)):.2f} s")
    assert problems(clients, entries, ends, epochs, rows) == []
    assert roll.restarts == 3 * len(cluster.nodes)
    assert clients.acknowledged == len(clients.sent)
    assert len({epoch for (shard, _), epoch in epochs.items()}) > 2  # shards have moved
    assert max(waits_of(clients.sent.values(), 0.0)) <= WAIT_SECONDS
