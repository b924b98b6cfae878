"""What happens, and the topics that carry it.

Each event says all that anybody reacting to it needs. Delays and times in the air are minutes,
distances miles.
"""

from __future__ import annotations

from datetime import datetime

from eventmill import Event, Topic


class Flight(Event):
    """What all flights have; never sent itself."""

    flight: str
    """Date, carrier, number and origin: `2013-01-31/UA1545/EWR`."""
    carrier: str
    origin: str
    destination: str
    scheduled: datetime
    """Departure, in UTC."""
    hour: int
    """Of the scheduled departure, in New York."""
    distance: int


class FlightFlown(Flight):
    """A flight came to its destination."""

    aircraft: str
    """Registration."""
    departure_delay: int
    """Negative when it left early."""
    arrival_delay: int
    air_time: int


class FlightDiverted(Flight):
    """A flight departed, but landed elsewhere; how long it was in the air is not known."""

    aircraft: str
    departure_delay: int
    reached_destination: bool
    """Whether it came there in the end."""


class FlightCancelled(Flight):
    """A flight did not take place."""

    aircraft: str | None = None


class AirlineListed(Event):
    """An airline's name is known."""

    carrier: str
    name: str


class DelayAlert(Event):
    """A flight left so late that somebody should look after its passengers."""

    flight: str
    carrier: str
    origin: str
    destination: str
    departure_delay: int


def aircraft_or_flight(event: FlightFlown | FlightDiverted | FlightCancelled) -> str:
    """Return the key of `flights`: order is kept for each aircraft."""
    return event.aircraft or event.flight


flights = Topic("flights", FlightFlown, FlightDiverted, FlightCancelled, key=aircraft_or_flight)
"""As they come in from outside, in order for each aircraft."""

flight_log = Topic("flight-log", FlightFlown, FlightDiverted, FlightCancelled, key="flight")
"""The plausible ones, each under its own key, so that a view can keep a row for each."""

airlines = Topic("airlines", AirlineListed, key="carrier")
delay_alerts = Topic("delay-alerts", DelayAlert, key="flight")
