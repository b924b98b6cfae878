"""When schedules are due, held against a walk over every minute of the days around clock changes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from itertools import takewhile
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from eventmill.errors import ConfigurationError
from eventmill.model import cron, limits
from eventmill.model.schedule import EPOCH, Missed, Schedule

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
ZONES = (
    "UTC",
    "Europe/Berlin",
    "Europe/London",
    "America/New_York",
    "America/St_Johns",
    "America/Sao_Paulo",  # midnight was skipped
    "America/Santiago",
    "America/Havana",
    "Africa/Cairo",
    "Africa/Casablanca",  # back for Ramadan
    "Asia/Beirut",
    "Asia/Tehran",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",  # half an hour
    "Pacific/Chatham",
)


class Days(NamedTuple):
    """Four days of a zone, with a change of its clocks in the middle if it has one."""

    zone: ZoneInfo
    begin: datetime

    @property
    def end(self) -> datetime:
        return self.begin + 4 * DAY

    def minutes(self) -> Iterator[tuple[datetime, datetime]]:
        """Every minute, and the local time then."""
        for n in range(4 * 24 * 60):
            moment = self.begin + n * MINUTE
            yield moment, moment.astimezone(self.zone).replace(tzinfo=None)


@st.composite
def days(draw: st.DrawFn) -> Days:
    zone = ZoneInfo(draw(st.sampled_from(ZONES)))
    begin = datetime(draw(st.integers(2012, 2030)), 1, 1, tzinfo=UTC)
    offsets = [(begin + n * DAY).astimezone(zone).utcoffset() for n in range(365)]
    changes = [n for n in range(1, 365) if offsets[n - 1] != offsets[n]]
    middle = draw(st.sampled_from(changes or [100]))
    return Days(zone, begin + middle * DAY - 2 * DAY)


numbers = st.lists(st.integers(0, 59), min_size=1, max_size=3, unique=True)
night = st.lists(st.integers(0, 4), min_size=1, max_size=3, unique=True)


def listed(values: list[int]) -> str:
    return ",".join(map(str, values))


def due(expression: str, where: Days, start: datetime) -> list[datetime]:
    found = cron.moments(expression, where.zone, start)
    return list(takewhile(lambda moment: moment < where.end, found))


@given(days(), numbers, night, st.integers(0, 3 * 24 * 60))
@settings(max_examples=50)
def test_fixed_times_are_due_once_a_day(
    where: Days, minutes: list[int], hours: list[int], start: int
) -> None:
    walked = list(where.minutes())
    begin = where.begin + start * MINUTE
    first, last = walked[0][1].date(), walked[-1][1].date()
    expected = set()
    for n in range(1, (last - first).days):
        for hour in hours:
            for minute in minutes:
                wanted = datetime.combine(first + n * DAY, time(hour, minute))
                expected.add(next(moment for moment, local in walked if local >= wanted))
    inner = due(f"{listed(minutes)} {listed(hours)} * * *", where, begin)
    days_known = {m for m in inner if first < m.astimezone(where.zone).date() < last}
    assert days_known == {moment for moment in expected if moment > begin}
    assert inner == sorted(set(inner))


@given(
    days(),
    st.sampled_from(["*", "*/7", "*/30", "10,20"]),
    st.sampled_from(["*", "*/2", "0-3", "2", "1,2"]),
    st.integers(0, 3 * 24 * 60),
)
@settings(max_examples=50)
def test_others_are_due_at_every_minute_that_matches(
    where: Days, minute: str, hour: str, start: int
) -> None:
    if not (minute.startswith("*") or hour.startswith("*")):
        return
    expression, begin = f"{minute} {hour} * * *", where.begin + start * MINUTE
    said = CronSim(expression, where.begin)
    expected = [
        moment
        for moment, local in where.minutes()
        if moment > begin and local.minute in said.minutes and local.hour in said.hours
    ]
    assert due(expression, where, begin) == expected


BERLIN = ZoneInfo("Europe/Berlin")


def in_berlin(expression: str, day: datetime, count: int) -> list[str]:
    found = cron.moments(expression, BERLIN, day.astimezone(UTC))
    moments = [next(found) for _ in range(count)]
    return [moment.astimezone(BERLIN).isoformat() for moment in moments]


SPRING = datetime(2026, 3, 29, tzinfo=BERLIN)
AUTUMN = datetime(2026, 10, 25, tzinfo=BERLIN)


def test_a_time_that_is_skipped_is_due_when_the_gap_ends() -> None:
    assert in_berlin("30 2 * * *", SPRING, 2) == [
        "2026-03-29T03:00:00+02:00",
        "2026-03-30T02:30:00+02:00",
    ]


def test_a_time_that_comes_twice_is_due_the_first_time() -> None:
    assert in_berlin("30 2 * * *", AUTUMN, 2) == [
        "2026-10-25T02:30:00+02:00",
        "2026-10-26T02:30:00+01:00",
    ]


def test_what_is_due_all_the_time_follows_the_time_that_passes() -> None:
    assert in_berlin("*/30 * * * *", AUTUMN + timedelta(hours=1, minutes=45), 5) == [
        "2026-10-25T02:00:00+02:00",
        "2026-10-25T02:30:00+02:00",
        "2026-10-25T02:00:00+01:00",
        "2026-10-25T02:30:00+01:00",
        "2026-10-25T03:00:00+01:00",
    ]


def test_a_rare_one_in_an_hour_that_comes_twice_is_due_in_both() -> None:
    assert in_berlin("*/30 2 25 10 *", AUTUMN + timedelta(hours=2, minutes=45), 3) == [
        "2026-10-25T02:00:00+01:00",
        "2026-10-25T02:30:00+01:00",
        "2027-10-25T02:00:00+02:00",
    ]


def at(text: str) -> int:
    return (datetime.fromisoformat(text) - EPOCH) // timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (1, "every 1 s"),
        (2.5, "every 2.5 s"),
        (600, "every 10 min"),
        (5_405, "every 1 h 30 min 5 s"),
        (2 * 86_400, "every 2 d"),
    ],
)
def test_an_interval_is_written_for_people(seconds: float, text: str) -> None:
    assert str(Schedule(every=round(seconds * 1_000_000))) == text


HOURLY = Schedule(cron="0 * * * *")


def test_an_interval_is_due_at_its_multiples() -> None:
    schedule = Schedule(every=15 * 60 * 1_000_000)
    assert schedule.next_after(at("2026-01-01T10:07:00Z")) == at("2026-01-01T10:15:00Z")
    assert schedule.next_after(at("2026-01-01T10:15:00Z")) == at("2026-01-01T10:30:00Z")


@pytest.mark.parametrize(
    ("missed", "now", "expected"),
    [
        (Missed.SKIP, "2026-01-01T03:00:59Z", ["03:00"]),
        (Missed.SKIP, "2026-01-01T03:01:01Z", []),
        (Missed.ONCE, "2026-01-01T03:59:00Z", ["03:00"]),
        (Missed.ALL, "2026-01-01T03:59:00Z", ["01:00", "02:00", "03:00"]),
    ],
)
def test_missed_ticks_have_the_runs_that_they_shall_have(
    missed: Missed, now: str, expected: list[str]
) -> None:
    schedule = Schedule(cron="0 * * * *", missed=missed)
    runs = schedule.runs(at("2026-01-01T01:00:00Z"), at(now))
    assert runs == [at(f"2026-01-01T{time}:00Z") for time in expected]


def test_years_without_a_node_lead_to_a_bounded_number_of_runs() -> None:
    schedule = Schedule(cron="* * * * *", missed=Missed.ALL)
    due, now = at("2016-01-01T00:00:00Z"), at("2026-01-01T00:00:30Z")
    runs = schedule.runs(due, now)
    assert len(runs) == limits.MISSED_TICKS_MAX
    assert runs[-1] == at("2026-01-01T00:00:00Z")
    assert runs[0] == at("2026-01-01T00:00:00Z") - (limits.MISSED_TICKS_MAX - 1) * 60_000_000


@given(
    st.sampled_from([HOURLY, Schedule(cron="*/7 3 * * MON"), Schedule(every=90_000_000)]),
    st.integers(0, 40 * 24 * 60 * 60_000_000),
    st.integers(0, 20 * 24 * 60 * 60_000_000),
    st.integers(1, 30),
)
def test_the_last_ticks_are_those_that_a_walk_ends_with(
    schedule: Schedule, after: int, span: int, most: int
) -> None:
    walked = list(takewhile(lambda tick: tick <= after + span, schedule.ticks(after)))
    assert schedule.last_between(after, after + span, most) == walked[-most:]


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        (Schedule(cron="0 3 * *"), "Wrong number of fields; write minute, hour"),
        (Schedule(cron="0 0 3 * * *"), "Wrong number of fields; write minute, hour"),
        (Schedule(cron="0 25 * * *"), "Bad hour"),
        (Schedule(cron="0 0 30 2 *"), "Bad day-of-month"),
        (Schedule(cron="* * */20 * 1L"), "never due"),
        (Schedule(cron="0 3 * * *", timezone="Mars/Base"), "no time zone 'Mars/Base'"),
        (Schedule(cron="0 3 * * *", timezone="/etc/passwd"), "no time zone"),
        (Schedule(every=1_000), "an interval is 1 to"),
        (Schedule(every=-5_000_000), "an interval is 1 to"),
        (Schedule(every=400 * 86_400 * 1_000_000), "an interval is 1 to"),
    ],
)
def test_what_is_never_due_or_too_often_is_refused(schedule: Schedule, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        schedule.check()
