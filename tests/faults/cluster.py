"""Several nodes on PostgreSQL and NATS, and clients that know what they were told.

A client sends an operation under a key, to any node, until somebody acknowledges it: what is
recorded is when it was sent first and when it was acknowledged. A trigger in the database notes
under which epoch each position was written, whatever the nodes believe.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import msgspec

from eventmill.adapters.postgres.store import Store
from eventmill.model.entry import Entry
from eventmill.testing.nats_server import NatsServer
from eventmill.testing.postgres import Server
from tests.faults import history
from tests.faults.history import Append, Movement, Read, Written
from tests.faults.process import NodeProcess, command
from tests.faults.valve import Valve
from tests.faults.vault import START

VAULTS = [f"v{number}" for number in range(40)]
TRIES_SECONDS = 20.0
NOTE_EPOCHS = """
CREATE TABLE public.tenure (shard integer, position bigint, epoch bigint);
CREATE FUNCTION public.note_tenure() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.tenure
    SELECT NEW.shard, NEW.position, epoch FROM eventmill.shard WHERE shard = NEW.shard;
    RETURN NULL;
END $$;
CREATE TRIGGER note_tenure AFTER INSERT ON eventmill.entry
FOR EACH ROW WHEN (NEW.sequence > 0) EXECUTE FUNCTION public.note_tenure();
"""


class Links(NamedTuple):
    """A node's ways to the servers."""

    database: Valve
    broker: Valve


class Cluster:
    """Its processes; every fault ends with all of them running again."""

    def __init__(self, folder: Path, database: Server, broker: NatsServer, names: str) -> None:
        self.database = database
        self.broker = broker
        self.nodes: list[NodeProcess] = []
        self.links: dict[str, Links] = {}
        """By the node's address."""
        self._folder = folder
        self._names = names

    async def start(self, http: aiohttp.ClientSession) -> None:
        for name in self._names:
            links = Links(Valve(self._reach_database), Valve(self._reach_broker))
            for valve in links:
                await valve.start()
            node = self._node(name, links)
            self.links[node.url] = links
            self.nodes.append(node)
            await node.start()
            await node.ready(http)
            if node is self.nodes[0]:
                await self.database.execute(NOTE_EPOCHS)
        async with asyncio.timeout(30):
            while not all(self.taken(node) for node in self.nodes):  # noqa: ASYNC110 - processes
                await asyncio.sleep(0.05)

    def _node(self, name: str, links: Links) -> NodeProcess:
        store = f"postgresql://postgres@127.0.0.1:{links.database.port}/postgres"
        broker = f"nats://127.0.0.1:{links.broker.port}"
        folder = self._folder / name
        folder.mkdir()
        return NodeProcess.free(
            "tests.faults.vault:service",
            folder / "data",
            *("--store", store, "--broker", broker, "--node", name, "--log", "json"),
        )

    async def _reach_database(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(self.database.directory / ".s.PGSQL.5432")

    async def _reach_broker(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.broker.port)

    def taken(self, node: NodeProcess) -> int:
        """How often it has taken a shard."""
        return node.log.read_bytes().count(b"shards taken")

    async def stop(self) -> None:
        for node in self.nodes:
            await node.stop()

    async def discard(self) -> None:
        for node in self.nodes:
            if node.running:
                os.kill(node.process.pid, signal.SIGCONT)
            await node.discard()
        for links in self.links.values():
            for valve in links:
                await valve.close()


def unbounded() -> aiohttp.TCPConnector:
    """Connections for everybody: who waits for a frozen node holds up nobody else."""
    return aiohttp.TCPConnector(limit=0)


class Clients:
    """Send operations and keep the history."""

    def __init__(self, cluster: Cluster, http: aiohttp.ClientSession, seed: int) -> None:
        self.sent: dict[str, Append] = {}
        self.reads: list[Read] = []
        self.failures = 0
        """Attempts that were not acknowledged."""
        self.acknowledged = 0
        self.by: Counter[str] = Counter()
        """Those by the address of the node that acknowledged them."""
        self.luck = random.Random(seed)
        self._cluster = cluster
        self._http = http
        self._now = asyncio.get_running_loop().time

    async def run(self, over: asyncio.Event) -> None:
        """Work until told otherwise; what was begun is brought to its end."""
        while not over.is_set():
            if self.luck.random() < 0.15:
                await self.read(self.luck.choice(VAULTS))
            else:
                await self.append()

    async def append(
        self, *, first: NodeProcess | None = None, nodes: Sequence[NodeProcess] = ()
    ) -> float:
        """Send one operation until it is acknowledged; return how long that took.

        Parameters: `first` is tried first; `nodes` are asked alone.
        """
        vault, op = self.luck.choice(VAULTS), f"op-{len(self.sent)}"
        path, arguments = f"vault/{vault}/put", {"op": op}
        if self.luck.random() < 0.3:
            to, amount = self.luck.choice(VAULTS), self.luck.randrange(1, 5)
            path, arguments = f"vault/{vault}/pay", {"op": op, "to": to, "amount": amount}
        began = self._now()
        self.sent[op] = Append(vault, op, began, None)
        node = first or self.luck.choice(nodes or self._cluster.nodes)
        while True:
            status, _ = await self._ask(node, path, arguments, op)
            if status == 200:
                break
            assert status in (0, 429, 503, 504), f"{path} was answered by {status}"
            self.failures += 1
            await asyncio.sleep(0.02)
            node = self.luck.choice(nodes or self._cluster.nodes)
        self.sent[op] = Append(vault, op, began, self._now())
        self.acknowledged += 1
        self.by[node.url] += 1
        return self._now() - began

    async def read(self, vault: str) -> None:
        began = self._now()
        node = self.luck.choice(self._cluster.nodes)
        status, found = await self._ask(node, f"vault/{vault}/content", {}, None)
        if status == 200:
            self.reads.append(Read(vault, began, self._now(), found["ops"]))

    async def _ask(
        self, node: NodeProcess, path: str, arguments: dict[str, Any], key: str | None
    ) -> tuple[int, Any]:
        try:
            async with asyncio.timeout(TRIES_SECONDS):
                return await command(self._http, node.url, path, arguments, key)
        except (aiohttp.ClientError, TimeoutError):
            return 0, None

    async def reached(self, count: int) -> None:
        """Wait until so many operations are acknowledged."""
        while self.acknowledged < count:  # noqa: ASYNC110 - they know of no event for it
            await asyncio.sleep(0.01)

    async def settled(self) -> dict[str, tuple[int, int]]:
        """Wait until the view has seen everything; return its rows."""
        async with asyncio.timeout(60):
            while True:
                rows = await self.view()
                entries, _ = await journal(self._cluster.database.dsn())
                events = Counter(entry.type for entry in entries)
                if events["Paid"] == events["Received"] and (
                    sum(count for count, _ in rows.values())
                    == sum(entry.source == "vault" for entry in entries)
                ):
                    return rows
                await asyncio.sleep(0.2)

    async def view(self) -> dict[str, tuple[int, int]]:
        """What the view says now, on some node."""
        node = self.luck.choice(self._cluster.nodes)
        async with self._http.get(f"{node.url}/views/holdings/all") as response:
            rows = await response.json() if response.status == 200 else []
        return {row["vault"]: (row["events"], row["balance"]) for row in rows}


async def journal(dsn: str) -> tuple[list[Entry], dict[int, int]]:
    """Read the whole store, shard by shard, and where each shard ends."""
    store = Store(dsn)
    await store.open()
    try:
        ends = await store.journal.ends()
        found: list[Entry] = []
        for shard, end in sorted(ends.items()):
            after = 0
            while after < end:
                scan = await store.journal.read(shard, after, limit=5_000)
                found += scan.entries
                after = scan.position
        return found, ends
    finally:
        await store.close()


async def tenures(database: Server) -> dict[tuple[int, int], int]:
    """Under which epoch each position was written."""
    rows = await database.fetch("SELECT shard, position, epoch FROM public.tenure")
    return {(shard, position): epoch for shard, position, epoch in rows}


def problems(
    clients: Clients,
    entries: list[Entry],
    ends: dict[int, int],
    epochs: dict[tuple[int, int], int],
    rows: dict[str, tuple[int, int]],
) -> list[str]:
    """Everything that is wrong with what is left of a storm."""
    lists: dict[str, list[str]] = {}
    by_shard: dict[int, list[int]] = {}
    moved: list[Movement] = []
    written: list[Written] = []
    fold: dict[str, tuple[int, int]] = {}
    events = [entry for entry in entries if entry.source == "vault"]
    for entry in entries:
        by_shard.setdefault(entry.shard, []).append(entry.position)
    for entry in events:
        event = msgspec.json.decode(entry.payload)
        amount = event.get("amount", event.get("value", 0)) * (-1 if entry.type == "Paid" else 1)
        if entry.type != "Received":
            lists.setdefault(entry.subject, []).append(event["op"])
        if amount:
            moved.append(Movement(entry.subject, event["op"], amount, entry.time))
        at = (entry.shard, entry.position)
        written.append(Written(*at, epochs[at], event["by"]))
        count, balance = fold.get(entry.subject, (0, START))
        fold[entry.subject] = (count + 1, balance + amount)
    sent = list(clients.sent.values())
    return [
        *history.appends(sent, lists),
        *history.reads(clients.reads, sent, lists),
        *history.money(dict.fromkeys(VAULTS, START), moved),
        *history.view(rows, fold),
        *history.positions(by_shard, ends),
        *history.sequences((entry.subject, entry.sequence) for entry in events),
        *history.epochs(written),
    ]
