"""The first row with its state in PostgreSQL, beside the same row on SQLite.

All processes share the same cores: the load generator, the node and the database. So the rate is also
told per core that node and database used together, as Akka tells its event-sourced writes.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from bench import ours, wrk
from bench.figures import OURS, Contestant, Row, Sample, noted, rate, ratio
from bench.processes import cpu_seconds
from eventmill.testing.postgres import Server

SHARDS = 16
SQLITE, POSTGRES = f"{OURS} on SQLite", f"{OURS} on PostgreSQL"
PER_CORE = "writes_per_core"
AKKA_WRITES_PER_CORE = 1_000


def measure(folder: Path, seconds: float) -> Sample:
    """One node over a server of its own, loaded by wrk."""
    server = Server(durable=True)
    try:
        store = asyncio.run(server.fresh(SHARDS))
        with ours.served(folder, "carts", "--store", store) as (url, pid):
            wrk.shoot(url, wrk.WARM_UP_SECONDS, ours.BEFORE, ours.AFTER)
            used, began = _used(pid, server), time.perf_counter()
            sample = wrk.load(url, seconds, before=ours.BEFORE, after=ours.AFTER)
            used = _used(pid, server) - used
            cores = used / (time.perf_counter() - began)
    finally:
        server.close()
    notes = {"cores": round(cores, 2), PER_CORE: round(sample.per_second / cores)}
    return Sample(sample.per_second, sample.latency, {**sample.notes, **notes})


def _used(node: int, server: Server) -> float:
    return cpu_seconds(node) + cpu_seconds(server.process.pid)


ROW = Row(
    id="postgres-command",
    work="durable command over HTTP, 64 connections, state in PostgreSQL",
    unit="requests/s",
    contestants=(
        ours.over_http(SQLITE, "carts", "1,000 carts"),
        Contestant(
            system=POSTGRES,
            conditions=(
                f"one node, PostgreSQL on the same cores over its socket, fsync on, {SHARDS} shards, "
                "1,000 carts; reply after the commit"
            ),
            measure=measure,
        ),
    ),
    targets=(
        ratio(POSTGRES, SQLITE, at_least=0.5),
        rate(POSTGRES, at_least=3_000),
        noted(
            POSTGRES,
            PER_CORE,
            at_least=AKKA_WRITES_PER_CORE,
            text=f"{POSTGRES}, writes per core used, database included ≥ Akka's published 1,000",
        ),
    ),
)
