"""Increments of replicated counters in process, many in flight: one hot counter, and a thousand.

No peer: what is measured is that all changes of a counter between two commits are one row of the
store, so a hot counter is not limited by it. Every increment is durable when it is answered.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import uvloop

from bench.figures import OURS, Contestant, Latency, Row, Sample, rate
from bench.ours import DURABLE, runtime
from bench.processes import isolated
from eventmill import Effect, PNCounter, ReplicatedEntity, Service, command, component, query
from eventmill.runtime.runtime import Runtime

IN_FLIGHT = 1_024
INCREMENTS = 300_000
MANY = 1_000


@component("score")
class Score(ReplicatedEntity):
    """A counter on every node."""

    points: PNCounter

    @command
    def increment(self, by: int) -> Effect[int]:
        return self.update(self.points.increment(by)).reply(lambda score: score.points.value)

    @query
    def total(self) -> int:
        return self.points.value


service = Service("scores", components=[Score])


def increments(folder: str, counters: int) -> Sample:
    """Increment; check that nothing is missing afterwards."""
    return uvloop.run(_increments(Path(folder), counters))


async def _increments(folder: Path, counters: int) -> Sample:
    ids = [f"score-{number}" for number in range(counters)]
    async with runtime(folder, service) as here:
        begin = time.perf_counter()
        durations = await drive(here, ids, INCREMENTS)
        elapsed = time.perf_counter() - begin
        total = sum([await here.call(Score.total, id, ()) for id in ids])
        if total != INCREMENTS:
            raise AssertionError(f"the counters hold {total}, not {INCREMENTS}")
        notes = {"increments": INCREMENTS, "rows": here.committer.entries}
    return Sample(INCREMENTS / elapsed, Latency.of_seconds(durations), notes)


async def drive(here: Runtime, ids: list[str], count: int) -> list[float]:
    """Increment the counters in turn, so often in all; return how long each increment took."""
    durations: list[float] = []
    left = iter(range(count))

    async def caller() -> None:
        for number in left:
            begin = time.perf_counter()
            await here.call(Score.increment, ids[number % len(ids)], (1,))
            durations.append(time.perf_counter() - begin)

    async with asyncio.TaskGroup() as callers:
        for _ in range(IN_FLIGHT):
            callers.create_task(caller())
    return durations


def _contestant(counters: int) -> Contestant:
    over = "one counter" if counters == 1 else f"{counters:,} counters"

    def measure(folder: Path, seconds: float) -> Sample:
        return isolated(f"{__name__}:increments", folder=str(folder), counters=counters)

    conditions = f"runtime in process, uvloop, {INCREMENTS:,} increments, {IN_FLIGHT:,} in flight"
    return Contestant(f"{OURS}, {over}", f"{conditions}; {DURABLE}", measure)


ROW = Row(
    id="replicated",
    work="increments of replicated counters in process",
    unit="increments/s",
    contestants=(_contestant(1), _contestant(MANY)),
    targets=(rate(f"{OURS}, one counter", 50_000),),
)
