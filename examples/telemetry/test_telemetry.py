"""A year of real readings: days and storms as pandas finds them, silence as the clock does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest

from eventmill.testing import Host, TransformKit
from examples.flights.data import folder
from examples.telemetry import data
from examples.telemetry.service import (
    SILENT_AFTER,
    STORM_GAP,
    STORM_WIND,
    CameBack,
    Climate,
    Day,
    FellSilent,
    Reading,
    Storm,
    alerts,
    daily,
    days,
    readings,
    service,
    storms,
)

NOON = datetime(2013, 7, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def table() -> Any:
    whole = pd.read_csv(folder() / "weather.csv")
    whole["at"] = pd.to_datetime(whole.time_hour, utc=True)
    return whole.sort_values("at", kind="stable")


def fed(kit: TransformKit) -> list[Any]:
    events = list(data.readings())
    for at in range(0, len(events), 1_000):
        kit.feed(*events[at : at + 1_000])
    kit.advance(timedelta(days=1))
    return kit.published


def test_days_are_those_of_pandas(table: Any) -> None:
    found: list[Day] = fed(TransformKit(daily))
    known = table[table.temp.notna()]
    by_day = known.groupby(["origin", (known["at"] - pd.Timedelta(hours=5)).dt.date]).temp
    expected = by_day.agg(["count", "mean", "min", "max"])
    assert len(found) == len(expected) == 1_092
    for day in found:
        row = expected.loc[day.station, (day.begin - timedelta(hours=5)).date()]
        assert (day.readings, day.coldest, day.warmest) == (row["count"], row["min"], row["max"])
        assert day.mean == pytest.approx(row["mean"])


def test_storms_are_those_of_pandas(table: Any) -> None:
    found: list[Storm] = fed(TransformKit(storms))
    blown = table[table.wind_speed >= STORM_WIND].copy()
    gap = blown.groupby("origin")["at"].diff() >= pd.Timedelta(STORM_GAP)
    blown["storm"] = gap.groupby(blown.origin).cumsum()
    grouped = blown.groupby(["origin", "storm"])
    expected = grouped.agg(begin=("at", "min"), end=("at", "max"), wind=("wind_speed", "max"))
    rows = {(key[0], row.begin, row.end, row.wind) for key, row in expected.iterrows()}
    assert {(s.station, s.begin, s.end, s.wind) for s in found} == rows
    assert len(found) == len(rows) > 100


def reading(hours: float, temperature: float | None = 60.0) -> Reading:
    at = NOON + timedelta(hours=hours)
    return Reading(station="JFK", at=at, temperature=temperature, wind=5.0, gust=None)


async def test_a_station_that_says_nothing_is_noticed() -> None:
    async with Host(service) as host:
        probe = host.probe(alerts)
        await host.publish(readings, reading(0))
        await host.advance(SILENT_AFTER - timedelta(minutes=1))
        await host.publish(readings, reading(1))
        await host.advance(SILENT_AFTER - timedelta(minutes=1))
        await probe.expect_none()
        await host.advance(timedelta(minutes=1))
        assert await probe.expect_one(FellSilent) == FellSilent(station="JFK")
        await host.publish(readings, reading(5))
        assert await probe.expect_one(CameBack) == CameBack(station="JFK")


async def test_a_day_ends_when_nothing_more_comes_and_late_readings_are_kept() -> None:
    async with Host(service) as host:
        probe = host.probe(days)
        await host.publish(readings, reading(0, 50.0), reading(1, 70.0), reading(2, None))
        await host.advance(timedelta(hours=12))
        day = await probe.expect_one(Day)
        assert (day.readings, day.mean) == (2, 60.0)
        (row,) = await host.query(Climate.all)
        assert (row.station, row.mean) == ("JFK", 60.0)
