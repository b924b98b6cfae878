"""The stream of events against the tables that it is made of, read by pandas."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import msgspec
import pandas as pd
import pytest

from eventmill import InvalidPayload, Rejected
from eventmill.model.events import event_type_of
from examples.flights import data, events
from examples.flights.service import record_flight, service

Stream = list[data.CloudEvent]


@pytest.fixture(scope="module")
def year() -> Stream:
    return list(data.flights())


@pytest.fixture(scope="module")
def real(year: Stream) -> Stream:
    return [event for event in year if "broken" not in event]


@pytest.fixture(scope="module", autouse=True)
def put_together() -> None:
    """Handlers know their parameters only then."""
    _, problems = service.define()
    assert problems == []


@pytest.fixture(scope="module")
def table() -> Any:
    return pd.read_csv(data.folder() / "flights.csv.zip")


def decoded(event: data.CloudEvent) -> Any:
    kind = event_type_of(getattr(events, event["type"]))
    return kind.decode(msgspec.json.encode(event["data"]), 1)


def test_every_row_is_one_event_of_its_kind(real: Stream, table: Any) -> None:
    cancelled = table.dep_time.isna()
    flown = table.air_time.notna()
    assert len(real) == len(table) == 336_776
    assert Counter(event["type"] for event in real) == {
        "FlightFlown": flown.sum(),
        "FlightDiverted": (~cancelled & ~flown).sum(),
        "FlightCancelled": cancelled.sum(),
    }
    reached = [e["data"]["reached_destination"] for e in real if e["type"] == "FlightDiverted"]
    assert sum(reached) == (table.arr_time.notna() & ~flown).sum() == 717


def test_no_other_value_is_missing_or_at_odds(table: Any) -> None:
    cancelled = table.dep_time.isna()
    assert (table.dep_delay.isna() == cancelled).all()
    assert (table.arr_delay.isna() == table.air_time.isna()).all()
    assert table[cancelled].tailnum.isna().sum() == table.tailnum.isna().sum() == 2_512
    assert (table[table.air_time.notna()].air_time > 0).all()
    assert not table.duplicated(["year", "month", "day", "carrier", "flight", "origin"]).any()
    for actual, planned, delay in (
        (table.dep_time, table.sched_dep_time, table.dep_delay),
        (table.arr_time, table.sched_arr_time, table.arr_delay),
    ):
        off = (minutes(actual) - minutes(planned) - delay) % 1_440
        assert (off[delay.notna()] == 0).all()


def minutes(clock: Any) -> Any:
    """Minutes since midnight of a time written as 1745."""
    return clock // 100 * 60 + clock % 100


def test_sums_agree_with_the_table(real: Stream, table: Any) -> None:
    totals: Counter[str] = Counter()
    for event in real:
        for name in ("distance", "departure_delay", "arrival_delay", "air_time", "hour"):
            totals[name] += event["data"].get(name, 0)
    assert totals == {
        "distance": table.distance.sum(),
        "departure_delay": table.dep_delay.sum(),
        "arrival_delay": table.arr_delay.sum(),
        "air_time": table.air_time.sum(),
        "hour": table.hour.sum(),
    }


def test_events_come_in_order_of_schedule_and_have_ids_of_their_own(year: Stream) -> None:
    times = [event["time"] for event in year]
    assert times == sorted(times)
    assert times[0] == "2013-01-01T10:15:00Z"
    assert times[-1] == "2014-01-01T04:59:00Z"
    assert len({event["id"] for event in year}) == len(year)


def test_the_stream_is_the_same_each_time(year: Stream) -> None:
    beginning = list(data.flights(20_000))
    assert len(beginning) == 20_001
    assert beginning == year[:20_001]


def test_every_real_event_decodes_and_has_the_subject_of_its_topic(real: Stream) -> None:
    for event in real:
        assert events.aircraft_or_flight(decoded(event)) == event["subject"]


def test_only_four_real_flights_are_malformed(real: Stream) -> None:
    refused = Counter(event["subject"] for event in real if is_refused(event))
    assert refused == {"D942DN": 4}


def is_refused(event: data.CloudEvent) -> bool:
    try:
        record_flight(decoded(event))
    except Rejected:
        return True
    return False


def test_broken_copies_follow_their_flights_and_are_malformed_in_two_ways(year: Stream) -> None:
    places = [place for place, event in enumerate(year) if "broken" in event]
    assert len(places) == 327_346 // data.BROKEN_EVERY == 32
    for number, place in enumerate(places, 1):
        before, copy = year[place - 1], year[place]
        assert copy["id"] == f"{before['id']}/broken"
        assert copy["subject"] == before["subject"]
        with pytest.raises(Rejected if number % 2 else InvalidPayload):
            record_flight(decoded(copy))


def test_batches_keep_the_order_of_each_subject(year: Stream) -> None:
    part = year[:10_000]
    lanes: dict[str, set[int]] = defaultdict(set)
    sent: dict[str, list[str]] = defaultdict(list)
    sizes = Counter[int]()
    for lane, batch in data.batches(part, size=100, lanes=3):
        sizes[len(batch)] += 1
        for event in batch:
            lanes[event["subject"]].add(lane)
            sent[event["subject"]].append(event["id"])
    assert sum(size * count for size, count in sizes.items()) == len(part)
    assert max(sizes) == 100
    assert sum(count for size, count in sizes.items() if size < 100) <= 3
    assert {len(of_subject) for of_subject in lanes.values()} == {1}
    wanted: dict[str, list[str]] = defaultdict(list)
    for event in part:
        wanted[event["subject"]].append(event["id"])
    assert sent == wanted


def test_airlines_are_those_that_fly(table: Any) -> None:
    listed = [decoded(event) for event in data.airlines()]
    assert {airline.carrier for airline in listed} == set(table.carrier)
    assert all(airline.name for airline in listed)
