"""Timers: commands for later, replaced and cancelled by name, fired once across restarts."""

from __future__ import annotations

import asyncio
import random
from datetime import datetime, timedelta

import pytest

from eventmill import Effect, Event, EventSourcedEntity, Service, command, component, on, query
from eventmill.errors import HandlerFailed
from eventmill.model import limits
from eventmill.model.commit import Commit
from eventmill.testing import FaultyStore, Host
from eventmill.testing.clock import MIDNIGHT


class Rang(Event):
    what: str
    at: str


@component("alarm")
class Alarm(EventSourcedEntity):
    rings: list[tuple[str, str]] = []

    @command
    def ring(self, what: str) -> Effect[None]:
        return self.persist(Rang(what=what, at=self.now.isoformat()))

    @command
    def set(self, name: str, minutes: float, what: str = "") -> Effect[None]:
        when = timedelta(minutes=minutes)
        return self.reply(None).schedule(name, when, Alarm.ring, self.entity_id, what or name)

    @command
    def set_at_one(self, name: str) -> Effect[None]:
        at = MIDNIGHT + timedelta(hours=1)
        return self.reply(None).schedule(name, at, Alarm.ring, self.entity_id, name)

    @command
    def stop(self, name: str) -> Effect[None]:
        return self.reply(None).cancel(name)

    @command
    def reset(self, name: str, minutes: float) -> Effect[None]:
        when = timedelta(minutes=minutes)
        effect = self.reply(None).cancel(name)
        return effect.schedule(name, when, Alarm.ring, self.entity_id, "reset")

    @query
    def content(self) -> list[tuple[str, str]]:
        return self.rings

    @on(Rang)
    def rang(self, event: Rang) -> None:
        self.rings.append((event.what, event.at))


service = Service("alarms", components=[Alarm])


def at(minutes: float) -> str:
    return (MIDNIGHT + timedelta(minutes=minutes)).isoformat()


async def test_a_timer_fires_at_its_time(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        await host.call(Alarm.set, "a", "tea", 5)
        await host.call(Alarm.set_at_one, "a", "lunch")
        await host.advance(timedelta(minutes=4, seconds=59))
        assert await host.call(Alarm.content, "a") == []
        await host.advance(timedelta(days=1))
        assert await host.call(Alarm.content, "a") == [("tea", at(5)), ("lunch", at(60))]


async def test_the_same_name_replaces(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        await host.call(Alarm.set, "a", "tea", 5, "old")
        await host.call(Alarm.set, "a", "tea", 9, "new")
        await host.advance(timedelta(hours=1))
        assert await host.call(Alarm.content, "a") == [("new", at(9))]


async def test_a_cancelled_timer_does_not_fire(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        await host.call(Alarm.set, "a", "tea", 5)
        await host.call(Alarm.stop, "a", "tea")
        await host.call(Alarm.stop, "a", "unknown")
        await host.advance(timedelta(hours=1))
        assert await host.call(Alarm.content, "a") == []


async def test_the_last_word_counts_among_commands_of_one_commit(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        await host.call(Alarm.content, "a")
        await asyncio.gather(
            host.call(Alarm.set, "a", "x", 5),
            host.call(Alarm.stop, "a", "x"),
            host.call(Alarm.stop, "a", "y"),
            host.call(Alarm.set, "a", "y", 6),
            host.call(Alarm.reset, "a", "z", 7),
        )
        await host.advance(timedelta(hours=1))
        assert await host.call(Alarm.content, "a") == [("y", at(6)), ("reset", at(7))]


@pytest.mark.parametrize("crash", [False, True])
async def test_timers_survive_and_fire_late_rather_than_never(
    store: FaultyStore, crash: bool
) -> None:
    async with Host(service, store=store) as host:
        await host.call(Alarm.set, "a", "tea", 5)
        await host.restart(crash=crash)
        assert [timer.name for timer in await store.timers(limit=9)] == ["tea"]
        await host.stop()
        host.clock.move_to(host.clock.now() + 3_600_000_000)
        await host.start()
        await host.settle()
        assert await host.call(Alarm.content, "a") == [("tea", at(60))]
        assert await store.timers(limit=9) == []


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_timer_fires_once_though_its_commit_is_doubtful(
    store: FaultyStore, when: str
) -> None:
    async with Host(service, store=store) as host:
        await host.call(Alarm.set, "a", "tea", 5)
        store.fail(when=when, matching=lambda commit: bool(commit.fired))  # type: ignore[arg-type]
        await host.advance(timedelta(hours=1))
        assert [what for what, _ in await host.call(Alarm.content, "a")] == ["tea"]
    assert store.injected == 1


async def test_a_reserved_timer_name_is_refused(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        with pytest.raises(HandlerFailed, match=r"timer name '\$mine'"):
            await host.call(Alarm.set, "a", "$mine", 5)


async def test_a_timer_whose_cancelling_is_under_way_does_not_fire(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        await host.call(Alarm.set, "a", "tea", 1, "too late")
        gate, commit = asyncio.Event(), store.inner.commit
        under_way = asyncio.Event()

        async def slowly(what: Commit) -> None:
            under_way.set()
            await gate.wait()
            await commit(what)

        store.inner.commit = slowly  # type: ignore[method-assign]
        stopping = asyncio.ensure_future(host.call(Alarm.stop, "a", "tea"))
        await under_way.wait()
        host.clock.move_to(host.clock.now() + 120_000_000)
        for _ in range(50):
            await asyncio.sleep(0)  # the scheduler wakes up and finds the timer due
        gate.set()
        await stopping
        await host.settle()
        assert await host.call(Alarm.content, "a") == []


async def test_large_timers_that_are_due_together_fire_in_portions(
    store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SCAN_BYTES_MAX", 3_000)
    async with Host(service, store=store) as host:
        fired: list[int] = []
        host.runtime.committer.on_commit.append(lambda commit: fired.append(len(commit.fired)))
        for n in range(20):
            await host.call(Alarm.set, "a", f"t{n}", 5, "x" * 1_000)
        await host.advance(timedelta(minutes=6))
        assert len(await host.call(Alarm.content, "a")) == 20
        assert sum(fired) == 20
        assert max(fired) == 3


async def test_timers_follow_a_clock_that_is_set_forward_and_back(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        await host.call(Alarm.set, "a", "tea", 60)
        await host.call(Alarm.set, "a", "lunch", 120)
        host.clock.jump(timedelta(minutes=61))
        await host.advance(timedelta(seconds=1))  # nobody tells a sleeper that the clock was set
        ((what, when),) = await host.call(Alarm.content, "a")
        assert what == "tea"
        assert at(61) <= when <= (MIDNIGHT + timedelta(minutes=61, seconds=1)).isoformat()
        host.clock.jump(timedelta(minutes=-90))
        await host.advance(timedelta(minutes=148))
        assert len(await host.call(Alarm.content, "a")) == 1
        await host.advance(timedelta(minutes=1))
        assert (await host.call(Alarm.content, "a"))[1] == ("lunch", at(120))


@pytest.mark.parametrize("crash", [False, True])
async def test_a_clock_that_is_set_back_while_no_node_runs_delays_timers(
    store: FaultyStore, crash: bool
) -> None:
    async with Host(service, store=store) as host:
        await host.advance(timedelta(minutes=10))
        await host.call(Alarm.set, "a", "tea", 5)
        host.clock.jump(timedelta(minutes=-10))
        await host.restart(crash=crash)
        await host.advance(timedelta(minutes=14, seconds=59))
        assert await host.call(Alarm.content, "a") == []
        await host.advance(timedelta(seconds=1))
        assert await host.call(Alarm.content, "a") == [("tea", at(15))]


async def test_no_timer_is_early_however_they_are_spread(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        luck = random.Random(5)
        wanted = {f"t{n}": round(luck.uniform(0, 3), 4) for n in range(60)}
        for name, minutes in wanted.items():
            await host.call(Alarm.set, "a", name, minutes)
        await host.advance(timedelta(minutes=4))
        rang = dict(await host.call(Alarm.content, "a"))
        assert rang.keys() == wanted.keys()
        late = [
            datetime.fromisoformat(rang[name]) - MIDNIGHT - timedelta(minutes=minutes)
            for name, minutes in wanted.items()
        ]
        assert timedelta(0) <= min(late)
        assert max(late) <= timedelta(milliseconds=50)
        assert host.runtime.scheduler.fired == 60
