"""Workflows as operators see them: terminated, suspended, retried, undone; and their history."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta

import pytest

from eventmill import (
    Context,
    Effect,
    Event,
    NotFound,
    Record,
    Rejected,
    Retry,
    Service,
    StepContext,
    Topic,
    View,
    Workflow,
    command,
    component,
    consumer,
    on,
    publish,
    query,
    step,
)
from eventmill.errors import UnknownComponent, UnknownHandler
from eventmill.model.progress import Status
from eventmill.runtime.operating.workflows import Workflows
from eventmill.testing import FaultyStore, Host
from tests.flow.journeys import Journey, Office, Tour, begun, payments, service, trouble


@pytest.fixture(autouse=True)
def _no_trouble() -> Iterator[None]:
    trouble.clear()
    yield
    trouble.clear()


async def test_history_tells_what_happened(store: FaultyStore) -> None:
    trouble.fails["room"] = 1
    async with Host(service, store=store) as host:
        await host.call(Journey.start, "j1")
        await host.settle()
        await host.advance(timedelta(seconds=1))
        lines = [line.did for line in await Workflows(host.runtime).history("journey", "j1")]
        told = [(did.what, did.name, did.attempt, did.error, did.next) for did in lines]
        assert told == [
            ("command", "start", 0, "", "flight"),
            ("step", "flight", 1, "", "room"),
            ("step", "room", 1, "RuntimeError: room is out of order", "room"),
            ("step", "room", 2, "", "pay"),
            ("step", "pay", 1, "", "ended"),
        ]
        assert bytes(lines[1].input) == b'{"to":"LIS"}'
        assert bytes(lines[1].result) == b'{"booked":["LIS"]}'


async def test_a_terminated_workflow_stops_at_once(store: FaultyStore) -> None:
    trouble.gates["room"] = asyncio.Event()
    async with Host(service, store=store) as host:
        await host.call(Journey.start, "j1")
        await begun("flight", "room")
        found = await Workflows(host.runtime).order("journey", "j1", "terminate")
        assert found.status is Status.TERMINATED
        await host.settle()
        assert [timer.name for timer in await store.timers(limit=9)] == []
        with pytest.raises(Rejected):
            await Workflows(host.runtime).order("journey", "j1", "terminate")
        assert await host.call(Office.content, "o1") == ["flight LIS"]


async def test_what_a_terminated_workflow_did_can_be_undone(store: FaultyStore) -> None:
    trouble.gates["room"] = asyncio.Event()
    async with Host(service, store=store) as host:
        await host.call(Journey.start, "j1")
        await begun("flight", "room")
        await Workflows(host.runtime).order("journey", "j1", "terminate")
        await Workflows(host.runtime).order("journey", "j1", "compensate")
        await host.settle()
        assert (await host.call(Journey.content, "j1"))[0] == "compensated"
        # The room was begun: nobody knows whether it was booked.
        assert await host.call(Office.content, "o1") == [
            "flight LIS",
            "no hotel grand",
            "no flight LIS",
        ]


async def test_a_suspended_workflow_begins_no_step(store: FaultyStore) -> None:
    gate = trouble.gates["room"] = asyncio.Event()
    async with Host(service, store=store) as host:
        workflows = Workflows(host.runtime)
        await host.call(Journey.start, "j1")
        await begun("flight", "room")
        assert (await workflows.order("journey", "j1", "suspend")).status is Status.SUSPENDED
        gate.set()
        await host.settle()
        await host.restart()
        workflows = Workflows(host.runtime)
        await host.advance(timedelta(minutes=1))
        assert trouble.begun == ["flight", "room"]
        assert await host.call(Journey.note, "j1", "meanwhile") == ["meanwhile"]
        await workflows.order("journey", "j1", "resume")
        await host.settle()
        assert (await host.call(Journey.content, "j1"))[0] == "ended"


async def test_the_failed_step_is_retried(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        trouble.fails["leg a"] = 0
        trouble.fails["undo_room"] = 8
        trouble.fails["pay"] = 2
        await host.call(Journey.start, "j1")
        await host.settle()
        await host.advance(timedelta(minutes=2))
        workflows = Workflows(host.runtime)
        (found,) = await workflows.instances("journey", status=Status.FAILED)
        assert found.error == "RuntimeError: undo_room is out of order"
        await workflows.order("journey", "j1", "retry")
        await host.settle()
        assert (await host.call(Journey.content, "j1"))[0] == "compensated"
        with pytest.raises(Rejected):
            await workflows.order("journey", "j1", "retry")


async def test_a_step_that_waits_for_its_next_attempt_is_retried_now(store: FaultyStore) -> None:
    trouble.fails["room"] = 1
    async with Host(service, store=store) as host:
        await host.call(Journey.start, "j1")
        await host.settle()
        await Workflows(host.runtime).order("journey", "j1", "retry")
        await host.settle()
        assert (await host.call(Journey.content, "j1"))[0] == "ended"


async def test_orders_need_a_workflow(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        workflows = Workflows(host.runtime)
        assert workflows.components() == ["journey", "tour"]
        with pytest.raises(NotFound):
            await workflows.order("journey", "nobody", "suspend")
        with pytest.raises(NotFound):
            await workflows.show("journey", "nobody")
        with pytest.raises(UnknownComponent):
            await workflows.order("office", "o1", "suspend")
        with pytest.raises(UnknownHandler):
            await host.operations.call("journey", "j1", "$terminate", b"")


async def test_consumers_and_views_follow_the_states(store: FaultyStore) -> None:
    class Reached(Event):
        id: str
        booked: list[str]

    reached = Topic("reached", Reached, key="id")

    @consumer("follower", source=Journey)
    def follow(state: Journey, ctx: Context) -> Effect[None]:
        return publish(reached, Reached(id=ctx.subject, booked=state.booked))

    @component("bookings")
    class Bookings(View):
        class Row(Record):
            id: str
            legs: int

        @on(Journey)
        def changed(self, state: Journey, row: Row | None, ctx: Context) -> Row:
            return self.Row(id=ctx.subject, legs=len(state.booked))

        @query("SELECT * FROM bookings")
        def all(self) -> list[Row]: ...

    followed = Service(
        "journeys",
        components=[Journey, Tour, Office, follow, Bookings],
        topics=[payments, reached],
    )
    async with Host(followed, store=store) as host:
        probe = host.probe(reached)
        await host.call(Journey.start, "j1")
        await host.settle()
        assert [event.booked for event in await probe.expect_n(3, Reached)] == [
            [],
            ["LIS"],
            ["LIS", "grand"],
        ]
        assert await host.query(Bookings.all) == [Bookings.Row(id="j1", legs=2)]


async def test_who_follows_the_states_is_told_no_invented_status(store: FaultyStore) -> None:
    @consumer("asker", source=Journey, retry=Retry(attempts=1))
    def ask(state: Journey, ctx: Context) -> None:
        assert state.entity_id == ctx.subject
        state.status  # noqa: B018 - it raises

    followed = Service("journeys", components=[Journey, Tour, Office, ask], topics=[payments])
    async with Host(followed, store=store) as host:
        await host.call(Journey.start, "j1")
        await host.settle()
        letter = (await host.letters("asker"))[0]
        assert "Journey.status is not known to who follows the states" in letter.error


async def test_a_branch_that_failed_is_retried_with_those_beside_it(store: FaultyStore) -> None:
    trouble.gates["leg b"] = asyncio.Event()
    async with Host(service, store=store) as host:
        await host.call(Journey.begin_parallel, "j1", hard=True)
        await begun("leg a", "leg b", "leg c")
        workflows = Workflows(host.runtime)
        async with asyncio.timeout(10):
            while (await host.call(Journey.content, "j1"))[0] != "failed":  # noqa: ASYNC110
                await asyncio.sleep(0)
        del trouble.gates["leg b"]
        await workflows.order("journey", "j1", "retry")
        await host.settle()
        assert await host.call(Journey.noted, "j1") == ["joined"]


async def test_rows_of_workflows_that_are_gone_stand_in_nobodys_way(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        await host.call(Tour.idle, "t1")
    bare = Service("journeys", components=[Office], topics=[payments])
    async with Host(bare, store=store) as host:
        await host.advance(timedelta(hours=3))
        assert [timer.name for timer in await store.timers(limit=9)] == ["$deadline/tour/t1"]
    async with Host(service, store=store) as host:
        await host.advance(timedelta(hours=5))  # the clock of a host begins anew
        assert await host.call(Tour.content, "t1") == ("ended", "too late")


@pytest.mark.parametrize("orders", [["compensate"], ["retry"], ["compensate", "compensate"]])
async def test_a_compensation_that_is_begun_anew_has_one_effect(
    store: FaultyStore, orders: list[str]
) -> None:
    times = [*orders]

    @component("stay")
    class Stay(Workflow):
        @command
        def start(self) -> Effect[None]:
            return self.begin(Stay.book)

        @step(compensate="unbook")
        async def book(self, ctx: StepContext) -> Effect[None]:
            return self.compensate()

        @step(retry=Retry(attempts=1))
        async def unbook(self, ctx: StepContext) -> None:
            await ctx.call(Office.note, "o1", "unbooked")
            if times:
                raise RuntimeError(times.pop())

    async with Host(Service("stays", components=[Stay, Office]), store=store) as host:
        workflows = Workflows(host.runtime)
        await host.call(Stay.start, "s1")
        for order in orders:
            await host.settle()
            await workflows.order("stay", "s1", order)
        await host.settle()
        assert (await workflows.show("stay", "s1")).status is Status.COMPENSATED
        assert await host.call(Office.content, "o1") == ["unbooked"]
