"""Workflows after a crash, a failed commit, a move, or with other code: nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Literal

import pytest

from eventmill import (
    Conflict,
    Effect,
    Service,
    Unavailable,
    Workflow,
    command,
    component,
    consumer,
    send,
    step,
)
from eventmill.errors import DataMisfit
from eventmill.model.progress import Status
from eventmill.runtime.operating.workflows import Workflows
from eventmill.testing import FaultyStore, Host
from tests.flow.journeys import Journey, Office, Paid, Tour, begun, payments, service, trouble


@pytest.fixture(autouse=True)
def _no_trouble() -> Iterator[None]:
    trouble.clear()
    yield
    trouble.clear()


@pytest.mark.parametrize("crash", [True, False])
async def test_the_interrupted_step_runs_again_and_nothing_else(
    store: FaultyStore, crash: bool
) -> None:
    trouble.gates["room"] = asyncio.Event()
    async with Host(service, store=store) as host:
        await host.call(Journey.start, "j1")
        await begun("flight", "room")
        del trouble.gates["room"]
        await host.restart(crash=crash)
        await host.settle()
        assert trouble.begun == ["flight", "room", "room", "pay"]
        assert await host.call(Journey.content, "j1") == ("ended", ["LIS", "grand"])
        assert await host.call(Office.content, "o1") == ["flight LIS", "hotel grand"]


async def test_a_compensation_goes_on_after_a_crash(store: FaultyStore) -> None:
    trouble.fails["pay"] = 2
    trouble.gates["undo_flight"] = asyncio.Event()
    async with Host(service, store=store) as host:
        await host.call(Journey.start, "j1")
        await begun("flight", "room", "pay")
        await host.runtime.committer.drained()
        await host.runtime.clock.advance(1)  # type: ignore[attr-defined]  # the host's is virtual
        await begun("flight", "room", "pay", "pay", "undo_room", "undo_flight")
        del trouble.gates["undo_flight"]
        await host.restart(crash=True)
        await host.settle()
        assert (await host.call(Journey.content, "j1"))[0] == "compensated"
        assert await host.call(Office.content, "o1") == [
            "flight LIS",
            "hotel grand",
            "no hotel grand",
            "no flight LIS",
        ]


async def test_a_retry_and_a_wait_survive_a_crash(store: FaultyStore) -> None:
    trouble.fails["room"] = 1
    async with Host(service, store=store) as host:
        await host.call(Journey.start, "j1")
        await host.call(Journey.wait_for_payment, "j2", days=1)
        await host.settle()
        await host.restart(crash=True)
        await host.publish(payments, Paid(journey="j2", amount=1))
        await host.advance(timedelta(seconds=1))
        assert (await host.call(Journey.content, "j1"))[0] == "ended"
        assert await host.call(Journey.noted, "j2") == ["paid 1"]


async def test_a_workflow_whose_step_was_interrupted_makes_commands_wait(
    store: FaultyStore,
) -> None:
    trouble.gates["room"] = asyncio.Event()
    async with Host(service, store=store) as host:
        await host.call(Journey.start, "j1")
        await begun("flight", "room")
        await host.restart(crash=True)
        noted = asyncio.ensure_future(host.call(Journey.note, "j1", "x"))
        await begun("flight", "room", "room")
        assert not noted.done()
        trouble.gates["room"].set()
        assert await noted == ["x"]


async def test_a_held_command_does_not_wait_for_ever(store: FaultyStore) -> None:
    trouble.gates["room"] = asyncio.Event()
    async with Host(service, store=store) as host:
        await host.call(Journey.start, "j1")
        await begun("flight", "room")
        noted = asyncio.ensure_future(host.call(Journey.note, "j1", "x"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for _ in range(3):
            await host.clock.advance(15)
        with pytest.raises(Unavailable):
            await noted
        trouble.gates["room"].set()


@pytest.mark.parametrize("when", ["before", "after"])
async def test_an_outcome_whose_commit_failed_counts_once(
    store: FaultyStore, when: Literal["before", "after"]
) -> None:
    gate = trouble.gates["room"] = asyncio.Event()
    async with Host(service, store=store) as host:
        await host.call(Journey.start, "j1")
        await begun("flight", "room")
        store.fail(when=when, matching=lambda c: any(e.source == "journey" for e in c.entries))
        gate.set()
        await host.settle()
        assert store.injected == 1
        assert await host.call(Journey.content, "j1") == ("ended", ["LIS", "grand"])
        assert trouble.begun == ["flight", "room", "pay"]


async def test_a_sent_command_waits_for_the_step_and_holds_up_nobody(store: FaultyStore) -> None:
    @consumer("noter", source=payments)
    def note(event: Paid) -> Effect[None]:
        return send(Journey.note, event.journey, str(event.amount))

    noting = Service("journeys", components=[Journey, Tour, Office, note], topics=[payments])
    gate = trouble.gates["room"] = asyncio.Event()
    async with Host(noting, store=store) as host:
        await host.call(Journey.start, "j1")
        await begun("flight", "room")
        await host.publish(payments, Paid(journey="j1", amount=1), Paid(journey="j2", amount=2))
        async with asyncio.timeout(10):
            while await host.call(Journey.noted, "j2") != ["2"]:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0)
        gate.set()
        await host.settle(retries=True)
        assert await host.call(Journey.noted, "j1") == ["1"]
        assert await host.letters() == []


async def test_a_workflow_whose_step_has_vanished_is_stuck_until_it_is_back(
    store: FaultyStore,
) -> None:
    @component("journey")
    class Shorter(Workflow):
        hotel: str = ""
        booked: list[str] = []
        amount: int = 0
        notes: list[str] = []

        @command
        def note(self, text: str) -> Effect[None]:
            return self.update(notes=[text])

        @step
        async def flight(self, to: str) -> Effect[None]:
            return self.end()

    trouble.gates["room"] = asyncio.Event()
    async with Host(service, store=store) as host:
        await host.call(Journey.start, "j1")
        await begun("flight", "room")
        del trouble.gates["room"]
    other = Service("journeys", components=[Shorter, Office], topics=[payments])
    async with Host(other, store=store) as host:
        await host.settle()
        workflows = Workflows(host.runtime)
        (found,) = await workflows.instances("journey", status=Status.STUCK)
        assert "'room'" in found.error
        with pytest.raises(Conflict) as refused:
            await host.call(Shorter.note, "j1", "x")
        assert refused.value.code == "workflow.stuck"
    async with Host(service, store=store) as host:
        await host.settle()
        assert await host.call(Journey.content, "j1") == ("ended", ["LIS", "grand"])


async def test_a_workflow_whose_state_cannot_be_read_is_stuck(store: FaultyStore) -> None:
    @component("journey")
    class Stricter(Workflow):
        booked: int = 0

        @command
        def note(self) -> Effect[None]:
            return self.update(booked=1)

        @step
        async def room(self) -> Effect[None]:
            return self.end()

    trouble.gates["room"] = asyncio.Event()
    async with Host(service, store=store) as host:
        await host.call(Journey.start, "j1")
        await begun("flight", "room")
        del trouble.gates["room"]
    other = Service("journeys", components=[Stricter, Office], topics=[payments])
    async with Host(other, store=store) as host:
        await host.settle()
        (found,) = await Workflows(host.runtime).instances("journey", status=Status.STUCK)
        assert "does not fit" in found.error
        with pytest.raises(DataMisfit):
            await host.call(Stricter.note, "j1")
    async with Host(service, store=store) as host:
        await host.settle()
        assert await host.call(Journey.content, "j1") == ("ended", ["LIS", "grand"])
