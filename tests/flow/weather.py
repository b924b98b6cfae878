"""A small pipeline that flows run: readings of stations, collected by the hour."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from eventmill import Event, Service, Topic
from eventmill.pipelines import Pane, Session, Stream, Transform, Tumbling, Window, fold

MINUTE = timedelta(minutes=1)
NOON = datetime(2013, 1, 1, 12, tzinfo=UTC)


class Reading(Event):
    station: str
    minute: int
    number: int = 0


class Hour(Event):
    station: str
    start: int
    numbers: list[int]


class Answer(Event):
    station: str
    minute: int
    number: int = 0


class Both(Event):
    station: str
    reading: int
    answer: int | None


readings = Topic("readings", Reading, key="station")
answers = Topic("answers", Answer, key="station")
hours = Topic("hours", Hour, key="station")
both = Topic("both", Both, key="station")
late = Topic("late", Reading, key="station")


def at(event: Any) -> datetime:
    return NOON + event.minute * MINUTE


def hour_of(pane: Pane[Any]) -> Hour:
    return Hour(station=pane.key, start=(pane.start - NOON) // MINUTE, numbers=sorted(pane.value))


def add(kept: list[int], event: Reading) -> list[int]:
    if event.number in BROKEN:
        raise ValueError("a broken reading")
    return [*kept, event.number]


BROKEN: set[int] = set()
"""Numbers that the aggregate cannot take."""


def hourly(
    window: Window = Tumbling(60 * MINUTE),  # noqa: B008 - a value
    *,
    idle: timedelta | None = None,
    late: Topic[Reading] | None = late,
) -> Transform:
    return (
        Stream(readings)
        .window(window, time=at, lateness=30 * MINUTE, idle=idle, late=late)
        .aggregate(fold(list, add, merge=lambda a, b: a + b))
        .map(hour_of)
        .to(hours, id="hourly")
    )


def joined(idle: timedelta | None = None) -> Transform:
    return (
        Stream(readings)
        .join(Stream(answers), within=10 * MINUTE, time=(at, at), kind="left", idle=idle)
        .map(
            lambda pair: Both(
                station=pair.key,
                reading=pair.left.number,
                answer=pair.right and pair.right.number,
            )
        )
        .to(both, id="joined")
    )


def service(*transforms: Transform) -> Service:
    return Service(
        "weather", components=list(transforms), topics=[readings, answers, hours, both, late]
    )


def reading(station: str, minute: int, number: int = 0) -> Reading:
    return Reading(station=station, minute=minute, number=number)


SESSIONS = Session(60 * MINUTE)
