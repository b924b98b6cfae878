"""Workflows that ask for something in a step, and return the wait for the answer from it."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from eventmill import (
    Effect,
    Event,
    EventSourcedEntity,
    Retry,
    Service,
    Topic,
    Workflow,
    WorkflowEnded,
    branch,
    command,
    component,
    on,
    query,
    step,
)


class Paid(Event):
    order: str
    amount: int


class Reported(Event):
    what: str


payments = Topic("payments", Paid, key="order")

LONG = timedelta(days=1)
"""How long an order waits for its payment."""


class Gate:
    """Holds a step back, until the test lets it go on."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.begun: list[str] = []
        self.fails = 0
        self._open = asyncio.Event()
        self._open.set()

    def close(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()

    async def meet(self, name: str) -> None:
        self.begun.append(name)
        await self._open.wait()
        if self.fails:
            self.fails -= 1
            raise RuntimeError("out of order")

    async def reached(self, *names: str) -> None:
        """Wait until these steps have begun, and no others."""
        async with asyncio.timeout(10):
            while sorted(self.begun) != sorted(names):  # noqa: ASYNC110 - the steps are the condition
                await asyncio.sleep(0.001)


gate = Gate()


@component("desk")
class Desk(EventSourcedEntity):
    """What others are asked by: it reports when it is done."""

    @command
    def report(self, what: str) -> Effect[None]:
        return self.persist(Reported(what=what))

    @on(Reported)
    def reported(self, event: Reported) -> None:
        """Nothing is remembered."""


@component("order")
class Order(Workflow):
    """Asks for things, each in a step that returns the wait for the answer."""

    waits_on = (payments, Desk)

    paid: list[int] = []
    wanted: int = 1
    heard: str = ""

    @command
    def start(self, wanted: int = 1) -> Effect[None]:
        return self.update(wanted=wanted).begin(Order.ask)

    @command
    def ask_desk(self) -> Effect[None]:
        return self.go(Order.ask_at_desk)

    @command
    def ask_twice(self) -> Effect[None]:
        return self.go_all(branch(Order.branch_one), branch(Order.branch_two), then=Order.listen)

    @command
    def listen_now(self) -> Effect[None]:
        return self.wait_for(payments, Paid, self.entity_id, then=Order.was_paid)

    @command
    def again(self) -> Effect[None]:
        return self.go(Order.ask)

    @query
    def content(self) -> tuple[str, list[int], str]:
        return self.status, self.paid, self.heard

    @step(retry=Retry(attempts=3), timeout=30)
    async def ask(self) -> Effect[None]:
        await gate.meet("ask")
        return self.wait_for(
            payments,
            Paid,
            self.entity_id,
            then=Order.was_paid,
            timeout=LONG,
            on_timeout=Order.too_late,
        )

    @step(timeout=30)
    async def ask_at_desk(self) -> Effect[None]:
        await gate.meet("desk")
        return self.wait_for(Desk, Reported, "the desk", where={"what": "yes"}, then=Order.hear)

    @step(timeout=30)
    async def branch_one(self) -> None:
        await gate.meet("one")

    @step(timeout=30)
    async def branch_two(self) -> None:
        await gate.meet("two")

    @step
    async def listen(self) -> Effect[None]:
        return self.go(Order.listen_on)

    @step
    async def listen_on(self) -> Effect[None]:
        return self.wait_for(payments, Paid, self.entity_id, then=Order.was_paid)

    @step(timeout=30)
    async def was_paid(self, event: Paid) -> Effect[None]:
        await gate.meet(f"paid {event.amount}")
        paid = self.update(paid=[*self.paid, event.amount])
        if len(self.paid) + 1 == self.wanted:
            return paid.end()
        return paid.wait_for(payments, Paid, self.entity_id, then=Order.was_paid)

    @step
    async def hear(self, event: Reported) -> Effect[None]:
        return self.update(heard=event.what).end()

    @step
    async def too_late(self) -> Effect[None]:
        return self.update(heard="too late").pause()


@component("watcher")
class Watcher(Workflow):
    """Waits for the end of an order."""

    waits_on = (Order,)
    outcome: str = ""

    @command
    def watch(self, order: str) -> Effect[None]:
        return self.wait_for_end(Order, order, then=Watcher.over)

    @query
    def content(self) -> str:
        return self.outcome

    @step
    async def over(self, ended: WorkflowEnded) -> Effect[None]:
        return self.update(outcome=f"{ended.id} {ended.status}").end()


service = Service("orders", components=[Order, Desk, Watcher], topics=[payments])


paid_there = Topic("payments", Paid, key="order", service="orders")


@component("member")
class Member(Workflow):
    """Waits for what another service tells."""

    waits_on = (paid_there,)
    paid: int = 0

    @command
    def join(self) -> Effect[None]:
        return self.begin(Member.ask)

    @query
    def content(self) -> int:
        return self.paid

    @step(timeout=30)
    async def ask(self) -> Effect[None]:
        await gate.meet("join")
        return self.wait_for(paid_there, Paid, self.entity_id, then=Member.was_paid)

    @step
    async def was_paid(self, event: Paid) -> Effect[None]:
        return self.update(paid=event.amount).end()


members = Service("members", components=[Member])
