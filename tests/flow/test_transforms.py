"""Transforms on every engine: results come once, through failures, restarts and resets."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from eventmill import Effect, KeyValueEntity, Service, command, component, consumer, query, send
from eventmill.model.commit import Commit, LetterStatus
from eventmill.pipelines import Stream, Tumbling, Window, count
from eventmill.testing import FaultyStore, Host
from tests.flow import weather
from tests.flow.weather import (
    MINUTE,
    SESSIONS,
    Answer,
    Both,
    Hour,
    answers,
    both,
    hourly,
    hours,
    joined,
    late,
    reading,
    readings,
    service,
)


@component("notes")
class Notes(KeyValueEntity):
    number: int = 0

    @command
    def add(self) -> Effect[None]:
        return self.update(number=self.number + 1)

    @query
    def count(self) -> int:
        return self.number


STATIONS = [f"s{n}" for n in range(5)]


@pytest.fixture(autouse=True)
def whole() -> Iterator[None]:
    yield
    weather.BROKEN.clear()


def writes(commit: Commit) -> bool:
    """Whether a commit is a transform's."""
    return any(offset.subscription == "hourly" for offset in commit.offsets)


async def test_windows_come_once_whatever_fails(store: FaultyStore) -> None:
    async with Host(service(hourly()), store=store) as host:
        probe = host.probe(hours)
        number = 0
        for turn, when in enumerate(("before", "after", "before", "after")):
            await host.operations.pause("hourly")
            for minute in (10, 59, 0):
                for station in STATIONS:
                    await host.publish(readings, reading(station, 60 * turn + minute, number))
                    number += 1
            store.fail(when=when, matching=writes)  # type: ignore[arg-type]
            await host.operations.resume("hourly")
            await host.settle()
            if turn % 2:
                await host.restart(crash=True)
        assert store.injected == 4
        found = await probe.expect_n(3 * len(STATIONS), Hour)
        for n, station in enumerate(STATIONS):
            mine = [hour for hour in found if hour.station == station]
            assert [hour.start for hour in mine] == [0, 60, 120]
            assert mine[0].numbers == [n, n + 5, n + 10]
            assert mine[1].numbers == [n + 15, n + 20, n + 25]


async def test_what_is_late_goes_to_its_topic(store: FaultyStore) -> None:
    async with Host(service(hourly()), store=store) as host:
        results, too_late = host.probe(hours), host.probe(late)
        await host.publish(readings, reading("a", 10, 1), reading("a", 95, 2))
        await host.publish(readings, reading("a", 20, 3), reading("a", 65, 4))
        assert (await results.expect_one(Hour)).numbers == [1]
        assert (await too_late.expect_one(weather.Reading)).number == 3


async def test_without_a_topic_what_is_late_is_kept_and_blocks_nobody(store: FaultyStore) -> None:
    async with Host(service(hourly(late=None)), store=store) as host:
        results = host.probe(hours)
        await host.publish(readings, reading("a", 10, 1), reading("a", 95, 2), reading("a", 20, 3))
        (letter,) = await host.letters()
        assert (letter.status, letter.code) == (LetterStatus.REFUSED, "transform.late")
        await host.publish(readings, reading("a", 155, 4))
        assert [hour.numbers for hour in await results.expect_n(2, Hour)] == [[1], [2]]


async def test_a_silent_key_is_closed(store: FaultyStore) -> None:
    idle = timedelta(hours=2)
    async with Host(service(hourly(idle=idle)), store=store) as host:
        results, too_late = host.probe(hours), host.probe(late)
        await host.publish(readings, reading("a", 10, 1), reading("b", 10, 2))
        await host.advance(timedelta(hours=1.5))
        await host.publish(readings, reading("b", 20, 3))
        await host.restart(crash=True)
        await host.advance(timedelta(hours=1))
        assert (await results.expect_one(Hour)).station == "a"
        await host.publish(readings, reading("a", 30, 4))
        await too_late.expect_one(weather.Reading)
        await host.advance(timedelta(hours=1))
        assert (await results.expect_one(Hour)).numbers == [2, 3]
        await host.advance(timedelta(days=8))  # forgotten: what is late begins anew
        assert [timer.name for timer in await store.timers(limit=9)] == []
        await host.publish(readings, reading("a", 30, 5))
        await host.advance(idle)
        assert (await results.expect_one(Hour)).numbers == [5]


async def test_what_others_send_is_not_counted_as_handled(store: FaultyStore) -> None:
    @consumer("noting", source=readings)
    def noting(event: weather.Reading) -> Effect[None]:
        return send(Notes.add, event.station)

    parts = [hourly(idle=timedelta(hours=2)), noting, Notes]
    async with Host(
        Service("weather", components=parts, topics=[readings, hours, late]), store=store
    ) as host:
        await host.publish(readings, *(reading("a", 10, n) for n in range(3)))
        await host.settle()
        assert await host.call(Notes.count, "a") == 3
        assert host.runtime.subscription("hourly").handled == 3


async def test_an_event_after_the_silence_closes_first(store: FaultyStore) -> None:
    async with Host(service(hourly(SESSIONS, idle=timedelta(hours=1))), store=store) as host:
        results = host.probe(hours)
        await host.operations.pause("hourly")
        await host.publish(readings, reading("a", 10, 1))
        await host.advance(timedelta(hours=2))
        await host.publish(readings, reading("a", 120, 2))
        await host.operations.resume("hourly")
        # Closed by when they were taken, though both are read at once, and no timer fired.
        assert (await results.expect_one(Hour)).numbers == [1]
        await host.advance(timedelta(hours=1))
        assert (await results.expect_one(Hour)).numbers == [2]


async def test_a_poison_event_holds_up_its_key_alone(store: FaultyStore) -> None:
    weather.BROKEN.add(2)
    async with Host(service(hourly()), store=store) as host:
        results = host.probe(hours)
        for station in ("a", "b"):
            first = 0 if station == "a" else 10
            await host.publish(readings, reading(station, 0, first))
            await host.settle()
            await host.publish(
                readings,
                *(reading(station, m, first + n) for n, m in enumerate((30, 59, 95), 1)),
            )
        assert (await results.expect_one(Hour)).numbers == [10, 11, 12]
        await host.settle(retries=True)
        assert [x.status for x in await host.letters()] == [LetterStatus.DEAD, LetterStatus.WAITING]
        weather.BROKEN.clear()
        await host.operations.redrive("hourly")
        await host.settle(retries=True)
        assert (await results.expect_one(Hour)).numbers == [0, 1, 2]


async def test_a_reset_begins_anew(store: FaultyStore) -> None:
    async with Host(service(hourly()), store=store) as host:
        results = host.probe(hours)
        for number, minute in enumerate((0, 59, 95, 100)):
            await host.publish(readings, *(reading(s, minute, number) for s in STATIONS))
        first = await results.expect_n(5, Hour)
        for crash in (False, True):
            await host.operations.reset("hourly", "beginning")
            if crash:
                await host.restart(crash=True)
            again = await results.expect_n(5, Hour)
            assert sorted(map(repr, again)) == sorted(map(repr, first))
        await host.publish(readings, reading("s0", 160, 4))
        assert (await results.expect_one(Hour)).numbers == [2, 3]


async def test_another_definition_reads_no_state_of_the_former(store: FaultyStore) -> None:
    async with Host(service(hourly()), store=store) as host:
        results = host.probe(hours)
        await host.publish(readings, reading("a", 10, 1))
        await host.settle()
        host.service = service(hourly(SESSIONS))
        await host.restart()
        await host.publish(readings, reading("a", 20, 2), reading("b", 20, 3))
        await host.settle(retries=True)
        (letter,) = await host.letters()
        assert (letter.key, letter.code) == ("readings/a", "transform.changed")
        await host.operations.reset("hourly", "beginning")
        await host.publish(readings, reading("a", 120, 4))
        assert (await results.expect_one(Hour)).numbers == [1, 2]
        assert await host.letters() == []


async def test_a_window_reads_no_state_of_a_join(store: FaultyStore) -> None:
    async with Host(service(joined()), store=store) as host:
        await host.publish(readings, reading("a", 10, 1))
        await host.settle()
        windows = Stream(readings).window(SESSIONS, time=weather.at).aggregate(count())
        host.service = service(
            windows.map(lambda pane: Hour(station=pane.key, start=0, numbers=[])).to(
                hours, id="joined"
            )
        )
        await host.restart()
        await host.publish(readings, reading("a", 20, 2), reading("b", 20, 3))
        await host.settle()
        (letter,) = await host.letters()
        assert (letter.key, letter.code) == ("readings/a", "transform.changed")


@pytest.mark.parametrize("window", [Tumbling(60 * MINUTE), SESSIONS], ids=["tumbling", "session"])
async def test_a_time_beyond_all_windows_fails_its_event_alone(
    store: FaultyStore, window: Window
) -> None:
    last = (datetime.max.replace(tzinfo=UTC) - weather.NOON) // MINUTE
    async with Host(service(hourly(window, idle=timedelta(hours=1))), store=store) as host:
        results = host.probe(hours)
        await host.publish(readings, reading("a", 10, 1), reading("a", last, 2))
        await host.publish(readings, reading("b", 10, 3))
        await host.advance(timedelta(hours=3))
        assert {hour.station for hour in await results.expect_n(2, Hour)} == {"a", "b"}
        (letter,) = await host.letters()
        assert (letter.entry.type, letter.code) == ("Reading", "transform.time")


async def test_a_join_pairs_once_whatever_fails(store: FaultyStore) -> None:
    async with Host(service(joined(idle=timedelta(hours=1))), store=store) as host:
        results = host.probe(both)
        for turn, when in enumerate(("before", "after")):
            await host.operations.pause("joined")
            await host.publish(readings, *(reading("a", 60 * turn + 30 * n, n) for n in (0, 1)))
            await host.publish(answers, Answer(station="a", minute=60 * turn + 5, number=10))
            await host.publish(answers, Answer(station="b", minute=5, number=11))
            store.fail(when=when, matching=lambda commit: bool(commit.rows))  # type: ignore[arg-type]
            await host.operations.resume("joined")
            await host.settle()
            await host.restart(crash=True)
        await host.advance(timedelta(hours=3))
        found = [(pair.reading, pair.answer) for pair in await results.expect_n(4, Both)]
        assert sorted(found, key=str) == [(0, 10), (0, 10), (1, None), (1, None)]
        assert store.injected == 2


async def test_it_says_that_it_is_a_transform(store: FaultyStore) -> None:
    async with Host(service(hourly(idle=MINUTE)), store=store) as host:
        status = await host.operations.consumer("hourly")
        assert (status.kind, status.sources) == ("transform", ["$commands", "readings"])
