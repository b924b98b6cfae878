"""Code that does not have a step to which a workflow may come: nothing is guessed, nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta

import pytest

from eventmill import (
    Effect,
    Event,
    Service,
    Topic,
    Workflow,
    branch,
    command,
    component,
    query,
    step,
)
from eventmill.errors import Stuck
from eventmill.model.commit import LetterStatus
from eventmill.model.progress import Status
from eventmill.runtime.operating.workflows import Workflows
from eventmill.testing import FaultyStore, Host


class Rung(Event):
    bell: str


bells = Topic("bells", Rung, key="bell")
gates: dict[str, asyncio.Event] = {}


async def passing(gate: str) -> None:
    if gate in gates:
        await gates[gate].wait()


@component("errand")
class Errand(Workflow):
    waits_on = (bells,)

    done: list[str] = []

    @command
    def doze(self) -> Effect[None]:
        return self.pause(timeout=timedelta(hours=1), on_timeout=Errand.last)

    @command
    def listen(self) -> Effect[None]:
        return self.wait_for(bells, Rung, "noon", then=Errand.heard)

    @command
    def split(self) -> Effect[None]:
        return self.go_all(branch(Errand.leg), branch(Errand.leg), then=Errand.last)

    @command
    def regret(self) -> Effect[None]:
        return self.begin(Errand.first)

    @query
    def content(self) -> tuple[str, list[str]]:
        return self.status, self.done

    @step(compensate="undo")
    async def first(self) -> Effect[None]:
        return self.go(Errand.leg)

    @step
    async def leg(self) -> Effect[None] | None:
        await passing("leg")
        return (
            self.compensate(then=Errand.last) if self.done == [] and "split" not in gates else None
        )

    @step
    async def undo(self) -> Effect[None]:
        return self.update(done=["undone"])

    @step
    async def heard(self, event: Rung) -> Effect[None]:
        return self.go(Errand.last)

    @step
    async def last(self) -> Effect[None]:
        return self.update(done=[*self.done, "last"]).end()


@component("errand")
class Renamed(Workflow):
    waits_on = (bells,)

    done: list[str] = []

    @command
    def note(self, text: str) -> Effect[None]:
        return self.update(done=[text])

    @step
    async def first(self) -> Effect[None]:
        return self.go(Renamed.leg)

    @step
    async def leg(self) -> Effect[None]:
        return self.end()

    @step
    async def the_end(self) -> Effect[None]:
        return self.end()


@pytest.fixture(autouse=True)
def _no_gates() -> Iterator[None]:
    gates.clear()
    yield
    gates.clear()


@pytest.mark.parametrize(
    ("comes_to_it", "done"),
    [
        (Errand.doze, ["last"]),
        (Errand.listen, ["last"]),
        (Errand.split, ["last"]),
        (Errand.regret, ["undone", "last"]),
    ],
    ids=["pause", "wait", "join", "compensation"],
)
async def test_a_workflow_waits_for_code_that_has_the_steps_it_may_come_to(
    store: FaultyStore, comes_to_it: object, done: list[str]
) -> None:
    gates["leg"] = asyncio.Event()
    if comes_to_it is Errand.split:
        gates["split"] = gates["leg"]
    async with Host(Service("errands", components=[Errand], topics=[bells]), store=store) as host:
        await host.call(comes_to_it, "e1")  # type: ignore[call-overload]
        await host.runtime.committer.drained()
    gates["leg"].set()
    other = Service("errands", components=[Renamed], topics=[bells])
    async with Host(other, store=store) as host:
        if comes_to_it is Errand.doze:
            await host.advance(timedelta(hours=2))
        await host.publish(bells, Rung(bell="noon"))
        await host.settle()
        (found,) = await Workflows(host.runtime).instances("errand", status=Status.STUCK)
        assert "which this code does not have" in found.error
        with pytest.raises(Stuck):
            await host.call(Renamed.note, "e1", "x")
        assert {letter.status for letter in await host.letters()} <= {LetterStatus.RETRYING}
    async with Host(Service("errands", components=[Errand], topics=[bells]), store=store) as host:
        await host.advance(timedelta(hours=5))
        assert await host.call(Errand.content, "e1") == ("ended", done)


async def test_what_is_stuck_behind_a_wait_can_be_terminated(store: FaultyStore) -> None:
    async with Host(Service("errands", components=[Errand], topics=[bells]), store=store) as host:
        await host.call(Errand.doze, "e1")
    other = Service("errands", components=[Renamed], topics=[bells])
    async with Host(other, store=store) as host:
        details = await Workflows(host.runtime).order("errand", "e1", "terminate")
        assert details.status is Status.TERMINATED
