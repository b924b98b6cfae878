"""The data: hourly readings of the weather stations at EWR, JFK and LGA in 2013.

26,115 rows; 165 hours of the stations are missing, and 1 row has no temperature. They are read from the
files of the package without importing it, because its import loads all tables into pandas.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import datetime

from examples.flights.data import MISSING, folder
from examples.telemetry.service import Reading


def readings() -> Iterator[Reading]:
    """Yield the year in order of time."""
    with (folder() / "weather.csv").open(newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["time_hour"])
    for row in rows:
        yield Reading(
            station=row["origin"],
            at=datetime.fromisoformat(row["time_hour"]),
            temperature=_number(row["temp"]),
            wind=_number(row["wind_speed"]),
            gust=_number(row["wind_gust"]),
        )


def _number(text: str) -> float | None:
    return None if text == MISSING else float(text)
