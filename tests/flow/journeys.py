"""The workflow that most flows of workflows run: a journey is booked, leg by leg, and paid."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from eventmill import (
    Effect,
    Event,
    EventSourcedEntity,
    Rejected,
    Retry,
    Service,
    StepContext,
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


class Noted(Event):
    what: str
    key: str


class Paid(Event):
    journey: str
    amount: int


payments = Topic("payments", Paid, key="journey")


@component("office")
class Office(EventSourcedEntity):
    """Where bookings arrive: one line each, under the key that it came with."""

    lines: list[tuple[str, str]] = []
    full: bool = False

    @command
    def note(self, what: str, key: str = "") -> Effect[None]:
        if what == "hotel full":
            raise Rejected("no room", code="office.full")
        return self.persist(Noted(what=what, key=key))

    @query
    def content(self) -> list[str]:
        return [what for what, _ in self.lines]

    @query
    def keys(self) -> list[str]:
        return [key for _, key in self.lines]

    @on(Noted)
    def noted(self, event: Noted) -> None:
        self.lines.append((event.what, event.key))


class Trouble:
    """What the test wants to go wrong: steps by name, and how often."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.fails: dict[str, int] = {}
        self.begun: list[str] = []
        self.gates: dict[str, asyncio.Event] = {}

    async def meet(self, name: str) -> None:
        self.begun.append(name)
        if name in self.gates:
            await self.gates[name].wait()
        if self.fails.get(name, 0) > 0:
            self.fails[name] -= 1
            raise RuntimeError(f"{name} is out of order")


trouble = Trouble()


async def begun(*steps: str) -> None:
    """Wait until these steps have begun, in this order, and no others."""
    async with asyncio.timeout(10):
        while trouble.begun != [*steps]:  # noqa: ASYNC110 - the steps are the condition
            await asyncio.sleep(0)


@component("journey")
class Journey(Workflow):
    """Flight, hotel, then paid; each undone if a later one fails."""

    waits_on = (payments, Office)

    hotel: str = "grand"
    booked: list[str] = []
    amount: int = 0
    notes: list[str] = []

    @command
    def start(self, hotel: str = "grand") -> Effect[str]:
        return self.update(hotel=hotel).begin(Journey.flight, "LIS").reply(lambda j: j.status)

    @command
    def begin_parallel(self, first: bool = False, hard: bool = False) -> Effect[None]:
        if hard:
            legs = branch(Journey.hard_leg, "a"), branch(Journey.hard_leg, "b")
            return self.go_all(*legs, branch(Journey.leg, "c"), then=Journey.joined)
        branches = branch(Journey.leg, "a"), branch(Journey.leg, "b"), branch(Journey.leg, "c")
        if first:
            return self.go_any(*branches, then=Journey.joined)
        return self.go_all(*branches, then=Journey.joined)

    @command
    def note(self, text: str) -> Effect[list[str]]:
        return self.update(notes=[*self.notes, text]).reply(lambda j: j.notes)

    @command
    def turn_back(self) -> Effect[None]:
        return self.go(Journey.give_up)

    @command
    def wait_for_payment(self, days: float = 0) -> Effect[None]:
        if days:
            return self.wait_for(
                payments,
                Paid,
                self.entity_id,
                then=Journey.paid,
                timeout=timedelta(days=days),
                on_timeout=Journey.give_up,
            )
        return self.wait_for(payments, Paid, self.entity_id, where={"amount": 7}, then=Journey.paid)

    @command
    def wait_for_office(self) -> Effect[None]:
        return self.wait_for(Office, Noted, "o2", then=Journey.heard)

    @command
    def hold_on(self, minutes: float = 0) -> Effect[None]:
        if not minutes:
            return self.update(notes=[*self.notes, "held"]).pause()
        return self.pause(timeout=timedelta(minutes=minutes), on_timeout=Journey.give_up)

    @command
    def forget(self) -> Effect[None]:
        return self.delete()

    @query
    def content(self) -> tuple[str, list[str]]:
        return self.status, self.booked

    @query
    def noted(self) -> list[str]:
        return self.notes

    @step(compensate="undo_flight")
    async def flight(self, ctx: StepContext, to: str) -> Effect[None]:
        await trouble.meet("flight")
        await ctx.call(Office.note, "o1", f"flight {to}", ctx.idempotency_key)
        return self.update(booked=[*self.booked, to]).go(Journey.room)

    @step(compensate="undo_room", retry=Retry(attempts=3))
    async def room(self, ctx: StepContext) -> Effect[None]:
        await trouble.meet("room")
        await ctx.call(Office.note, "o1", f"hotel {self.hotel}", ctx.idempotency_key)
        return self.update(booked=[*self.booked, self.hotel]).go(Journey.pay)

    @step(retry=Retry(attempts=2), timeout=0.2)
    async def pay(self) -> Effect[None]:
        await trouble.meet("pay")
        return self.end()

    @step
    async def undo_flight(self, ctx: StepContext, to: str) -> Effect[None]:
        await trouble.meet("undo_flight")
        await ctx.call(Office.note, "o1", f"no flight {to}", ctx.undone_key)
        return self.update(booked=[b for b in self.booked if b != to])

    @step
    async def undo_room(self, ctx: StepContext) -> None:
        await trouble.meet("undo_room")
        await ctx.call(Office.note, "o1", f"no hotel {self.hotel}", ctx.undone_key)

    @step
    async def give_up(self, ctx: StepContext) -> Effect[None]:
        return self.update(notes=[*self.notes, f"gave up: {ctx.error}"]).compensate()

    @step(failover="spare_leg", retry=Retry(attempts=1))
    async def leg(self, ctx: StepContext, name: str) -> Effect[None] | None:
        await trouble.meet(f"leg {name}")
        await ctx.call(Office.note, "o1", f"leg {name}")
        return None

    @step(retry=Retry(attempts=1), timeout=0.2)
    async def hard_leg(self, ctx: StepContext, name: str) -> None:
        await trouble.meet(f"leg {name}")

    @step
    async def spare_leg(self, ctx: StepContext, name: str) -> None:
        await ctx.call(Office.note, "o1", f"spare {name}: {ctx.error}")

    @step
    async def joined(self) -> Effect[None]:
        return self.update(notes=[*self.notes, "joined"]).end()

    @step
    async def paid(self, event: Paid) -> Effect[None]:
        return self.update(amount=event.amount, notes=[*self.notes, f"paid {event.amount}"]).end()

    @step
    async def heard(self, event: Noted) -> Effect[None]:
        return self.update(notes=[*self.notes, f"heard {event.what}"]).end()


@component("tour")
class Tour(Workflow):
    """Starts a journey and waits for its end; all of it may take an hour."""

    waits_on = (Journey,)
    timeout = timedelta(hours=1)
    on_timeout = "too_late"

    outcome: str = ""

    @command
    def start(self, hotel: str = "grand") -> Effect[None]:
        child = f"{self.entity_id}-1"
        waiting = self.wait_for_end(Journey, child, then=Tour.came_back)
        return waiting.start_child(Journey.start, child, hotel)

    @command
    def idle(self) -> Effect[None]:
        return self.pause()

    @query
    def content(self) -> tuple[str, str]:
        return self.status, self.outcome

    @step
    async def came_back(self, ended: WorkflowEnded) -> Effect[None]:
        return self.update(outcome=f"{ended.id} {ended.status}").end()

    @step
    async def too_late(self) -> Effect[None]:
        return self.update(outcome="too late").end()


service = Service("journeys", components=[Journey, Tour, Office], topics=[payments])
