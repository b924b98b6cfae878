"""Schedules: one run per tick, missed ones, pauses, changes of code, clocks that are set."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from eventmill import Context, Effect, Event, Retry, Service, Topic, publish, scheduled, timed
from eventmill.errors import ConfigurationError, NotFound
from eventmill.model.action import Action
from eventmill.model.commit import LetterStatus
from eventmill.runtime.operating.inspection import Inspection
from eventmill.testing import FaultyStore, Host, VirtualClock


class Ran(Event):
    name: str
    tick: str


runs = Topic("runs", Ran, key="name")
broken: set[str] = set()


@pytest.fixture(autouse=True)
def mend() -> Iterator[None]:
    yield
    broken.clear()


def named(name: str, when: Any, **options: Any) -> Action[Any]:
    @scheduled(when, id=name, retry=Retry(attempts=2, initial=3.0), **options)
    async def run(ctx: Context, tick: datetime) -> Effect[None]:
        if name in broken:
            raise ValueError("it does not work")
        return publish(runs, Ran(name=name, tick=f"{tick:%d %H:%M:%S}"))

    return run


def service_of(*actions: Action[Any]) -> Service:
    return Service("clockwork", components=actions, topics=[runs])


nightly = named("nightly", "0 3 * * *")
often = named("often", timedelta(minutes=20))


async def ticks(host: Host) -> list[str]:
    """What ran so far, in order."""
    await host.settle()
    found = []
    page = await Inspection(host.runtime).messages("runs", after="beginning", limit=1_000)
    (kind,) = runs.event_types()
    for entry in sorted(page.messages, key=lambda entry: (entry.time, entry.position)):
        ran = kind.decode(entry.payload, entry.version)
        found.append(f"{ran.name} {ran.tick}")
    return found


async def test_each_tick_has_one_run(store: FaultyStore) -> None:
    async with Host(service_of(nightly, often), store=store) as host:
        await host.advance(timedelta(hours=1))
        assert await ticks(host) == [
            f"often 01 {at}" for at in ("00:20:00", "00:40:00", "01:00:00")
        ]
        (timer, _) = await host.store.timers(limit=9)
        assert timer.name == "$tick/nightly"
        assert timer.due == round(datetime(2026, 1, 1, 3, tzinfo=UTC).timestamp() * 1e6)
        await host.advance(timedelta(days=2))
        assert [t for t in await ticks(host) if "nightly" in t] == [
            "nightly 01 03:00:00",
            "nightly 02 03:00:00",
        ]


@pytest.mark.parametrize("crash", [False, True])
async def test_a_restart_repeats_no_tick_and_forgets_none(store: FaultyStore, crash: bool) -> None:
    async with Host(service_of(nightly), store=store) as host:
        for _ in range(10):
            await host.advance(timedelta(hours=6))
            await host.restart(crash=crash)
        assert await ticks(host) == [f"nightly 0{day} 03:00:00" for day in (1, 2, 3)]


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_tick_has_one_run_though_its_commit_is_doubtful(
    store: FaultyStore, when: str
) -> None:
    async with Host(service_of(nightly), store=store) as host:
        store.fail(
            when=when,  # type: ignore[arg-type]
            matching=lambda commit: any(e.source == "$action/nightly" for e in commit.entries),
        )
        await host.advance(timedelta(hours=4))
        assert await ticks(host) == ["nightly 01 03:00:00"]
    assert store.injected == 1


@pytest.mark.parametrize(
    ("missed", "expected"),
    [
        ("skip", []),
        ("once", ["hourly 01 05:00:00"]),
        ("all", [f"hourly 01 0{hour}:00:00" for hour in range(1, 6)]),
    ],
)
async def test_missed_ticks(store: FaultyStore, missed: str, expected: list[str]) -> None:
    async with Host(service_of(named("hourly", "0 * * * *", missed=missed)), store=store) as host:
        await host.settle()
        await host.stop()
        host.clock.move_to(host.clock.now() + 5 * 3_600_000_000 + 1_800_000_000)
        await host.start()
        assert await ticks(host) == expected
        await host.advance(timedelta(minutes=31))
        assert await ticks(host) == [*expected, "hourly 01 06:00:00"]


@pytest.mark.parametrize("missed", ["skip", "once", "all"])
async def test_a_short_restart_misses_nothing(store: FaultyStore, missed: str) -> None:
    async with Host(service_of(named("hourly", "0 * * * *", missed=missed)), store=store) as host:
        await host.advance(timedelta(minutes=59, seconds=50))
        await host.stop()
        host.clock.move_to(host.clock.now() + 30_000_000)
        await host.start()
        assert await ticks(host) == ["hourly 01 01:00:00"]


async def test_a_paused_schedule_lets_its_ticks_pass(store: FaultyStore) -> None:
    async with Host(service_of(nightly), store=store) as host:
        await host.operations.pause_schedule("nightly")
        await host.advance(timedelta(days=1))
        await host.restart()
        await host.advance(timedelta(days=1))
        assert await ticks(host) == []
        (status,) = await host.operations.schedules()
        assert status.paused
        await host.operations.run_schedule("nightly")
        assert await ticks(host) == ["nightly 03 00:00:00"]
        await host.operations.resume_schedule("nightly")
        await host.advance(timedelta(hours=4))
        assert await ticks(host) == ["nightly 03 00:00:00", "nightly 03 03:00:00"]
        with pytest.raises(NotFound, match="no schedule 'weekly'; there is nightly"):
            await host.operations.run_schedule("weekly")


async def test_a_changed_expression_counts_from_the_start_on(store: FaultyStore) -> None:
    async with Host(service_of(nightly), store=store) as host:
        await host.settle()
    clock = host.clock
    clock.move_to(clock.now() + 12 * 3_600_000_000)
    later = named("nightly", "0 5 * * *")
    async with Host(service_of(later), store=store, clock=clock) as host:
        await host.advance(timedelta(days=1))
        assert await ticks(host) == ["nightly 02 05:00:00"]


async def test_the_timer_of_a_schedule_that_is_gone_goes(store: FaultyStore) -> None:
    async with Host(service_of(nightly, often), store=store) as host:
        await host.settle()
        assert len(await host.store.timers(limit=9)) == 2
    async with Host(service_of(often), store=store, clock=host.clock) as host:
        await host.settle()
        assert [timer.name for timer in await host.store.timers(limit=9)] == ["$tick/often"]


async def test_a_failing_run_is_a_dead_letter_and_the_next_one_runs(store: FaultyStore) -> None:
    broken.add("often")
    async with Host(service_of(often), store=store) as host:
        await host.advance(timedelta(minutes=21))
        (letter,) = await host.letters("often")
        assert letter.status is LetterStatus.DEAD
        broken.clear()
        await host.advance(timedelta(minutes=20))
        assert await ticks(host) == ["often 01 00:40:00"]
        await host.operations.redrive("often")
        assert sorted(await ticks(host)) == ["often 01 00:20:00", "often 01 00:40:00"]


async def test_a_clock_that_is_set_forward_misses_ticks_and_one_set_back_repeats_none(
    store: FaultyStore,
) -> None:
    async with Host(service_of(often), store=store) as host:
        await host.advance(timedelta(minutes=21))
        host.clock.jump(timedelta(hours=1))
        await host.advance(timedelta(seconds=2))
        assert await ticks(host) == ["often 01 00:20:00", "often 01 01:20:00"]
        host.clock.jump(timedelta(hours=-1))
        await host.advance(timedelta(minutes=70))
        assert (await ticks(host))[2:] == []
        await host.advance(timedelta(minutes=20))
        assert (await ticks(host))[2:] == ["often 01 01:40:00"]


async def test_daylight_saving_in_a_running_node(store: FaultyStore) -> None:
    clock = VirtualClock(datetime(2026, 10, 24, 12, tzinfo=UTC))
    berlin = {"timezone": "Europe/Berlin"}
    both = service_of(
        named("fixed", "30 2 * * *", **berlin), named("passing", "*/30 2 * * *", **berlin)
    )
    async with Host(both, store=store, clock=clock) as host:
        await host.advance(timedelta(days=1))
        assert sorted(await ticks(host), key=lambda ran: ran.split()[::-1]) == [
            "passing 25 00:00:00",
            "fixed 25 00:30:00",
            "passing 25 00:30:00",
            "passing 25 01:00:00",
            "passing 25 01:30:00",
        ]


def test_every_mistake_is_told() -> None:
    @scheduled("0 3 * * *", timezone="Mars/Base", missed="never", timeout=0)  # type: ignore[arg-type]
    def one(event: str) -> None: ...  # type: ignore[misc]

    @scheduled(timedelta(minutes=5), timezone="Europe/Berlin")
    def two(ctx: Context, day: str) -> None: ...

    @scheduled("61 * * * *")
    def three(ctx: Context) -> None: ...

    @scheduled(5)  # type: ignore[arg-type]
    def three_again(ctx: Context, tick: datetime) -> None: ...

    _, problems = Service(
        "wrong", components=[one, two, three, three_again, nightly, nightly]
    ).define()
    told = "\n".join(problems)
    for problem in (
        "its first parameter is its context: write `ctx: Context`",
        "missed is 'skip', 'once', 'all', not 'never'",
        "timeout must be above 0",
        "besides its context it can take `tick: datetime` and nothing else, not day",
        "an interval has no time zone",
        "cron expression '61 * * * *': Bad minute",
        "by an interval, as timedelta(minutes=5), not by 5",
        "listed twice",
        "publishes to 'runs', which is not part of service",
    ):
        assert problem in told


def test_what_is_written_without_parentheses_is_told() -> None:
    def clean_up(ctx: Context) -> None: ...

    with pytest.raises(ConfigurationError, match=r'write @timed\("clean-up"\)'):
        timed(clean_up)  # type: ignore[type-var]
    with pytest.raises(ConfigurationError, match="@scheduled says when"):
        scheduled(clean_up)  # type: ignore[arg-type]
