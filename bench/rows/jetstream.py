"""Published, through JetStream, to a consumer and a view; beside FastStream on the same server.

FastStream's handler counts and keeps nothing. Ours has a handler that counts, and a view of every event in
PostgreSQL: the clock stops when both have seen everything, each event once in effect.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import uvloop

from bench import ours, services
from bench.figures import OURS, Contestant, Row, Sample, ratio
from bench.peers import faststream
from bench.processes import isolated
from eventmill.errors import Unavailable
from eventmill.node.config import NodeConfig
from eventmill.runtime.runtime import Runtime
from eventmill.testing.nats_server import NatsServer
from eventmill.testing.postgres import Server

SHARDS = 16
EVENTS = 50_000
CARTS = 1_000
BATCH = 100
PUBLISHERS = 8
LOOK_SECONDS = 0.05
PATIENCE_SECONDS = 120.0


def flat_out(folder: str) -> Sample:
    """Publish everything in batches; stop the clock when it has all been seen."""
    return uvloop.run(_flat_out(Path(folder)))


async def _flat_out(folder: Path) -> Sample:
    server = await asyncio.to_thread(lambda: Server(durable=True))
    try:
        store = await server.fresh(SHARDS)
        async with NatsServer(folder) as nats:
            config = NodeConfig(data=folder / "data", store=store, broker=nats.url)
            async with ours.runtime(folder, services.stream, config=config) as here:
                return await _timed(here)
    finally:
        await asyncio.to_thread(server.close)


async def _timed(here: Runtime) -> Sample:
    batches = iter(range(0, EVENTS, BATCH))

    async def publisher() -> None:
        for first in batches:
            await here.publish(services.requests, tuple(map(_request, range(first, first + BATCH))))

    begin = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(PUBLISHERS):
            group.create_task(publisher())
    published = time.perf_counter() - begin
    while await _seen(here) < EVENTS or services.counted.events < EVENTS:
        if time.perf_counter() - begin > PATIENCE_SECONDS:
            raise AssertionError(f"after {PATIENCE_SECONDS} s the view lacks events")
        await asyncio.sleep(LOOK_SECONDS)
    elapsed = time.perf_counter() - begin
    notes = {"events": EVENTS, "published_per_second": round(EVENTS / published)}
    return Sample(EVENTS / elapsed, notes=notes)


async def _seen(here: Runtime) -> int:
    try:
        (total,) = await here.query(services.Requested.total, ())
    except Unavailable:  # the view is being built
        return 0
    return int(total.items)


def _request(number: int) -> services.ItemRequested:
    return services.ItemRequested(cart_id=f"cart-{number % CARTS}", sku="sku-3", quantity=1)


def measure(folder: Path, seconds: float) -> Sample:
    """In a fresh process."""
    return isolated(f"{__name__}:flat_out", folder=str(folder))


ROW = Row(
    id="jetstream",
    work="publish → JetStream → consumer and view",
    unit="events/s",
    contestants=(
        faststream.CONTESTANT,
        Contestant(
            system=OURS,
            conditions=(
                f"PostgreSQL with fsync, JetStream with sync_interval: always, {SHARDS} shards, {EVENTS:,} "
                f"events by {PUBLISHERS} publishers in batches of {BATCH}, {CARTS:,} keys; a consumer and "
                "a view of each event, one process"
            ),
            measure=measure,
        ),
    ),
    targets=(ratio(OURS, faststream.SYSTEM, at_least=2),),
)
