"""Schedules and timers on several nodes: one run per tick on all of them together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta

import pytest

from eventmill import (
    Context,
    Effect,
    Event,
    EventSourcedEntity,
    Service,
    command,
    component,
    on,
    query,
    scheduled,
    send,
    timed,
)
from tests.cluster.nodes import Nodes


class Noted(Event):
    what: str


@component("log")
class Log(EventSourcedEntity):
    notes: list[str] = []

    @command
    def note(self, what: str) -> Effect[None]:
        return self.persist(Noted(what=what))

    @command
    def later(self, seconds: int, what: str) -> Effect[None]:
        when = timedelta(seconds=seconds)
        return self.reply(None).schedule(f"note-{what}", when, note, self.entity_id, what)

    @command
    def never(self, what: str) -> Effect[None]:
        return self.reply(None).cancel(f"note-{what}")

    @query
    def content(self) -> list[str]:
        return self.notes

    @on(Noted)
    def noted(self, event: Noted) -> None:
        self.notes.append(event.what)


ran: list[str] = []


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    yield
    ran.clear()


@timed("note")
def note(ctx: Context, log: str, what: str) -> Effect[None]:
    return send(Log.note, log, what)


@scheduled(timedelta(seconds=30), id="tick", missed="all")
async def every_half_minute(ctx: Context, tick: datetime) -> Effect[None]:
    ran.append(f"{tick:%M:%S}")
    return send(Log.note, "ticks", f"{tick:%M:%S}")


service = Service("clockwork", components=[Log, note, every_half_minute])


@pytest.fixture
async def nodes() -> AsyncIterator[Nodes]:
    made = Nodes(service)
    await made.start("a", "b", "c")
    yield made
    await made.close()


def owner_of(nodes: Nodes, id: str) -> str:
    home = nodes.store.placement.entity(id)
    return next(name for name, held in nodes.held().items() if home in held)


def expected(nodes: Nodes) -> list[str]:
    passed = nodes.clock.now() // 1_000_000 % 3_600
    return [f"{at // 60:02}:{at % 60:02}" for at in range(30, passed + 1, 30)]


async def test_a_tick_has_one_run_on_all_nodes_whoever_dies(nodes: Nodes) -> None:
    await nodes.advance(60)
    for number in range(3):
        first = owner_of(nodes, "tick")
        await nodes.crash(first)
        await nodes.advance(40)
        await nodes.start(f"d{number}")
        await nodes.advance(30)
        await nodes.stop(owner_of(nodes, "tick"))
        await nodes.advance(15)
        await nodes.start(f"e{number}")
    await nodes.advance(20)
    name = next(iter(nodes.running))
    assert await nodes.call(name, Log.content, "ticks") == expected(nodes)


async def test_pause_and_run_reach_the_node_that_has_the_schedule(nodes: Nodes) -> None:
    owner = owner_of(nodes, "tick")
    other = next(name for name in nodes.running if name != owner)
    await nodes.while_time_passes(nodes.operations(other).pause_schedule("tick"))
    await nodes.advance(5)
    before = list(ran)
    await nodes.advance(90)
    assert ran == before
    await nodes.while_time_passes(nodes.operations(other).run_schedule("tick"))
    await nodes.advance(1)
    assert len(ran) == len(before) + 1
    await nodes.while_time_passes(nodes.operations(other).resume_schedule("tick"))
    await nodes.advance(35)
    assert len(ran) == len(before) + 2


async def test_timers_fire_on_whatever_node_has_them_by_then(nodes: Nodes) -> None:
    ids = [f"c{number}" for number in range(20)]
    for id in ids:
        await nodes.call("a", Log.later, id, 60, id)
    gone = owner_of(nodes, "c0")
    await nodes.crash(gone)
    name = next(iter(nodes.running))
    await nodes.advance(90)
    assert [await nodes.call(name, Log.content, id) for id in ids] == [[id] for id in ids]


async def test_a_timer_of_one_node_is_cancelled_and_replaced_on_another(nodes: Nodes) -> None:
    here, there = nodes.id_at("a"), nodes.id_at("b")
    await nodes.call("a", Log.later, here, 60, "x")
    await nodes.call("a", Log.later, here, 60, "y")
    await nodes.call("b", Log.never, there, "x")
    await nodes.call("b", Log.later, there, 90, "y")
    await nodes.advance(80)
    assert await nodes.call("a", Log.content, here) == []
    await nodes.advance(20)
    assert await nodes.call("a", Log.content, here) == []
    assert await nodes.call("a", Log.content, there) == ["y"]
