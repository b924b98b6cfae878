"""The expected figures against the same ones by pandas, and a few well known of this data."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from examples.flights import data
from examples.flights.expected import BROKEN_EVERY, LATE_MINUTES, Expected, compute
from examples.flights.service import LATE_MINUTES as SERVICE_LATE_MINUTES


@pytest.fixture(scope="module")
def expected() -> Expected:
    return compute()


@pytest.fixture(scope="module")
def table() -> Any:
    whole = pd.read_csv(data.folder() / "flights.csv.zip")
    return whole[whole.tailnum != "D942DN"]


def test_counts(expected: Expected, table: Any) -> None:
    assert expected.sent == 336_776 + 32
    assert expected.dead_letters == 32 + 4
    assert expected.kinds == {"flown": 327_342, "diverted": 1_175, "cancelled": 8_255}
    assert expected.alerts == (table.dep_delay >= LATE_MINUTES).sum() == 27_058
    assert LATE_MINUTES == SERVICE_LATE_MINUTES
    assert BROKEN_EVERY == data.BROKEN_EVERY


def test_flights_behind_a_dead_letter_are_held_back(expected: Expected) -> None:
    dead: set[str] = set()
    held_back = 0
    for event in data.flights():
        if "broken" in event or event["subject"] == "D942DN":
            dead.add(event["subject"])
        else:
            held_back += event["subject"] in dead
    assert expected.held_back == held_back == 2_697


def test_carriers(expected: Expected, table: Any) -> None:
    groups = table.groupby("carrier")
    assert set(expected.carriers) == set(groups.groups)
    for code, group in groups:
        carrier = expected.carriers[code]
        assert carrier.flights == len(group)
        assert carrier.cancelled == group.dep_time.isna().sum()
        assert carrier.departure_delay.value == pytest.approx(group.dep_delay.mean())
        assert carrier.arrival_delay.value == pytest.approx(group.arr_delay.mean())
    assert expected.carriers["F9"].name == "Frontier Airlines Inc."


def test_hours(expected: Expected, table: Any) -> None:
    groups = table.groupby(["origin", "hour"])
    assert set(expected.hours) == set(groups.groups)
    for at, group in groups:
        assert expected.hours[at].flights == len(group)
        mean = group.dep_delay.mean()
        value = expected.hours[at].departure_delay.value
        assert value is None if pd.isna(mean) else value == pytest.approx(mean)


def test_aircraft(expected: Expected, table: Any) -> None:
    groups = table[table.dep_time.notna()].groupby("tailnum")
    assert set(expected.aircraft) == set(groups.groups)
    sums = groups.agg(
        flights=("flight", "size"), miles=("distance", "sum"), air=("air_time", "sum")
    )
    for tailnum, flights, miles, air in sums.itertuples():
        plane = expected.aircraft[tailnum]
        assert (plane.flights, plane.distance, plane.air_time) == (flights, miles, air)
    busiest = max(expected.aircraft, key=lambda tailnum: expected.aircraft[tailnum].flights)
    assert busiest == "N725MQ"


def test_overlaps(expected: Expected, table: Any) -> None:
    flown = table[table.air_time.notna()].copy()
    scheduled = pd.to_datetime(flown.time_hour) + pd.to_timedelta(flown.minute, unit="m")
    flown["scheduled"] = scheduled
    flown["departed"] = scheduled + pd.to_timedelta(flown.dep_delay, unit="m")
    flown["landed"] = flown.departed + pd.to_timedelta(flown.air_time, unit="m")
    flown = flown.sort_values("scheduled", kind="stable")
    before = flown.groupby("tailnum")[["departed", "landed"]].shift(1)
    overlap = (flown.departed < before.landed) & (before.departed < flown.landed)
    found = overlap.groupby(flown.tailnum).sum()
    assert {t: p.overlaps for t, p in expected.aircraft.items() if p.overlaps} == found[
        found > 0
    ].to_dict()


def test_the_first_flights_alone(expected: Expected) -> None:
    few = compute(1_000)
    assert few.sent == sum(few.kinds.values()) == 1_000
    assert few.carriers["UA"].flights < expected.carriers["UA"].flights
