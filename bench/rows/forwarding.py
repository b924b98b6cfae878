"""Commands to entities of the other of two nodes, beside commands to one's own.

Both nodes, PostgreSQL, NATS and the caller share the same cores. The caller is in the first node's
process; the second is a process of its own. Each has half of the shards.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import uvloop

from bench import ours
from bench.figures import OURS, Contestant, Latency, Row, Sample, ratio
from bench.processes import isolated
from eventmill.model.placement import Placement
from eventmill.node.config import NodeConfig
from eventmill.runtime.runtime import Runtime
from eventmill.testing.nats_server import NatsServer
from eventmill.testing.postgres import Server

SHARDS = 16
CARTS = 1_000
COMMANDS = 40_000
WARM = 4_000
IN_FLIGHT = 256
LOOK_SECONDS = 0.1
PATIENCE_SECONDS = 60.0
LOCAL, OTHER = f"{OURS}, own entities", f"{OURS}, entities of the other node"


def calls(folder: str, local: bool) -> Sample:
    """Send the commands from the first node."""
    return uvloop.run(_calls(Path(folder), local=local))


async def _calls(folder: Path, *, local: bool) -> Sample:
    async with _two_nodes(folder) as here:
        mine = [cart for cart in _carts(here.store.placement) if cart[1] in here.held]
        others = [cart for cart in _carts(here.store.placement) if cart[1] not in here.held]
        ids = [id for id, _ in (mine if local else others)]
        await _drive(here, ids, WARM)
        durations, elapsed = await _drive(here, ids, COMMANDS)
    notes = {"commands": len(durations), "carts": len(ids)}
    return Sample(len(durations) / elapsed, Latency.of_seconds(durations), notes)


async def _drive(here: Runtime, ids: list[str], count: int) -> tuple[list[float], float]:
    return await ours.drive(here, lambda n: ids[n % len(ids)], IN_FLIGHT, lambda n: n >= count)


def _carts(placement: Placement) -> list[tuple[str, int]]:
    return [(id, placement.entity(id)) for id in (f"cart-{n}" for n in range(CARTS))]


@contextlib.asynccontextmanager
async def _two_nodes(folder: Path) -> AsyncIterator[Runtime]:
    server = await asyncio.to_thread(lambda: Server(durable=True))
    try:
        store = await server.fresh(SHARDS)
        async with NatsServer(folder) as nats:
            config = NodeConfig(data=folder / "a", store=store, broker=nats.url, node="a")
            options = ("--store", store, "--broker", nats.url, "--node", "b")
            async with ours.runtime(folder, config=config) as here:
                other = ours.served(folder, "carts", *options)
                await asyncio.to_thread(other.__enter__)
                try:
                    await _shared_out(here)
                    yield here
                finally:
                    await asyncio.to_thread(other.__exit__, None, None, None)
    finally:
        await asyncio.to_thread(server.close)


async def _shared_out(here: Runtime) -> None:
    """Wait until each node has half."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(here.held) != SHARDS // 2:
            await asyncio.sleep(LOOK_SECONDS)


def _contestant(system: str, *, local: bool) -> Contestant:
    def measure(folder: Path, seconds: float) -> Sample:
        return isolated(f"{__name__}:calls", folder=str(folder), local=local)

    conditions = (
        f"two nodes on PostgreSQL and NATS, all on the same cores, fsync on, {IN_FLIGHT} in flight "
        f"from one node, {COMMANDS:,} commands after a warm-up"
    )
    return Contestant(system, conditions, measure)


ROW = Row(
    id="forwarding",
    work="durable command of two nodes, to one's own entities and to the other's",
    unit="commands/s",
    contestants=(_contestant(LOCAL, local=True), _contestant(OTHER, local=False)),
    targets=(ratio(OTHER, LOCAL, at_least=0.4),),
)
