"""What the kills of transforms run: gauges whose readings come out of order, collected by the hour."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from eventmill import Event, Service, Topic
from eventmill.pipelines import Pane, Stream, Tumbling, fold

BEGIN = datetime(2013, 1, 1, tzinfo=UTC)


class Measured(Event):
    gauge: str
    number: int
    minute: int


class Collected(Event):
    gauge: str
    start: int
    numbers: list[int]


class Followed(Event):
    gauge: str
    start: int
    size: int


measured = Topic("measured", Measured, key="gauge")
collected = Topic("collected", Collected, key="gauge")
followed = Topic("followed", Followed, key="gauge")
late = Topic("late", Measured, key="gauge")


def _collected(pane: Pane[Any]) -> Collected:
    start = (pane.start - BEGIN) // timedelta(minutes=1)
    return Collected(gauge=pane.key, start=start, numbers=sorted(pane.value))


hourly = (
    Stream(measured)
    .window(
        Tumbling(timedelta(hours=1)),
        time=lambda event: BEGIN + timedelta(minutes=event.minute),
        lateness=timedelta(minutes=20),
        late=late,
    )
    .aggregate(fold(list, lambda kept, event: [*kept, event.number]))
    .map(_collected)
    .to(collected, id="hourly")
)
sizes = (
    Stream(collected)
    .map(lambda hour: Followed(gauge=hour.gauge, start=hour.start, size=len(hour.numbers)))
    .to(followed, id="sizes")
)
service = Service("tides", components=[hourly, sizes], topics=[measured, collected, followed, late])
