"""Timed actions: stateless functions that timers call, their effects, their failures."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from eventmill import (
    Context,
    Effect,
    Event,
    EventSourcedEntity,
    Retry,
    Service,
    Topic,
    cancel,
    command,
    component,
    consumer,
    on,
    publish,
    query,
    schedule,
    timed,
)
from eventmill.model.commit import LetterStatus
from eventmill.testing import FaultyStore, Host
from eventmill.testing.clock import MIDNIGHT


class Told(Event):
    whom: str
    times: int
    timer: str


class Asked(Event):
    whom: str
    minutes: int


told = Topic("told", Told, key="whom")
asked = Topic("asked", Asked, key="whom")

seen: list[tuple[str, int]] = []
broken: set[str] = set()


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    yield
    seen.clear()
    broken.clear()


@timed("tell")
async def tell(ctx: Context, whom: str, *, times: int = 1) -> Effect[None]:
    seen.append((whom, ctx.attempt))
    if whom in broken:
        raise ValueError(f"{whom} is not at home")
    return publish(told, Told(whom=whom, times=times, timer=ctx.subject))


@timed("chain", retry=Retry(attempts=2, initial=1.0))
def chain(ctx: Context, left: int) -> Effect[None] | None:
    if left == 0:
        return publish(told, Told(whom="chain", times=left, timer=ctx.subject))
    return schedule("chain", timedelta(minutes=1), chain, left - 1)


class Patience(Event):
    pass


@component("waiter")
class Waiter(EventSourcedEntity):
    waited: int = 0

    @command
    def wait(self, minutes: int, whom: str) -> Effect[None]:
        when = timedelta(minutes=minutes)
        return self.persist(Patience()).schedule(f"tell-{whom}", when, tell, whom, times=3)

    @command
    def give_up(self, whom: str) -> Effect[None]:
        return self.reply(None).cancel(f"tell-{whom}")

    @query
    def content(self) -> int:
        return self.waited

    @on(Patience)
    def patient(self, event: Patience) -> None:
        self.waited += 1


@consumer("asking", source=asked)
async def ask(event: Asked, ctx: Context) -> Effect[None] | None:
    when = ctx.time + timedelta(minutes=abs(event.minutes))
    if event.whom.startswith("now-"):
        if event.minutes < 0:
            await ctx.cancel(f"ask-{event.whom}")
        else:
            await ctx.schedule(f"ask-{event.whom}", when, tell, event.whom)
        return None
    if event.minutes < 0:
        return cancel(f"ask-{event.whom}")
    return schedule(f"ask-{event.whom}", when, tell, event.whom, times=2)


service = Service("telling", components=[Waiter, tell, chain, ask], topics=[told, asked])


async def test_a_timer_calls_an_action_with_its_arguments(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        out = host.probe(told)
        await host.call(Waiter.wait, "w", 5, "ann")
        await host.advance(timedelta(minutes=4, seconds=59))
        await out.expect_none()
        await host.advance(timedelta(seconds=1))
        assert await out.expect_one(Told) == Told(whom="ann", times=3, timer="tell-ann")


async def test_a_cancelled_timer_calls_nothing(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        await host.call(Waiter.wait, "w", 5, "ann")
        await host.call(Waiter.give_up, "w", "ann")
        await host.advance(timedelta(hours=1))
        assert seen == []


@pytest.mark.parametrize("whom", ["ann", "now-ann"])
async def test_a_consumer_sets_and_cancels_timers(store: FaultyStore, whom: str) -> None:
    async with Host(service, store=store) as host:
        out = host.probe(told)
        await host.publish(asked, Asked(whom=whom, minutes=5))
        await host.publish(asked, Asked(whom=f"{whom}2", minutes=5))
        await host.settle()
        await host.publish(asked, Asked(whom=whom, minutes=-1))
        await host.advance(timedelta(hours=1))
        assert (await out.expect_one(Told)).whom == f"{whom}2"


async def test_an_action_may_set_its_own_timer_again(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        out = host.probe(told)
        await host.call(Waiter.wait, "w", 1, "ann")
        await host.runtime.set_timer(schedule("chain", timedelta(0), chain, 3).outgoing[0], None)
        await host.advance(timedelta(minutes=2, seconds=59))
        assert (await out.expect_one(Told)).whom == "ann"
        await host.advance(timedelta(seconds=1))
        assert (await out.expect_one(Told)).timer == "chain"


async def test_a_failing_action_is_retried_from_3_to_30_seconds_and_then_dead(
    store: FaultyStore,
) -> None:
    broken.add("ann")
    async with Host(service, store=store) as host:
        out = host.probe(told)
        await host.call(Waiter.wait, "w", 1, "ann")
        times = []
        for _ in range(300):
            await host.advance(timedelta(seconds=1))
            times += [(host.clock.time - MIDNIGHT).total_seconds()] * (len(seen) - len(times))
        assert [round(b - a) for a, b in itertools.pairwise(times)] == [
            *(3, 6, 12, 24),
            *(30, 30, 30),
        ]
        (letter,) = await host.letters("tell")
        assert letter.status is LetterStatus.DEAD
        assert letter.error == "ann is not at home"
        broken.clear()
        assert await host.operations.redrive("tell") == 1
        await host.settle()
        assert (await out.expect_one(Told)).whom == "ann"


async def test_a_failing_command_of_a_timer_is_retried_as_patiently(store: FaultyStore) -> None:
    async with Host(Service("grumpy", components=[Grump]), store=store) as host:
        await host.call(Grump.prepare, "g", 1)
        await host.advance(timedelta(minutes=10))
        assert [round(b - a) for a, b in itertools.pairwise(moods)] == [
            *(3, 6, 12, 24),
            *(30, 30, 30),
        ]
        (letter,) = await host.letters("$courier")
        assert (letter.status, letter.entry.origin) == (LetterStatus.DEAD, "timer")
    moods.clear()


moods: list[float] = []


class Prepared(Event):
    pass


@component("grump")
class Grump(EventSourcedEntity):
    @command
    def prepare(self, minutes: int) -> Effect[None]:
        when = timedelta(minutes=minutes)
        return self.persist(Prepared()).schedule("grumble", when, Grump.grumble, self.entity_id)

    @command
    def grumble(self) -> Effect[None]:
        moods.append((self.now - MIDNIGHT).total_seconds())
        raise ValueError("no")

    @on(Prepared)
    def prepared(self, event: Prepared) -> None: ...


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("at", ["fired", "passed on", "handled"])
async def test_the_effects_of_an_action_happen_once_though_commits_are_doubtful(
    store: FaultyStore, when: str, at: str
) -> None:
    async with Host(service, store=store) as host:
        out = host.probe(told)
        await host.call(Waiter.wait, "w", 1, "ann")

        def is_it(commit: object) -> bool:
            entries = getattr(commit, "entries")  # noqa: B009
            sources = {entry.source for entry in entries}
            match at:
                case "fired":
                    return bool(getattr(commit, "fired"))  # noqa: B009
                case "passed on":
                    return "$action/tell" in sources
                case _:
                    return "told" in sources

        store.fail(when=when, matching=is_it)  # type: ignore[arg-type]
        await host.advance(timedelta(minutes=2))
        await host.restart(crash=True)
        await host.settle(retries=True)
        assert (await out.expect_one(Told)).whom == "ann"
        await out.expect_none()
    assert store.injected == 1


async def test_a_timer_for_an_action_that_is_gone_becomes_a_dead_letter(
    store: FaultyStore,
) -> None:
    async with Host(service, store=store) as host:
        await host.call(Waiter.wait, "w", 1, "ann")
    without = Service("telling", components=[Waiter, chain, ask], topics=[told, asked])
    clock = host.clock
    async with Host(without, store=store, clock=clock) as host:
        await host.advance(timedelta(minutes=5))
        (letter,) = await host.letters("$courier")
        assert letter.status is LetterStatus.DEAD
        assert "tell" in letter.error
    async with Host(service, store=store, clock=clock) as host:
        out = host.probe(told)
        await host.operations.redrive("$courier")
        await host.settle()
        assert (await out.expect_one(Told)).whom == "ann"


async def test_a_time_without_a_zone_is_refused(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        await host.publish(asked, Asked(whom="ann", minutes=5))
        await host.settle()
    with pytest.raises(Exception, match="a datetime with a time zone"):
        schedule("x", datetime(2026, 1, 1), tell, "ann")  # noqa: DTZ001
    with pytest.raises(Exception, match="name the id of the entity"):
        schedule("x", timedelta(1), Waiter.give_up)  # type: ignore[call-overload]
    assert datetime.now(UTC).tzinfo is UTC
