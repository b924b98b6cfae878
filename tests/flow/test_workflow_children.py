"""A child does not outlive the workflow that started it, however that one ends."""

from __future__ import annotations

from datetime import timedelta

import pytest

from eventmill import (
    Effect,
    KeyValueEntity,
    Rejected,
    Retry,
    Service,
    StepContext,
    Workflow,
    WorkflowEnded,
    command,
    component,
    query,
    step,
)
from eventmill.errors import Deleted, HandlerFailed, TooLarge, Unavailable
from eventmill.model import limits
from eventmill.model.orders import ORPHANED
from eventmill.runtime.dispatch.courier import NAME as COURIER
from eventmill.runtime.operating.workflows import Workflows
from eventmill.testing import FaultyStore, Host


@component("shelf")
class Shelf(KeyValueEntity):
    taken: list[str] = []

    @command
    def take(self, what: str) -> Effect[None]:
        return self.update(taken=[*self.taken, what])

    @query
    def content(self) -> list[str]:
        return self.taken


@component("parcel")
class Parcel(Workflow):
    """Packs something and waits until it is fetched; may have a parcel inside."""

    @command
    def start(self, inside: str = "") -> Effect[str]:
        starting = self.begin(Parcel.pack)
        if inside:
            starting = starting.start_child(Parcel.start, inside)
        return starting.reply(lambda parcel: parcel.status)

    @command
    def fetch(self) -> Effect[None]:
        return self.go(Parcel.hand_over)

    @command
    def lose(self) -> Effect[None]:
        return self.delete()

    @command
    def unpack(self) -> Effect[None]:
        return self.compensate()

    @query
    def where(self) -> str:
        return self.status

    @step(compensate="put_back")
    async def pack(self) -> Effect[None]:
        return self.pause()

    @step
    async def put_back(self, ctx: StepContext) -> None:
        await ctx.call(Shelf.take, "s", f"{self.entity_id} back")

    @step
    async def hand_over(self) -> Effect[None]:
        return self.end()


@component("order")
class Order(Workflow):
    waits_on = (Parcel,)
    timeout = timedelta(days=1)

    outcome: str = ""

    @command
    def start(self) -> Effect[None]:
        return self.begin(Order.send_off)

    @command
    def start_and_forget(self) -> Effect[None]:
        return self.begin(Order.wait).send(Parcel.start, f"{self.entity_id}-1")

    @command
    def add(self, parcel: str) -> Effect[None]:
        return self.reply(None).start_child(Parcel.start, parcel)

    @command
    def start_wrongly(self) -> Effect[None]:
        return self.end().start_child(Parcel.start, f"{self.entity_id}-1")

    @command
    def start_shelf(self) -> Effect[None]:
        return self.begin(Order.wait).start_child(Shelf.take, "s", "shelf")

    @command
    def close(self) -> Effect[None]:
        return self.go(Order.finish)

    @command
    def fail(self) -> Effect[None]:
        return self.go(Order.break_down)

    @command
    def undo(self) -> Effect[None]:
        return self.compensate()

    @command
    def forget(self) -> Effect[None]:
        return self.delete()

    @query
    def content(self) -> tuple[str, str]:
        return self.status, self.outcome

    @step
    async def send_off(self) -> Effect[None]:
        child = f"{self.entity_id}-1"
        waiting = self.wait_for_end(Parcel, child, then=Order.arrived)
        return waiting.start_child(Parcel.start, child, f"{child}-inside")

    @step
    async def wait(self) -> Effect[None]:
        return self.pause()

    @step
    async def arrived(self, ended: WorkflowEnded) -> Effect[None]:
        return self.update(outcome=ended.status).pause()

    @step
    async def finish(self) -> Effect[None]:
        return self.end()

    @step(retry=Retry(attempts=1))
    async def break_down(self) -> Effect[None]:
        raise RuntimeError("no more boxes")


@component("booking")
class Booking(Workflow):
    """Undoes what its child did by asking it."""

    @command
    def start(self) -> Effect[None]:
        return self.begin(Booking.book)

    @command
    def cancel(self) -> Effect[None]:
        return self.compensate()

    @query
    def where(self) -> str:
        return self.status

    @step(compensate="unbook")
    async def book(self) -> Effect[None]:
        return self.pause().start_child(Parcel.start, f"{self.entity_id}-1")

    @step
    async def unbook(self, ctx: StepContext) -> None:
        await ctx.call(Parcel.unpack, f"{self.entity_id}-1")


service = Service("shop", components=[Order, Parcel, Booking, Shelf])


@pytest.mark.parametrize(
    ("order", "end"),
    [("close", "ended"), ("fail", "failed"), ("undo", "compensated"), ("terminate", "terminated")],
)
async def test_a_child_and_its_children_are_terminated_when_its_parent_ends(
    store: FaultyStore, order: str, end: str
) -> None:
    async with Host(service, store=store) as host:
        await host.call(Order.start, "o")
        await host.settle()
        assert (await host.call(Order.content, "o"))[0] == "waiting"
        assert await host.call(Parcel.where, "o-1-inside") == "paused"
        match order:
            case "close":
                await host.call(Order.close, "o")
            case "fail":
                await host.call(Order.fail, "o")
            case "undo":
                await host.call(Order.undo, "o")
            case _:
                await Workflows(host.runtime).order("order", "o", order)
        await host.settle()
        assert (await host.call(Order.content, "o"))[0] == end
        for child in ("o-1", "o-1-inside"):
            assert await host.call(Parcel.where, child) == "terminated"
        assert await host.letters() == []


async def test_the_time_of_a_parent_is_that_of_its_children(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        await host.call(Order.start, "o")
        await host.advance(timedelta(hours=23))
        assert await host.call(Parcel.where, "o-1") == "paused"
        await host.advance(timedelta(hours=2))
        assert await host.call(Parcel.where, "o-1") == "terminated"


async def test_a_parent_that_is_deleted_leaves_no_child(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        await host.call(Order.start, "o")
        await host.settle()
        await host.call(Order.forget, "o")
        await host.settle()
        assert await host.call(Parcel.where, "o-1") == "terminated"
        with pytest.raises(Deleted):
            await host.call(Order.content, "o")


async def test_a_child_that_is_deleted_has_ended_for_who_waits(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        await host.call(Order.start, "o")
        await host.settle()
        await host.call(Parcel.lose, "o-1")
        await host.settle()
        assert await host.call(Order.content, "o") == ("paused", "ended")


async def test_the_end_of_children_is_in_the_commit_that_ends_their_parent(
    store: FaultyStore,
) -> None:
    async with Host(service, store=store) as host:
        await host.call(Order.start, "o")
        await host.settle()
        store.fail(matching=lambda commit: any(e.type == ORPHANED for e in commit.entries))
        with pytest.raises(Unavailable):
            await Workflows(host.runtime).order("order", "o", "terminate")
        assert (await host.call(Order.content, "o"))[0] == "waiting"
        host.runtime.subscriptions[COURIER].pause()
        await Workflows(host.runtime).order("order", "o", "terminate")
        assert await host.call(Parcel.where, "o-1") == "paused"
        await host.restart(crash=True)
        await host.settle()
        assert await host.call(Parcel.where, "o-1") == "terminated"


async def test_a_child_that_has_ended_is_nobodys_business(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        await host.call(Order.start, "o")
        await host.settle()
        looks = Workflows(host.runtime)
        (child,) = (await looks.show("order", "o")).children
        assert (child.component, child.id) == ("parcel", "o-1")
        await host.call(Parcel.fetch, "o-1")
        await host.settle()
        assert await host.call(Order.content, "o") == ("paused", "ended")
        assert (await looks.show("order", "o")).children == []
        await host.call(Order.close, "o")
        await host.settle()
        assert await host.call(Parcel.where, "o-1") == "ended"
        assert await host.call(Parcel.where, "o-1-inside") == "terminated"


async def test_what_was_sent_outlives_its_sender(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        await host.call(Order.start_and_forget, "o")
        await host.settle()
        await host.call(Order.close, "o")
        await host.settle()
        assert await host.call(Parcel.where, "o-1") == "paused"


async def test_a_compensation_may_tell_a_child_to_undo_itself(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        await host.call(Booking.start, "b")
        await host.settle()
        await host.call(Booking.cancel, "b")
        await host.settle()
        assert await host.call(Booking.where, "b") == "compensated"
        assert await host.call(Parcel.where, "b-1") == "compensated"
        assert await host.call(Shelf.content, "s") == ["b-1 back"]


async def test_children_that_cannot_be(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        with pytest.raises(HandlerFailed, match="the child would end with it"):
            await host.call(Order.start_wrongly, "o")
        with pytest.raises(HandlerFailed, match="take is no command of a workflow"):
            await host.call(Order.start_shelf, "o")
        with pytest.raises(HandlerFailed, match="does not say what is next"):
            await host.call(Order.add, "o", "p")
        await host.call(Order.start_and_forget, "o")
        await host.settle()
        await host.call(Order.add, "o", "p")
        await host.settle()
        assert (await host.call(Order.content, "o"))[0] == "paused", "it goes on as it was"
        await host.call(Order.close, "o")
        await host.settle()
        assert await host.call(Parcel.where, "p") == "terminated"
        with pytest.raises(Rejected, match="it is ended: it can have no children"):
            await host.call(Order.add, "o", "p2")
        assert await host.call(Parcel.where, "p2") == "new"


async def test_children_are_bounded(store: FaultyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WORKFLOW_CHILDREN_MAX", 2)
    async with Host(service, store=store) as host:
        await host.call(Order.start_and_forget, "o")
        await host.settle()
        for child in ("a", "b", "a"):
            await host.call(Order.add, "o", child)
        with pytest.raises(TooLarge, match="has 2 children, 2 are possible"):
            await host.call(Order.add, "o", "c")
