"""Timers: how many fire in a second, how late they are at a steady rate, what pending ones cost.

A timer has fired when the event of the command that it sent is durable: a node's runtime in process
notes the commits, and holds each event's time against the time that its timer was set for.
"""

from __future__ import annotations

import asyncio
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import uvloop

from bench import ours
from bench.figures import OURS, Contestant, Latency, Row, Sample, lag_p99, note, rate
from bench.processes import isolated, resident_mb
from eventmill import Effect, Event, EventSourcedEntity, Service, command, component, on, query
from eventmill.model.commit import Commit
from eventmill.runtime.runtime import Runtime

BELLS: Final = 1_000
PER_COMMAND: Final = 1_000
BURST: Final = 50_000
PACE: Final = 1_000
PENDING: Final = 1_000_000
BEGIN_SECONDS: Final = 3.0
BURST_SECONDS: Final = 20.0
"""In which all timers of the burst are set; what is left of it is waited for, not counted."""

PATIENCE_SECONDS: Final = 120.0
FLAT_OUT: Final = f"{OURS}, {BURST:,} due at once"
PACED: Final = f"{OURS}, {PACE:,} due per second"
FULL: Final = f"{OURS}, {PACE:,} due per second beside {PENDING:,} pending"


class Rang(Event):
    due: int


@component("bell")
class Bell(EventSourcedEntity):
    """Rings when it is told, and says when it should have."""

    rung: int = 0

    @command
    def set(self, name: str, first: int, step: int, count: int) -> Effect[None]:
        """Set timers, due at microseconds since the epoch, for bells in turn."""
        effect = self.reply(None)
        for number in range(count):
            due = first + number * step
            at = datetime.fromtimestamp(due / 1e6, UTC)
            bell = f"bell-{number % BELLS}"
            effect = effect.schedule(f"{name}-{number}", at, Bell.ring, bell, due)
        return effect

    @command
    def ring(self, due: int) -> Effect[None]:
        return self.persist(Rang(due=due))

    @query
    def content(self) -> int:
        return self.rung

    @on(Rang)
    def rang(self, event: Rang) -> None:
        self.rung += 1


service = Service("bells", components=[Bell])


class Watch:
    """Notes for each timer how long after its time its event was durable."""

    def __init__(self, here: Runtime) -> None:
        self.lags: list[float] = []
        self.early = 0
        self._decode = service.define()[0].entities["bell"].event_types["Rang"].decode
        here.committer.on_commit.append(self._note)

    def _note(self, commit: Commit) -> None:
        now = time.time_ns() // 1000
        for entry in commit.entries:
            if entry.source == "bell":
                due = self._decode(entry.payload, 1).due
                self.lags.append((now - due) / 1e6)
                self.early += entry.time < due

    async def rang(self, count: int) -> None:
        """Wait until so many have rung."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(self.lags) < count:
                await asyncio.sleep(0.005)


async def set_timers(here: Runtime, name: str, first: int, step: int, count: int) -> None:
    """Set so many timers, by commands that set a part each."""
    for begin in range(0, count, PER_COMMAND):
        arguments = (f"{name}-{begin}", first + begin * step, step, min(PER_COMMAND, count - begin))
        await here.call(Bell.set, f"setter-{begin % BELLS}", arguments)


def soon(seconds: float) -> int:
    """A time to come, in microseconds since the epoch."""
    return time.time_ns() // 1000 + round(seconds * 1e6)


def measure_flat_out(folder: Path, seconds: float) -> Sample:
    """In a fresh process."""
    return isolated(f"{__name__}:flat_out", folder=str(folder))


def flat_out(folder: str) -> Sample:
    """Let all be due at one moment; stop the clock when the last event is durable."""
    return uvloop.run(_flat_out(Path(folder)))


async def _flat_out(folder: Path) -> Sample:
    async with ours.runtime(folder, service) as here:
        watch, due = Watch(here), soon(BURST_SECONDS)
        await set_timers(here, "burst", due, 0, BURST)
        if soon(0) > due:
            raise AssertionError("they were due before all of them were set")
        await watch.rang(BURST)
        elapsed = (soon(0) - due) / 1e6
        await checked(here, watch, BURST)
    return Sample(BURST / elapsed, notes={"timers": BURST, "early": watch.early})


def measure_paced(folder: Path, seconds: float) -> Sample:
    """In a fresh process."""
    return isolated(f"{__name__}:paced", folder=str(folder), seconds=seconds, pending=0)


def measure_full(folder: Path, seconds: float) -> Sample:
    """In a fresh process."""
    return isolated(f"{__name__}:paced", folder=str(folder), seconds=seconds, pending=PENDING)


def paced(folder: str, seconds: float, pending: int) -> Sample:
    """Let them be due one by one, evenly."""
    return uvloop.run(_paced(Path(folder), seconds, pending))


async def _paced(folder: Path, seconds: float, pending: int) -> Sample:
    count = round(PACE * seconds)
    async with ours.runtime(folder, service) as here:
        await set_timers(here, "warm", soon(3_600), 1, PER_COMMAND)
        empty = resident_mb(os.getpid())
        await set_timers(here, "pending", soon(timedelta(days=7).total_seconds()), 1_000, pending)
        watch, due = Watch(here), soon(BEGIN_SECONDS)
        await set_timers(here, "paced", due, round(1e6 / PACE), count)
        await watch.rang(count)
        elapsed = (soon(0) - due) / 1e6
        full = resident_mb(os.getpid())
        await checked(here, watch, count)
    notes = {
        "timers": count,
        "early": watch.early,
        "resident_mb": full,
        "pending_cost_mb": round(full - empty, 1),
    }
    return Sample(count / elapsed, Latency.of_seconds(watch.lags), notes)


async def checked(here: Runtime, watch: Watch, count: int) -> None:
    """Raise if one rang early, twice or never."""
    rung = sum([await here.call(Bell.content, f"bell-{n}", ()) for n in range(BELLS)])
    if watch.early or rung != count:
        raise AssertionError(f"{watch.early} early; {rung} of {count} rang")


CONDITIONS = f"runtime in process, {BELLS:,} entities; fired = the command's event is durable; {ours.DURABLE}"

ROW = Row(
    id="timers",
    work="timers: fired, and how late",
    unit="timers/s",
    contestants=(
        Contestant(FLAT_OUT, CONDITIONS, measure_flat_out),
        Contestant(PACED, f"latency = from due to durable; {CONDITIONS}", measure_paced),
        Contestant(FULL, f"the same; {CONDITIONS}", measure_full),
    ),
    targets=(
        rate(FLAT_OUT, at_least=5_000),
        lag_p99(PACED, below_ms=50),
        lag_p99(FULL, below_ms=50),
        note(FULL, "pending_cost_mb", at_most=100, text="memory of pending timers ≤ 100 MB"),
    ),
)
