"""Handlers that call `sys.exit()`: each of them has failed, and the node goes on."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from datetime import timedelta

import pytest

from eventmill import (
    Context,
    Effect,
    Event,
    EventSourcedEntity,
    Record,
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
    send,
    step,
    timed,
)
from eventmill.errors import HandlerFailed
from eventmill.model.commit import LetterStatus
from eventmill.pipelines import Stream
from eventmill.testing import FaultyStore, Host

ONCE = Retry(attempts=1)
leaving: set[str] = set()
"""The handlers that exit."""


def leave(who: str) -> None:
    if who in leaving:
        sys.exit("done")


class Knocked(Event):
    door: str


class Opened(Event):
    pass


knocks = Topic("knocks", Knocked, key="door")
echoes = Topic("echoes", Knocked, key="door")


@component("door")
class Door(EventSourcedEntity):
    opened: int = 0

    @command
    def open(self) -> Effect[int]:
        leave("command")
        return self.persist(Opened()).reply(lambda door: door.opened)

    @command
    def remind(self) -> Effect[None]:
        return self.reply(None).schedule("later", timedelta(minutes=1), remember)

    @query
    def count(self) -> int:
        leave("query")
        return self.opened

    @query
    def leave_silently(self) -> int:
        sys.exit()

    @on(Opened)
    def was_opened(self, event: Opened) -> None:
        leave("fold")
        self.opened += 1


@timed("remember", retry=ONCE)
def remember(ctx: Context) -> Effect[None]:
    leave("timed")
    return publish(echoes, Knocked(door="later"))


@consumer("one", source=knocks, retry=ONCE)
async def one(event: Knocked) -> Effect[None]:
    await asyncio.sleep(0)
    leave("consumer")
    return send(Door.open, event.door)


@consumer("many", source=knocks, retry=ONCE)
def many(events: list[Knocked]) -> None:
    leave("batch")


@component("knocking")
class Knocking(View):
    class Row(Record):
        door: str

    @on(knocks)
    def knocked(self, event: Knocked, row: Row | None) -> Row:
        leave("view")
        return self.Row(door=event.door)


def loud(event: Knocked) -> Knocked:
    leave("transform")
    return event


@component("porter")
class Porter(Workflow):
    @command
    def rise(self) -> Effect[None]:
        return self.go(Porter.look)

    @step(retry=Retry(attempts=2))
    async def look(self, ctx: StepContext) -> Effect[None]:
        await asyncio.sleep(0)
        leave("step")
        return self.end()

    @query
    def told(self) -> str:
        return self.status


service = Service(
    "house",
    components=[
        *(Door, Porter, Knocking, remember, one, many),
        Stream(knocks).map(loud).to(echoes, id="loud", retry=ONCE),
    ],
    topics=[knocks, echoes],
)


@pytest.fixture(autouse=True)
def nobody_leaves() -> Iterator[None]:
    leaving.clear()
    yield
    leaving.clear()


@pytest.mark.parametrize("who", ["command", "fold"])
async def test_a_command_that_exits_has_failed(store: FaultyStore, who: str) -> None:
    async with Host(service, store=store) as host:
        leaving.add(who)
        with pytest.raises(HandlerFailed, match="raised SystemExit: done"):
            await host.call(Door.open, "front")
        leaving.clear()
        assert await host.call(Door.open, "front") == 1


async def test_a_query_that_exits_has_failed(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        leaving.add("query")
        with pytest.raises(HandlerFailed, match="raised SystemExit: done"):
            await host.call(Door.count, "front")


async def test_an_exit_without_a_word_is_told_without_one(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        with pytest.raises(HandlerFailed, match=r"raised SystemExit$"):
            await host.call(Door.leave_silently, "front")


async def test_a_fold_that_exits_fails_whoever_needs_the_entity(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        await host.call(Door.open, "front")
        await host.restart()
        leaving.add("fold")
        with pytest.raises(HandlerFailed, match="raised SystemExit: done"):
            await host.call(Door.count, "front")
        with pytest.raises(HandlerFailed, match="raised SystemExit: done"):
            await host.call_once("key", Door.open, "front")
        leaving.clear()
        assert await host.call(Door.count, "front") == 1


@pytest.mark.parametrize(
    ("who", "subscription"),
    [
        ("consumer", "one"),
        ("batch", "many"),
        ("command", "$courier"),
        ("view", "knocking@1"),
        ("transform", "loud"),
    ],
)
async def test_a_reaction_that_exits_is_parked(
    store: FaultyStore, who: str, subscription: str
) -> None:
    async with Host(service, store=store) as host:
        leaving.add(who)
        await host.publish(knocks, Knocked(door="front"), Knocked(door="back"))
        await host.settle()
        letters = await host.letters()
        assert {letter.subscription for letter in letters} == {subscription}
        assert {letter.key.rpartition("/")[2] for letter in letters} == {"front", "back"}
        leaving.clear()
        await host.operations.redrive(subscription)
        await host.settle(retries=True)
        assert await host.letters() == []


async def test_a_timed_action_that_exits_is_parked(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        leaving.add("timed")
        await host.call(Door.remind, "front")
        await host.advance(timedelta(minutes=1))
        assert [letter.status for letter in await host.letters("remember")] == [LetterStatus.DEAD]


async def test_a_step_that_exits_is_tried_again(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        leaving.add("step")
        await host.call(Porter.rise, "p")
        await host.settle()
        assert await host.call(Porter.told, "p") == "running"
        leaving.clear()
        await host.advance(timedelta(seconds=1))
        assert await host.call(Porter.told, "p") == "ended"
