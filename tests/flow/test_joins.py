"""Joins at their bounds, on every engine: what a key holds, how many pairs one event makes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from eventmill import Event, Service, Topic
from eventmill.errors import HandlerFailed
from eventmill.model import limits
from eventmill.pipelines import Pair, Stream, Transform
from eventmill.testing import FaultyStore, Host, TransformKit

NOON = datetime(2013, 1, 1, 12, tzinfo=UTC)


class Asked(Event):
    key: str
    second: int
    text: str = ""


class Said(Event):
    key: str
    second: int
    text: str = ""


class Met(Event):
    key: str
    asked: int
    said: int


asked = Topic("asked", Asked, key="key")
said = Topic("said", Said, key="key")
met = Topic("met", Met, key="key")


def at(event: Any) -> datetime:
    return NOON + timedelta(seconds=event.second)


def meeting(
    is_kept: Callable[[Pair[Asked, Said]], object] = lambda pair: True,
    idle: timedelta | None = None,
) -> Transform:
    return (
        Stream(asked)
        .join(Stream(said), within=timedelta(hours=1), time=(at, at), idle=idle)
        .filter(is_kept)
        .map(lambda pair: Met(key=pair.key, asked=pair.left.second, said=pair.right.second))
        .to(met, id="meeting")
    )


def service(transform: Transform) -> Service:
    return Service("talk", components=[transform], topics=[asked, said, met])


async def test_an_event_that_cannot_be_held_has_published_nothing(store: FaultyStore) -> None:
    text = "x" * (limits.VIEW_ROW_BYTES_MAX * 2 // 5)
    async with Host(service(meeting()), store=store) as host:
        results = host.probe(met)
        await host.operations.pause("meeting")
        for event in (Asked(key="a", second=n, text=text) for n in (0, 1)):
            await host.publish(asked, event)
        await host.publish(said, Said(key="a", second=2, text=text), Said(key="b", second=2))
        await host.publish(asked, Asked(key="b", second=0))
        await host.operations.resume("meeting")
        await host.settle(retries=True)
        (letter,) = await host.letters()
        assert (letter.code, letter.attempts) == ("transform.too_large", 8)
        assert "within=" in (letter.error or "")
        assert await results.expect_one(Met) == Met(key="b", asked=0, said=2)


async def test_a_key_whose_events_are_parked_is_not_silent(store: FaultyStore) -> None:
    broken = {0}
    transform = meeting(lambda pair: pair.left.second not in broken or 1 / 0, timedelta(minutes=1))
    async with Host(service(transform), store=store) as host:
        results = host.probe(met)
        await host.publish(asked, Asked(key="a", second=0))
        await host.publish(said, Said(key="a", second=5))
        await host.advance(timedelta(hours=1))
        assert [letter.subscription for letter in await host.letters()] == ["meeting"]
        broken.clear()
        await host.operations.redrive("meeting")
        await host.settle(retries=True)
        assert await results.expect_one(Met) == Met(key="a", asked=0, said=5)


async def test_nor_is_it_when_its_next_event_comes(store: FaultyStore) -> None:
    broken = {0}
    transform = meeting(lambda pair: pair.left.second not in broken or 1 / 0, timedelta(minutes=1))
    async with Host(service(transform), store=store) as host:
        results = host.probe(met)
        await host.operations.pause("meeting")
        await host.publish(asked, Asked(key="a", second=0))
        await host.publish(said, Said(key="a", second=5))
        await host.operations.resume("meeting")
        await host.settle()
        await host.operations.pause("meeting")  # its timer must not look first
        await host.advance(timedelta(hours=1))
        await host.publish(asked, Asked(key="a", second=10))
        broken.clear()
        await host.operations.resume("meeting")
        await host.operations.redrive("meeting")
        await host.settle(retries=True)
        found = await results.expect_n(2, Met)
        assert {(one.asked, one.said) for one in found} == {(0, 5), (10, 5)}


async def test_commands_pass_while_pairs_are_made(store: FaultyStore) -> None:
    made, most = 0, 0

    def drop(pair: Pair[Asked, Said]) -> bool:
        nonlocal made
        made += 1
        return False

    async def watch() -> None:
        nonlocal most
        before = made
        while True:
            await asyncio.sleep(0)
            before, most = made, max(most, made - before)

    events = 150
    async with Host(service(meeting(drop)), store=store) as host:
        await host.operations.pause("meeting")
        await host.publish(asked, *(Asked(key="a", second=n) for n in range(events)))
        await host.publish(said, *(Said(key="a", second=n) for n in range(events)))
        watching = asyncio.create_task(watch())
        await host.operations.resume("meeting")
        await host.settle()
        watching.cancel()
        assert made == events * events
        assert most <= limits.RESULTS_BETWEEN_TURNS + events


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(1, "waiting does not help"), (3_600, "the other side of this key has not come as far")],
)
def test_a_full_key_says_what_is_to_be_done(seconds: int, told: str) -> None:
    kit = TransformKit(meeting())
    for n in range(limits.JOIN_EVENTS_MAX):
        kit.feed(Asked(key="a", second=n * seconds), source=asked)
    with pytest.raises(HandlerFailed, match=told):
        kit.feed(Asked(key="a", second=limits.JOIN_EVENTS_MAX * seconds), source=asked)
