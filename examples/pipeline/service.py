"""The service: steps between topics, each reading what the one before it publishes.

reports ──► clean ──► legs (by origin) ──► hourly ──► hours
                           │                 └──────► late-legs ──► recount (consumer) ──► corrections
                           └──► weather ──► weathered
                   readings ────┘
"""

from __future__ import annotations

from datetime import datetime, timedelta

from eventmill import Context, Effect, Event, Service, Topic, consumer, publish
from eventmill.pipelines import Pane, Stream, Tumbling, count, max_of, mean_of
from examples.telemetry.service import readings

HOUR = timedelta(hours=1)


class Reported(Event):
    """A flight has landed, says whoever saw it."""

    flight: str
    origin: str
    scheduled: datetime
    """Departure."""
    delay: int | None
    """Minutes at departure; None if nobody wrote it down."""


class Leg(Event):
    """A report that is complete."""

    flight: str
    origin: str
    scheduled: datetime
    delay: int


class Hour(Event):
    """The departures of an hour."""

    origin: str
    begin: datetime
    flights: int
    mean: float
    longest: int


class Corrected(Event):
    """An hour that was told had one flight more."""

    origin: str
    flight: str
    begin: datetime


class Weathered(Event):
    """A flight, and what its hour was like."""

    flight: str
    origin: str
    delay: int
    wind: float | None


reports = Topic("reports", Reported, key="flight")
legs = Topic("legs", Leg, key="origin")
hours = Topic("hours", Hour, key="origin")
late_legs = Topic("late-legs", Leg, key="origin")
corrections = Topic("corrections", Corrected, key="origin")
weathered = Topic("weathered", Weathered, key="origin")


def hour_of(pane: Pane[tuple[int, float, int]]) -> Hour:
    """Make the figures of an hour."""
    number, mean, longest = pane.value
    return Hour(pane.key, pane.start, number, mean, longest)


clean = (
    Stream(reports)
    .filter(lambda report: report.delay is not None)
    .map(lambda r: Leg(r.flight, r.origin, r.scheduled, r.delay or 0))
    .to(legs, id="clean")
)

hourly = (
    Stream(legs)
    .window(
        Tumbling(HOUR),
        time=lambda leg: leg.scheduled,
        lateness=timedelta(hours=8),
        idle=timedelta(hours=8),
        late=late_legs,
    )
    .aggregate(count(), mean_of("delay"), max_of("delay"))
    .map(hour_of)
    .to(hours, id="hourly")
)

weather = (
    Stream(legs)
    .join(
        Stream(readings),
        within=HOUR / 2,
        time=(lambda leg: leg.scheduled, lambda reading: reading.at + HOUR / 2),
        lateness=timedelta(days=2),
        idle=timedelta(hours=8),
    )
    .map(lambda p: Weathered(p.left.flight, p.left.origin, p.left.delay, p.right.wind))
    .to(weathered, id="weather")
)


@consumer("recount", source=late_legs, concurrency=16)
async def recount(event: Leg, ctx: Context) -> Effect[None]:
    """Say which hour was told too early. A step that may wait for others: 16 keys at once."""
    begin = event.scheduled.replace(minute=0)
    return publish(corrections, Corrected(event.origin, event.flight, begin))


service = Service(
    "pipeline",
    components=[clean, hourly, weather, recount],
    topics=[reports, legs, hours, late_legs, corrections, weathered, readings],
)
