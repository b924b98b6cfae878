"""The service: aircraft made of their flights, a log of all flights, alerts for late ones.

    flights ──► flight-recorder ──► Aircraft ──────────────► fleet (view)
    (in order       │ refuses malformed ones
     per aircraft)  └─────────────► flight-log ──► delays (view)
    airlines ─────────────────────────────│──────► delays
                                          └──► delay-watch ──► delay-alerts ──► alerts (view)

Flights come in under the key of their aircraft, so that each aircraft sees its flights in order on
any number of nodes. A malformed one becomes a dead letter of the recorder and holds back what comes
after it for the same aircraft, until an operator redrives or discards it. What passed is logged
once more under the flight's own key: a view keeps one row for each key.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from eventmill import (
    Context,
    Effect,
    Event,
    EventSourcedEntity,
    Record,
    Rejected,
    Service,
    View,
    command,
    component,
    consumer,
    on,
    publish,
    query,
)
from examples.flights.events import (
    AirlineListed,
    DelayAlert,
    FlightCancelled,
    FlightDiverted,
    FlightFlown,
    airlines,
    delay_alerts,
    flight_log,
    flights,
)

LATE_MINUTES = 60
"""Departure delay from which there is an alert."""

REGISTRATION = re.compile(r"N[0-9A-Z]{1,5}")
"""Of aircraft that may fly within the United States; airlines also use it for fleet numbers."""


class FlightRecorded(Event):
    """The aircraft flew."""

    flight: str
    departed: datetime
    air_time: int | None
    """Minutes; None if it was diverted, as nobody knows then."""
    distance: int
    """Miles, to the destination as planned."""


class OverlapNoticed(Event):
    """The aircraft cannot have been on both flights: one of them names the wrong aircraft."""

    flight: str
    other: str


@component("aircraft")
class Aircraft(EventSourcedEntity):
    """One aircraft, by its registration."""

    flights: int = 0
    air_time: int = 0
    distance: int = 0
    last: FlightRecorded | None = None
    """The latest one whose time in the air is known."""

    @command
    def record_flight(
        self, flight: str, departed: datetime, air_time: int | None, distance: int
    ) -> Effect[None]:
        """Take down a flight, and whether it was in the air together with the one before it."""
        recorded = FlightRecorded(
            flight=flight, departed=departed, air_time=air_time, distance=distance
        )
        if self.last is not None and overlap(self.last, recorded):
            return self.persist(recorded, OverlapNoticed(flight=flight, other=self.last.flight))
        return self.persist(recorded)

    @query
    def totals(self) -> dict[str, int]:
        """Return flights, minutes in the air and miles."""
        return {"flights": self.flights, "air_time": self.air_time, "distance": self.distance}

    @on(FlightRecorded)
    def flight_recorded(self, event: FlightRecorded) -> None:
        self.flights += 1
        self.distance += event.distance
        if event.air_time is not None:
            self.air_time += event.air_time
            self.last = event

    @on(OverlapNoticed)
    def overlap_noticed(self, event: OverlapNoticed) -> None:
        """Nothing to keep: it is for those who follow the aircraft."""


def overlap(one: FlightRecorded, other: FlightRecorded) -> bool:
    """Whether two flights were in the air at the same time, as far as is known."""
    if one.air_time is None or other.air_time is None:
        return False
    one_landed = one.departed + timedelta(minutes=one.air_time)
    other_landed = other.departed + timedelta(minutes=other.air_time)
    return one.departed < other_landed and other.departed < one_landed


@consumer("flight-recorder", source=flights)
def record_flight(event: FlightFlown | FlightDiverted | FlightCancelled) -> Effect[None]:
    """Log every plausible flight; send those that took place to their aircraft."""
    logged = publish(flight_log, event)
    if isinstance(event, FlightCancelled):
        return logged
    air_time = event.air_time if isinstance(event, FlightFlown) else None
    if not REGISTRATION.fullmatch(event.aircraft):
        raise Rejected(f"{event.aircraft!r} is no registration", code="flight.registration")
    if air_time is not None and air_time <= 0:
        raise Rejected(f"{air_time} minutes in the air", code="flight.air_time")
    return logged.send(
        Aircraft.record_flight,
        event.aircraft,
        flight=event.flight,
        departed=event.scheduled + timedelta(minutes=event.departure_delay),
        air_time=air_time,
        distance=event.distance,
    )


@consumer("delay-watch", source=flight_log)
def watch_delay(event: FlightFlown | FlightDiverted) -> Effect[None] | None:
    """Raise an alert for each flight that left late."""
    if event.departure_delay < LATE_MINUTES:
        return None
    alert = DelayAlert(
        flight=event.flight,
        carrier=event.carrier,
        origin=event.origin,
        destination=event.destination,
        departure_delay=event.departure_delay,
    )
    return publish(delay_alerts, alert)


class CarrierDelays(Record):
    """How late an airline was; minutes on average."""

    carrier: str
    name: str
    flights: int
    cancelled: int
    departure_delay: float | None
    arrival_delay: float | None


class HourDelays(Record):
    """How late flights left an airport in an hour of the day."""

    origin: str
    hour: int
    flights: int
    departure_delay: float | None


@component("delays")
class Delays(View):
    """A row for each flight and each airline. Averages leave out flights without the figure."""

    class Flight(Record):
        carrier: str
        origin: str
        hour: int
        cancelled: bool = False
        departure_delay: int | None = None
        arrival_delay: int | None = None

    class Airline(Record):
        carrier: str
        name: str

    @on(flight_log)
    def logged(
        self, event: FlightFlown | FlightDiverted | FlightCancelled, row: Flight | None
    ) -> Flight:
        return self.Flight(
            carrier=event.carrier,
            origin=event.origin,
            hour=event.hour,
            cancelled=isinstance(event, FlightCancelled),
            departure_delay=None if isinstance(event, FlightCancelled) else event.departure_delay,
            arrival_delay=event.arrival_delay if isinstance(event, FlightFlown) else None,
        )

    @on(airlines)
    def listed(self, event: AirlineListed, row: Airline | None) -> Airline:
        return self.Airline(carrier=event.carrier, name=event.name)

    @query("""
        SELECT airline.carrier, airline.name, COUNT(*) AS flights,
               SUM(flight.cancelled) AS cancelled,
               AVG(flight.departure_delay) AS departure_delay,
               AVG(flight.arrival_delay) AS arrival_delay
        FROM flight JOIN airline ON airline.carrier = flight.carrier
        GROUP BY airline.carrier, airline.name ORDER BY departure_delay DESC
    """)
    def by_carrier(self) -> list[CarrierDelays]: ...

    @query("""
        SELECT origin, hour, COUNT(*) AS flights, AVG(departure_delay) AS departure_delay
        FROM flight GROUP BY origin, hour ORDER BY origin, hour
    """)
    def by_airport_and_hour(self) -> list[HourDelays]: ...


@component("fleet")
class Fleet(View):
    """A row for each aircraft."""

    class Row(Record):
        aircraft: str
        flights: int = 0
        air_time: int = 0
        distance: int = 0
        overlaps: int = 0

    @on(Aircraft)
    def flew(self, event: FlightRecorded | OverlapNoticed, row: Row | None, ctx: Context) -> Row:
        row = row or self.Row(aircraft=ctx.subject)
        match event:
            case FlightRecorded():
                row.flights += 1
                row.air_time += event.air_time or 0
                row.distance += event.distance
            case OverlapNoticed():
                row.overlaps += 1
        return row

    @query("SELECT * FROM fleet ORDER BY flights DESC, aircraft LIMIT :limit")
    def busiest(self, limit: int) -> list[Row]: ...

    @query("SELECT * FROM fleet WHERE overlaps > 0 ORDER BY overlaps DESC, aircraft")
    def in_two_places(self) -> list[Row]: ...


class AlertCount(Record):
    """How many alerts there were."""

    alerts: int


@component("alerts")
class Alerts(View):
    """A row for each alert."""

    class Row(Record):
        flight: str
        carrier: str
        origin: str
        destination: str
        departure_delay: int

    @on(delay_alerts)
    def raised(self, event: DelayAlert, row: Row | None) -> Row:
        return self.Row(
            flight=event.flight,
            carrier=event.carrier,
            origin=event.origin,
            destination=event.destination,
            departure_delay=event.departure_delay,
        )

    @query("SELECT COUNT(*) AS alerts FROM alerts")
    def count(self) -> AlertCount: ...

    @query("SELECT * FROM alerts ORDER BY departure_delay DESC, flight LIMIT :limit")
    def longest(self, limit: int) -> list[Row]: ...


service = Service(
    "flights",
    components=[Aircraft, record_flight, watch_delay, Delays, Fleet, Alerts],
    topics=[flights, flight_log, airlines, delay_alerts],
)
