"""PostgreSQL's own limit, and the store on it: groups of 200-byte events, each durable.

The floor is a bare loop of array inserts of the same rows into a table with the journal's columns
and indexes, on the same server: no head rows, no conditions, no positions handed out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg

from bench.figures import Contestant, Latency, Row, Sample, ratio
from bench.processes import isolated
from eventmill.adapters.postgres.store import Store
from eventmill.model.commit import Commit
from eventmill.model.entry import Entry
from eventmill.model.placement import Placement
from eventmill.testing.postgres import Server

GROUP, GROUPS, WARM = 512, 120, 20
SHARDS = 16
PAYLOAD = b"x" * 200
BARE, OURS = "PostgreSQL's limit, groups of 512", "eventmill's store on PostgreSQL, commits of 512"

TABLE = "CREATE TABLE eventmill.bare (LIKE eventmill.entry_home INCLUDING ALL)"
INSERT = """
INSERT INTO eventmill.bare (shard, position, source, subject, sequence, type, version, time,
    payload, metadata, origin)
SELECT * FROM unnest($1::integer[], $2::bigint[], $3::text[], $4::text[], $5::bigint[],
    $6::text[], $7::integer[], $8::bigint[], $9::bytea[], $10::bytea[], $11::text[])
"""

Append = Callable[[list[Entry]], Awaitable[None]]


def ours() -> Sample:
    """Commit the groups through the store."""
    return asyncio.run(_on_a_server(_through_the_store))


def bare() -> Sample:
    """Insert the groups in a loop."""
    return asyncio.run(_on_a_server(_in_a_loop))


async def _on_a_server(work: Callable[[str], Awaitable[Sample]]) -> Sample:
    server = await asyncio.to_thread(lambda: Server(durable=True))
    try:
        return await work(await server.fresh(SHARDS))
    finally:
        await asyncio.to_thread(server.close)


async def _through_the_store(dsn: str) -> Sample:
    store = Store(dsn)
    await store.open()
    for shard in range(SHARDS):
        store.hold(shard, 0)
    try:
        return await _timed(lambda group: store.commit(Commit(entries=group)))
    finally:
        await store.close()


async def _in_a_loop(dsn: str) -> Sample:
    connection = await asyncpg.connect(dsn)
    await connection.execute(TABLE)
    positions = iter(range(0, 10**9, GROUP))

    async def append(group: list[Entry]) -> None:
        first = next(positions) + 1
        await connection.execute(
            INSERT,
            [e.shard for e in group],
            list(range(first, first + len(group))),
            [e.source for e in group],
            [e.subject for e in group],
            [e.sequence for e in group],
            [e.type for e in group],
            [e.version for e in group],
            [e.time for e in group],
            [e.payload for e in group],
            [e.metadata for e in group],
            [e.origin for e in group],
        )

    sample = await _timed(append)
    await connection.close()
    return sample


async def _timed(append: Append) -> Sample:
    placement = Placement(SHARDS)
    durations = []
    for nth in range(1, WARM + GROUPS + 1):
        group = [_entry(f"cart-{n}", nth, placement) for n in range(GROUP)]
        begin = time.perf_counter()
        await append(group)
        durations.append(time.perf_counter() - begin)
    counted = durations[WARM:]
    return Sample(GROUP * GROUPS / sum(counted), Latency.of_seconds(counted), {"fsync": "on"})


def _entry(subject: str, sequence: int, placement: Placement) -> Entry:
    shard = placement.entity(subject)
    return Entry("cart", subject, sequence, "ItemAdded", 1, 10**15, PAYLOAD, shard=shard)


def _contestant(system: str, function: str) -> Contestant:
    def measure(folder: Path, seconds: float) -> Sample:
        return isolated(f"{__name__}:{function}")

    conditions = (
        f"asyncpg, one connection, socket, fsync on, {SHARDS} shards, {GROUP * GROUPS:,} events "
        "of 200 bytes after a warm-up; latency of a whole group"
    )
    return Contestant(system, conditions, measure)


ROW = Row(
    id="postgres-append",
    work="durable append on PostgreSQL, 512 events a commit",
    unit="events/s",
    contestants=(_contestant(BARE, "bare"), _contestant(OURS, "ours")),
    targets=(ratio(OURS, BARE, at_least=0.5),),
)
