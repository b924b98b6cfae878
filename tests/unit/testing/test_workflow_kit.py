"""The kit of a workflow: a step alone, all of it, its times and its waits."""

from __future__ import annotations

from datetime import timedelta

import pytest

from eventmill import (
    Effect,
    Event,
    EventSourcedEntity,
    Rejected,
    Retry,
    StepContext,
    Topic,
    Workflow,
    command,
    component,
    on,
    query,
    step,
)
from eventmill.errors import HandlerFailed
from eventmill.testing import WorkflowKit


class Moved(Event):
    amount: int


class Confirmed(Event):
    id: str
    by: str


confirmations = Topic("confirmations", Confirmed, key="id")


@component("purse")
class Purse(EventSourcedEntity):
    balance: int = 0

    @command
    def move(self, amount: int) -> Effect[int]:
        return self.persist(Moved(amount=amount)).reply(lambda purse: purse.balance)

    @on(Moved)
    def moved(self, event: Moved) -> None:
        self.balance += event.amount


@component("gift")
class Gift(Workflow):
    waits_on = (confirmations,)

    to: str = ""
    amount: int = 0
    by: str = ""

    @command
    def start(self, to: str, amount: int) -> Effect[str]:
        if amount < 1:
            raise Rejected("give something", code="gift.nothing")
        return self.update(to=to, amount=amount).begin(Gift.take).reply(lambda gift: gift.status)

    @query
    def recipient(self) -> str:
        return self.to

    @step(retry=Retry(attempts=3, initial=1.0), compensate="give_back")
    async def take(self, ctx: StepContext) -> Effect[None]:
        await ctx.call(Purse.move, "mine", -self.amount)
        return self.wait_for(
            confirmations,
            Confirmed,
            self.entity_id,
            then=Gift.confirmed,
            timeout=timedelta(days=1),
            on_timeout=Gift.undo,
        )

    @step
    async def confirmed(self, event: Confirmed) -> Effect[None]:
        return self.update(by=event.by).go(Gift.give, self.to)

    @step
    async def give(self, ctx: StepContext, to: str) -> Effect[None]:
        await ctx.call(Purse.move, to, self.amount)
        return self.end()

    @step
    async def undo(self) -> Effect[None]:
        return self.compensate()

    @step
    async def give_back(self, ctx: StepContext) -> None:
        await ctx.call(Purse.move, "mine", self.amount)

    @step
    async def selfish(self, ctx: StepContext) -> Effect[None]:
        assert await ctx.call(Gift.recipient, self.entity_id) == "bob"
        await ctx.call(Gift.start, self.entity_id, "bob", 5)
        return self.end()

    @step
    async def careless(self) -> Effect[None]:
        self.by = "nobody"
        return self.end()


async def test_a_step_alone() -> None:
    kit = WorkflowKit(Gift, "g1").given(amount=5).answer(Purse.move, 0)
    outcome = await kit.step(Gift.give, "bob")
    assert outcome.changes == {}
    assert type(outcome.next).__name__ == "End"
    assert [(call.id, call.arguments) for call in outcome.calls] == [("bob", {"amount": 5})]
    assert outcome.calls[0].idempotency_key == "gift/g1/1:1"
    assert kit.status == "new"


async def test_a_step_says_what_is_next() -> None:
    kit = WorkflowKit(Gift, "g1").given(to="bob")
    outcome = await kit.step(Gift.confirmed, Confirmed(id="g1", by="ann"))
    assert (outcome.changes, outcome.next_step) == ({"by": "ann"}, "give")


async def test_all_of_it_on_its_clock() -> None:
    answers = iter([RuntimeError("away"), RuntimeError("away"), 0, 0])
    kit = WorkflowKit(Gift, "g1").answer(Purse.move, lambda id, amount: next(answers))
    assert kit.run(Gift.start, "bob", 5) == "running"
    before = kit.time
    await kit.go_on()
    assert kit.time - before == timedelta(seconds=3)  # it was tried three times
    assert kit.status == "waiting"
    await kit.give(Confirmed(id="g1", by="ann"))
    assert (kit.status, kit.state.by, kit.run(Gift.recipient)) == ("ended", "ann", "bob")
    assert [(did.what, did.name) for did in kit.history] == [
        ("command", "start"),
        ("step", "take"),
        ("step", "take"),
        ("step", "take"),
        ("event", "confirmations"),
        ("step", "confirmed"),
        ("step", "give"),
    ]


async def test_its_times_come() -> None:
    kit = WorkflowKit(Gift, "g1").answer(Purse.move, 0)
    kit.run(Gift.start, "bob", 5)
    await kit.advance(timedelta(hours=23))
    assert kit.status == "waiting"
    await kit.advance(timedelta(hours=2))
    assert kit.status == "compensated"
    assert [call.arguments["amount"] for call in kit.calls] == [-5, 5]


async def test_a_step_asks_its_own_workflow_but_sends_it_no_command() -> None:
    kit = WorkflowKit(Gift, "g1").answer(Gift.recipient, "bob").answer(Gift.start, "running")
    assert "of its own workflow" in (await kit.step(Gift.selfish)).error
    assert [call.handler for call in kit.calls] == [Gift.recipient]


async def test_refusals_and_guards() -> None:
    kit = WorkflowKit(Gift, "g1")
    with pytest.raises(Rejected, match="give something"):
        kit.run(Gift.start, "bob", 0)
    assert kit.status == "new"
    assert "changed the state" in (await kit.step(Gift.careless)).error
    with pytest.raises(HandlerFailed, match="on_timeout"):
        kit.state.pause(timeout=timedelta(hours=1))
