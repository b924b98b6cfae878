"""Workflows at their limits, and effects that cannot be: nothing is half done, nothing is lost."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from eventmill import (
    Deleted,
    Effect,
    Event,
    Rejected,
    Retry,
    Service,
    StepContext,
    Topic,
    Workflow,
    command,
    component,
    query,
    step,
)
from eventmill.errors import HandlerFailed
from eventmill.model import limits
from eventmill.runtime.operating.workflows import Workflows
from eventmill.testing import FaultyStore, Host


class Counted(Event):
    number: int


counts = Topic("counts", Counted, key=lambda event: "all")


@component("counter")
class Counter(Workflow):
    expire_after = timedelta(days=3)

    number: int = 0
    until: int = 0
    undone: int = 0

    @command
    def count(self, until: int) -> Effect[None]:
        return self.update(until=until).begin(Counter.one)

    @command
    def keep(self, until: int) -> Effect[None]:
        return self.update(until=until).begin(Counter.undoable)

    @command
    def stray(self) -> Effect[None]:
        return self.begin(Counter.here)

    @command
    def vanish(self) -> Effect[None]:
        return self.begin(Counter.delete_all)

    @command
    def misspell(self) -> Effect[None]:
        return self.begin(Counter.mistake)

    @command
    def open_file(self) -> Effect[None]:
        return self.begin(Counter.unreadable)

    @command
    def stumble(self) -> Effect[int]:
        return self.update(number=7).begin(Counter.one).reply(lambda counter: 1 // 0)

    @command
    def cheer(self) -> Effect[None]:
        effect = self.update(number=self.number + 100)
        return effect.publish(counts, Counted(number=1)).send(Counter.count, "other", 1)

    @query
    def content(self) -> tuple[str, int]:
        return self.status, self.number

    @query
    def backwards(self) -> int:
        return self.undone

    @step
    async def one(self) -> Effect[None]:
        effect = self.update(number=self.number + 1)
        return effect.end() if self.number + 1 >= self.until else effect.go(Counter.one)

    @step(compensate="back")
    async def undoable(self, ctx: StepContext) -> Effect[None]:
        effect = self.update(number=self.number + 1)
        return effect.end() if self.number + 1 >= self.until else effect.go(Counter.undoable)

    @step
    async def back(self) -> Effect[None]:
        return self.update(undone=self.undone + 1)

    @step
    async def delete_all(self) -> Effect[None]:
        return self.delete()

    @step(retry=Retry(attempts=2))
    async def unreadable(self) -> Effect[None]:
        raise FileNotFoundError("report-\udcff.txt")

    @step(failover="there", retry=Retry(attempts=1), compensate="back")
    async def here(self) -> Effect[None]:
        raise ValueError("not here")

    @step(failover="here")
    async def there(self) -> Effect[None]:
        raise Rejected("not there")

    @step
    async def mistake(self) -> Effect[None]:
        return self.update(nmuber=1).end()


@component("listener")
class Listener(Workflow):
    waits_on = (counts,)

    number: int = 0

    @command
    def listen(self) -> Effect[None]:
        return self.wait_for(counts, Counted, "all", then=Listener.heard)

    @query
    def content(self) -> tuple[str, int]:
        return self.status, self.number

    @step
    async def heard(self, event: Counted) -> Effect[None]:
        return self.update(number=event.number).end()


service = Service("counters", components=[Counter], topics=[counts])


async def test_a_long_workflow_is_read_from_its_snapshot(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        await host.call(Counter.count, "c1", 130)
        await host.settle()
        await host.restart()
        assert await host.call(Counter.content, "c1") == ("ended", 130)
        snapshot, rest = await store.journal.load("counter", "c1")
        assert snapshot is not None
        assert snapshot.sequence + len(rest) == 262  # the command's, and two of each step
        assert len(rest) < limits.SNAPSHOT_EVERY


async def test_a_workflow_has_so_many_steps(
    store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "WORKFLOW_RUNS_MAX", 10)
    async with Host(service, store=store) as host:
        await host.call(Counter.count, "c1", 12)
        await host.settle()
        assert await host.call(Counter.content, "c1") == ("failed", 9)


async def test_so_much_can_be_undone(store: FaultyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WORKFLOW_UNDO_MAX", 5)
    async with Host(service, store=store) as host:
        await host.call(Counter.keep, "c1", 9)
        await host.settle()
        assert await host.call(Counter.content, "c1") == ("compensated", 4)
        assert await host.call(Counter.backwards, "c1") == 5  # also the one that could not go on


@pytest.mark.parametrize(
    ("bound", "value", "undone"), [("WORKFLOW_RUNS_MAX", 10, 5), ("WORKFLOW_UNDO_MAX", 3, 3)]
)
async def test_failovers_to_each_other_come_to_an_end(
    store: FaultyStore, monkeypatch: pytest.MonkeyPatch, bound: str, value: int, undone: int
) -> None:
    monkeypatch.setattr(limits, bound, value)
    async with Host(service, store=store) as host:
        await host.call(Counter.stray, "c1")
        async with asyncio.timeout(20):
            await host.settle()
        assert await host.call(Counter.content, "c1") == ("compensated", 0)
        assert await host.call(Counter.backwards, "c1") == undone
        assert "no failover" in (await Workflows(host.runtime).show("counter", "c1")).error


async def test_steps_that_have_no_room_begin_when_others_have_ended(
    store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "STEPS_MAX", 2)
    async with Host(service, store=store) as host:
        for number in range(12):
            await host.call(Counter.count, f"c{number}", 3)
        await host.settle()
        found = {await host.call(Counter.content, f"c{number}") for number in range(12)}
        assert found == {("ended", 3)}


async def test_a_step_may_delete_its_workflow(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        await host.call(Counter.vanish, "c1")
        await host.settle()
        with pytest.raises(Deleted):
            await host.call(Counter.count, "c1", 1)
        assert [timer.name for timer in await store.timers(limit=9)] == ["$purge/counter/c1"]


async def test_an_ended_workflow_expires(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        await host.call(Counter.count, "c1", 1)
        await host.advance(timedelta(days=2))
        assert await host.call(Counter.content, "c1") == ("ended", 1)
        await host.advance(timedelta(days=2))
        with pytest.raises(Deleted):
            await host.call(Counter.content, "c1")


async def test_an_effect_that_cannot_be_fails_the_step(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        await host.call(Counter.misspell, "c1")
        await host.settle()
        assert await host.call(Counter.content, "c1") == ("failed", 0)


async def test_a_reply_that_raises_leaves_nothing(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        with pytest.raises(HandlerFailed):
            await host.call(Counter.stumble, "c1")
        await host.settle()
        assert await host.call(Counter.content, "c1") == ("new", 0)
        assert await store.timers(limit=9) == []


async def test_commands_publish_and_send_as_those_of_entities(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        probe = host.probe(counts)
        await host.call(Counter.count, "c1", 1)
        await host.call(Counter.cheer, "c1")
        await host.settle()
        assert await probe.expect_one(Counted) == Counted(number=1)
        assert await host.call(Counter.content, "other") == ("ended", 1)
        assert (await host.call(Counter.content, "c1"))[1] in (101, 1)


async def test_a_step_fails_whatever_its_error_says(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        await host.call(Counter.open_file, "c1")
        await host.advance(timedelta(seconds=10))
        assert await host.call(Counter.content, "c1") == ("failed", 0)


async def test_however_many_wait_for_an_event_all_of_them_get_it(
    store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "WAITS_AT_ONCE", 10)
    monkeypatch.setattr(limits, "COMMIT_BYTES_MAX", 2_000)
    ids = [f"l{number}" for number in range(35)]
    listening = Service("listeners", components=[Listener], topics=[counts])
    async with Host(listening, store=store) as host:
        for id in ids:
            await host.call(Listener.listen, id)
        await host.publish(counts, Counted(number=1), Counted(number=2), Counted(number=3))
        await host.settle()
        assert {await host.call(Listener.content, id) for id in ids} == {("ended", 1)}
