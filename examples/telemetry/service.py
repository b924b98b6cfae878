"""The service: readings of stations, collected by day and by storm; who says nothing is noticed.

readings ──► daily ──► days ──► climate (view)
    ├──────► storms ─► alerts
    └──────► watch ──► Station ──► alerts        (a timer that every reading puts off)
"""

from __future__ import annotations

from datetime import datetime, timedelta

from eventmill import (
    Effect,
    Event,
    EventSourcedEntity,
    Record,
    Service,
    Topic,
    View,
    command,
    component,
    consumer,
    on,
    query,
    schedule,
)
from eventmill.pipelines import (
    Pane,
    Session,
    Stream,
    Tumbling,
    count,
    max_of,
    mean_of,
    min_of,
)

SILENT_AFTER = timedelta(hours=3)
STORM_WIND = 25.0
"""Miles per hour from which a reading is part of a storm."""
STORM_GAP = timedelta(hours=3)
"""So long without strong wind ends it."""
EASTERN = timedelta(hours=5)
"""New York's days begin so long after those of UTC; winter time all year, as stations keep it."""


class Reading(Event):
    """A station's hour."""

    station: str
    at: datetime
    temperature: float | None
    """Fahrenheit."""
    wind: float | None
    """Miles per hour."""
    gust: float | None


class Day(Event):
    """A station's day."""

    station: str
    begin: datetime
    readings: int
    mean: float
    coldest: float
    warmest: float


class Storm(Event):
    """It blew, and has ceased."""

    station: str
    begin: datetime
    end: datetime
    """Of the last hour with strong wind."""
    wind: float
    """The strongest."""


class FellSilent(Event):
    """A station has said nothing for too long."""

    station: str


class CameBack(Event):
    """It says something again."""

    station: str


readings = Topic("readings", Reading, key="station")
late_readings = Topic("late-readings", Reading, key="station")
days = Topic("days", Day, key="station")
alerts = Topic("alerts", Storm, FellSilent, CameBack, key="station")


def day_of(pane: Pane[tuple[int, float, float, float]]) -> Day:
    """Make the figures of a day."""
    number, mean, coldest, warmest = pane.value
    return Day(pane.key, pane.start, number, mean, coldest, warmest)


daily = (
    Stream(readings)
    .filter(lambda reading: reading.temperature is not None)
    .window(
        Tumbling(timedelta(days=1), offset=EASTERN),
        time=lambda reading: reading.at,
        lateness=timedelta(hours=6),
        idle=timedelta(hours=12),
        late=late_readings,
    )
    .aggregate(count(), mean_of("temperature"), min_of("temperature"), max_of("temperature"))
    .map(day_of)
    .to(days, id="daily")
)

storms = (
    Stream(readings)
    .filter(lambda reading: reading.wind is not None and reading.wind >= STORM_WIND)
    .window(Session(STORM_GAP), time=lambda reading: reading.at, idle=STORM_GAP)
    .aggregate(max_of("wind"))
    .map(lambda pane: Storm(pane.key, pane.start, pane.end - STORM_GAP, pane.value))
    .to(alerts, id="storms")
)


@component("station")
class Station(EventSourcedEntity):
    """Whether a station speaks."""

    silent: bool = False

    @command
    def fall_silent(self) -> Effect[None]:
        """The timer that readings put off has fired."""
        said = FellSilent(station=self.entity_id)
        return self.persist(said).publish(alerts, said)

    @command
    def speak(self) -> Effect[None]:
        """There is a reading."""
        if not self.silent:
            return self.persist()
        said = CameBack(station=self.entity_id)
        return self.persist(said).publish(alerts, said)

    @on(FellSilent)
    def fell_silent(self, event: FellSilent) -> None:
        """It does not."""
        self.silent = True

    @on(CameBack)
    def came_back(self, event: CameBack) -> None:
        """It does."""
        self.silent = False


@consumer("watch", source=readings)
def watch(event: Reading) -> Effect[None]:
    """Put the alarm off; the same name replaces the timer."""
    station = event.station
    alarm = schedule(f"silence/{station}", SILENT_AFTER, Station.fall_silent, station)
    return alarm.send(Station.speak, station)


@component("climate")
class Climate(View):
    """The last day of each station."""

    class Row(Record):
        """A station's last day."""

        station: str
        begin: datetime
        mean: float

    @on(days)
    def changed(self, event: Day, row: Row | None) -> Row:
        """Take the newer one."""
        return self.Row(event.station, event.begin, event.mean)

    @query("SELECT * FROM climate ORDER BY station")
    def all(self) -> list[Row]: ...


service = Service(
    "telemetry",
    components=[daily, storms, watch, Station, Climate],
    topics=[readings, late_readings, days, alerts],
)
