"""Windowed aggregation over all flights of 2013, beside the same in plain Python without durability.

Departures are collected by airline and day: how many, their mean and their longest delay. Plain Python is
given the same events as JSON in memory; it decodes each, keeps the open day of each airline in a dict
and puts the results as JSON into a list. We read the events from the journal, and windows, results and
offset are durable; the clock runs from the start of the runtime until the last result is.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec
import uvloop

from bench import ours
from bench.figures import OURS, Contestant, Row, Sample, ratio
from bench.processes import isolated, resident_mb
from eventmill import Event, Service, Topic
from eventmill.model.limits import BATCH_EVENTS_MAX
from eventmill.pipelines import Pane, Stream, Tumbling, count, max_of, mean_of
from examples.flights import data

PLAIN: Final = "plain Python"
DAY: Final = timedelta(days=1)
LOOK_SECONDS: Final = 0.01


class Departed(Event):
    """A flight, by its scheduled departure."""

    carrier: str
    scheduled: datetime
    delay: int | None
    """Minutes; None if it was cancelled."""


class Day(Event):
    """Departures of an airline on one day."""

    carrier: str
    day: datetime
    flights: int
    mean: float
    longest: int


departures = Topic("departures", Departed, key="carrier")
days = Topic("days", Day, key="carrier")


def summed(pane: Pane[tuple[int, float, int]]) -> Day:
    """Make the result of a window."""
    flights, mean, longest = pane.value
    return Day(carrier=pane.key, day=pane.start, flights=flights, mean=mean, longest=longest)


daily = (
    Stream(departures)
    .filter(lambda flight: flight.delay is not None)
    .window(Tumbling(DAY), time=lambda flight: flight.scheduled)
    .aggregate(count(), mean_of("delay"), max_of("delay"))
    .map(summed)
    .to(days, id="daily")
)
empty = Service("departures", topics=[departures, days])
service = Service("departures", components=[daily], topics=[departures, days])


def flights() -> Iterator[Departed]:
    """Yield every flight by scheduled departure."""
    for event in data.flights():
        if "broken" not in event:
            flight: Any = event["data"]
            scheduled = datetime.fromisoformat(flight["scheduled"])
            yield Departed(flight["carrier"], scheduled, flight.get("departure_delay"))


def measure_plain(folder: Path, seconds: float) -> Sample:
    """Collect in plain Python, in a fresh process."""
    return isolated(f"{__name__}:plain", folder=str(folder))


def plain(folder: str) -> Sample:
    """Collect events that are JSON in memory."""
    encode = msgspec.json.Encoder().encode
    payloads = [encode(flight) for flight in flights()]
    begin = time.perf_counter()
    results = collected(payloads)
    elapsed = time.perf_counter() - begin
    return Sample(len(payloads) / elapsed, notes={"events": len(payloads), "results": len(results)})


def collected(payloads: list[bytes]) -> list[bytes]:
    """Return the days that ended, as JSON."""
    decode, encode = msgspec.json.Decoder(Departed).decode, msgspec.json.Encoder().encode
    open_: dict[str, list[Any]] = {}
    results = []
    for payload in payloads:
        flight = decode(payload)
        delay = flight.delay
        if delay is None:
            continue
        second = int(flight.scheduled.timestamp())
        start = second - second % 86_400
        window = open_.get(flight.carrier)
        if window is not None and window[0] < start:
            begun, number, total, longest = window
            moment = datetime.fromtimestamp(begun, UTC)
            results.append(encode(Day(flight.carrier, moment, number, total / number, longest)))
            window = None
        if window is None:
            open_[flight.carrier] = [start, 1, delay, delay]
        else:
            window[1] += 1
            window[2] += delay
            window[3] = max(window[3], delay)
    return results


def measure_ours(folder: Path, seconds: float) -> Sample:
    """Fill a journal with the events, then start the transform, each in a fresh process."""
    filled = isolated(f"{__name__}:fill", folder=str(folder))
    events = int(filled.notes["events"])
    return isolated(f"{__name__}:transform", folder=str(folder), events=events)


def fill(folder: str) -> Sample:
    """Publish all events while nobody follows them."""
    return uvloop.run(_fill(Path(folder)))


async def _fill(folder: Path) -> Sample:
    begin, events = time.perf_counter(), 0
    async with ours.runtime(folder, empty) as here:
        found = list(flights())
        for at in range(0, len(found), BATCH_EVENTS_MAX):
            await here.publish(departures, tuple(found[at : at + BATCH_EVENTS_MAX]))
        events = len(found)
    return Sample(events / (time.perf_counter() - begin), notes={"events": events})


def transform(folder: str, events: int) -> Sample:
    """Start a runtime whose transform has seen nothing; stop the clock when it has caught up."""
    return uvloop.run(_transform(Path(folder), events))


async def _transform(folder: Path, events: int) -> Sample:
    begin = time.perf_counter()
    async with ours.runtime(folder, service) as here:
        subscription = here.subscription("daily")
        while subscription.handled < events:
            await asyncio.sleep(LOOK_SECONDS)
        await here.committer.drained()
        elapsed = time.perf_counter() - begin
        results = here.tails.total - events
        expected = await _expected(here, events)
    if results != expected or subscription.blocked:
        raise AssertionError(f"{results} results, not {expected}")
    notes = {"events": events, "results": results, "resident_mb": resident_mb(os.getpid())}
    return Sample(events / elapsed, notes=notes)


async def _expected(here: Any, events: int) -> int:
    """How many days plain Python finds in what is stored."""
    payloads: list[bytes] = []
    position = 0
    while position < events:
        scan = await here.store.journal.read(0, position, limit=1_024)
        payloads += [entry.payload for entry in scan.entries if entry.source == departures.id]
        position = scan.position
    return len(collected(payloads))


ROW = Row(
    id="windows",
    work="windowed aggregation over 336,776 flights, by airline and day",
    unit="events/s",
    contestants=(
        Contestant(
            system=PLAIN,
            conditions="the same events as JSON in memory, a dict, results as JSON in a list; no "
            "durability",
            measure=measure_plain,
        ),
        Contestant(
            system=OURS,
            conditions="from the start of the runtime until the last result is durable; "
            f"{ours.DURABLE}",
            measure=measure_ours,
        ),
    ),
    targets=(ratio(OURS, PLAIN, at_least=0.2),),
)
