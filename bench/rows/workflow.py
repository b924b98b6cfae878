"""A workflow of two steps, durable at each, 64 in flight: beside DBOS on SQLite, the same two steps."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import uvloop

from bench import ours
from bench.figures import OURS, Contestant, Latency, Row, Sample, ratio
from bench.peers import dbos
from bench.processes import isolated
from eventmill import Effect, Service, Workflow, command, component, query, step
from eventmill.model.commit import Commit
from eventmill.model.entry import STEP
from eventmill.model.progress import FINAL, decode_moved
from eventmill.runtime.runtime import Runtime

IN_FLIGHT = 64
WARM_UP_SECONDS = 1.0


@component("two-steps")
class TwoSteps(Workflow):
    """Adds one, twice."""

    number: int = 0

    @command
    def start(self, number: int) -> Effect[None]:
        return self.begin(TwoSteps.one, number)

    @query
    def content(self) -> tuple[str, int]:
        return self.status, self.number

    @step
    async def one(self, number: int) -> Effect[None]:
        return self.update(number=number + 1).go(TwoSteps.two, number + 1)

    @step
    async def two(self, number: int) -> Effect[None]:
        return self.update(number=number + 1).end()


service = Service("workflows", components=[TwoSteps])


class Ends:
    """Callers that wait for the ends of workflows: told by the commits, when they are durable."""

    def __init__(self, here: Runtime) -> None:
        self._waiting: dict[str, asyncio.Future[None]] = {}
        here.committer.on_commit.append(self._see)

    def of(self, id: str) -> asyncio.Future[None]:
        """Return a future that is done when the workflow has ended."""
        future = self._waiting[id] = asyncio.get_running_loop().create_future()
        return future

    def _see(self, commit: Commit) -> None:
        for entry in commit.entries:
            if entry.type == STEP and decode_moved(entry.payload).progress.status in FINAL:
                self._waiting.pop(entry.subject).set_result(None)


def workflows(folder: str, seconds: float) -> Sample:
    """Run workflows for that long; check that every one of them has ended as it should."""
    return uvloop.run(_workflows(Path(folder), seconds))


async def _workflows(folder: Path, seconds: float) -> Sample:
    async with ours.runtime(folder, service) as here:
        ends = Ends(here)
        first, _, _ = await _drive(here, ends, WARM_UP_SECONDS, 0)
        sent, durations, elapsed = await _drive(here, ends, seconds, first)
        for number in range(sent):
            found = await here.call(TwoSteps.content, f"w{number}", ())
            if found != ("ended", 3):
                raise AssertionError(f"workflow {number} is {found}")
    notes = {"workflows": len(durations), "commits": here.committer.commits}
    return Sample(len(durations) / elapsed, Latency.of_seconds(durations), notes)


async def _drive(
    here: Runtime, ends: Ends, seconds: float, sent: int
) -> tuple[int, list[float], float]:
    durations: list[float] = []
    clock = time.perf_counter
    begin = clock()

    async def caller() -> None:
        nonlocal sent
        while clock() - begin < seconds:
            id = f"w{sent}"
            sent += 1
            start, end = clock(), ends.of(id)
            await here.call(TwoSteps.start, id, (1,))
            await end
            durations.append(clock() - start)

    async with asyncio.TaskGroup() as callers:
        for _ in range(IN_FLIGHT):
            callers.create_task(caller())
    return sent, durations, clock() - begin


def measure_ours(folder: Path, seconds: float) -> Sample:
    """Measure in a fresh process."""
    return isolated(f"{__name__}:workflows", folder=str(folder), seconds=seconds)


ROW = Row(
    id="workflow",
    work="workflow of two steps, durable at each, 64 in flight",
    unit="workflows/s",
    contestants=(
        dbos.contestant(IN_FLIGHT),
        Contestant(OURS, f"runtime in process, uvloop; {ours.DURABLE}", measure_ours),
    ),
    targets=(ratio(OURS, dbos.SYSTEM, at_least=20),),
)
