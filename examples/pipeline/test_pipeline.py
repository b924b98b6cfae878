"""January 2013 through the pipeline: every flight is in one hour or one correction, and has its weather."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any

import pytest

from eventmill.testing import Host
from examples.flights import data as flights
from examples.pipeline.service import (
    HOUR,
    Corrected,
    Hour,
    Reported,
    Weathered,
    corrections,
    hours,
    reports,
    service,
    weathered,
)
from examples.telemetry import data as weather
from examples.telemetry.service import readings

FLIGHTS = 9_000
"""Some ten days."""


def landed() -> list[Reported]:
    """Flights in the order in which they landed."""
    found = []
    for event in flights.flights(FLIGHTS):
        flight: Any = event["data"]
        if "broken" in event or event["type"] == "FlightCancelled":
            continue
        scheduled = datetime.fromisoformat(flight["scheduled"])
        delay = flight["departure_delay"]
        after = timedelta(minutes=delay + flight.get("air_time", 0))
        report = Reported(flight["flight"], flight["origin"], scheduled, delay)
        found.append((scheduled + after, report))
    found.sort(key=lambda pair: pair[0])
    return [report for _, report in found]


def by_hand(reported: list[Reported]) -> tuple[dict[tuple[str, datetime], list[int]], list[str]]:
    """Delays by origin and hour, and the flights that come too late, as the definition says."""
    delays: dict[tuple[str, datetime], list[int]] = defaultdict(list)
    late, newest = [], dict[str, datetime]()
    for report in reported:
        hour = report.scheduled.replace(minute=0)
        known = newest.get(report.origin, report.scheduled)
        if hour + timedelta(hours=1) <= known - timedelta(hours=8):
            late.append(report.flight)
        else:
            delays[report.origin, hour].append(report.delay or 0)
        newest[report.origin] = max(known, report.scheduled)
    return delays, late


def with_weather(reported: list[Reported]) -> list[tuple[str, float | None]]:
    """Each flight with the readings of its hour: of two, if it should depart on the hour."""
    by_station: dict[str, dict[datetime, float | None]] = defaultdict(dict)
    for reading in weather.readings():
        by_station[reading.station][reading.at] = reading.wind
    met = []
    for report in reported:
        begin = report.scheduled.replace(minute=0)
        begins = [begin] if report.scheduled.minute else [begin - HOUR, begin]
        own = by_station[report.origin]
        met += [(report.flight, own[at]) for at in begins if at in own]
    return met


async def published(host: Host, reported: list[Reported]) -> None:
    """Let reports and readings come as time passes."""
    to_come = list(weather.readings())
    for at in range(0, len(reported), 500):
        some = reported[at : at + 500]
        await host.publish(reports, *some)
        now = max(report.scheduled for report in some)
        await host.publish(readings, *(r for r in to_come if r.at <= now))
        to_come = [reading for reading in to_come if reading.at > now]
        await host.settle()


async def test_ten_days() -> None:
    reported = landed()
    delays, late = by_hand(reported)
    met = with_weather(reported)
    async with Host(service, patience=60) as host:
        told, corrected = host.probe(hours), host.probe(corrections)
        paired = host.probe(weathered)
        await published(host, reported)
        await host.advance(timedelta(hours=9))
        found = await told.expect_n(len(delays), Hour)
        figures: dict[Any, Any] = {
            (h.origin, h.begin): (h.flights, h.mean, h.longest) for h in found
        }
        assert figures == {
            key: (len(own), pytest.approx(sum(own) / len(own)), max(own))
            for key, own in delays.items()
        }
        again = await corrected.expect_n(len(late), Corrected)
        assert sorted(one.flight for one in again) == sorted(late)
        assert len(late) > 3
        pairs = await paired.expect_n(len(met), Weathered)
        assert sorted(map(repr, met)) == sorted(repr((p.flight, p.wind)) for p in pairs)
