"""Topics of several nodes in a broker: published here, consumed there, in order and once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from eventmill import (
    Effect,
    Event,
    EventSourcedEntity,
    Service,
    Topic,
    command,
    component,
    consumer,
    on,
    query,
    send,
)
from eventmill.model import limits
from eventmill.model.commit import Commit
from eventmill.runtime import relay
from eventmill.runtime.inspection import Inspection
from tests.cluster.nodes import Nodes

KEYS = [f"k{number}" for number in range(24)]


class Said(Event):
    key: str
    number: int


class Heard(Event):
    number: int


said = Topic("said", Said, key="key")


@component("ear")
class Ear(EventSourcedEntity):
    heard: list[int] = []

    @command
    def hear(self, number: int) -> Effect[None]:
        return self.persist(Heard(number))

    @query
    def everything(self) -> list[int]:
        return self.heard

    @on(Heard)
    def took(self, event: Heard) -> None:
        self.heard = [*self.heard, event.number]


@consumer("listener", source=said)
def listen(event: Said) -> Effect[None]:
    return send(Ear.hear, event.key, event.number)


service = Service("talk", components=[Ear, listen], topics=[said])


@pytest.fixture
async def nodes() -> AsyncIterator[Nodes]:
    nodes = Nodes(service, broker=True)
    yield nodes
    await nodes.close()


async def say(nodes: Nodes, node: str, number: int) -> None:
    """Publish one event under every key."""
    events = tuple(Said(key, number) for key in KEYS)
    await nodes.while_time_passes(nodes.running[node].publish(said, events))


async def expect(nodes: Nodes, numbers: list[int]) -> None:
    """Every key's events have arrived once each, in this order."""
    await nodes.advance(5)
    node = next(iter(nodes.running))
    for key in KEYS:
        assert await nodes.call(node, Ear.everything, key) == numbers, key


def relayed(commit: Commit) -> bool:
    return any(offset.subscription == relay.NAME for offset in commit.offsets)


async def test_what_one_node_publishes_is_read_where_its_key_lives(nodes: Nodes) -> None:
    await nodes.start("a", "b")
    for number in range(10):
        await say(nodes, "ab"[number % 2], number)
    await expect(nodes, list(range(10)))
    counts = [runtime.subscription("listener").handled for runtime in nodes.running.values()]
    assert sum(counts) == 10 * len(KEYS)
    assert min(counts) > 0


async def test_topics_move_with_their_shards(nodes: Nodes) -> None:
    await nodes.start("a")
    await say(nodes, "a", 0)
    await nodes.start("b")
    await say(nodes, "a", 1)
    await nodes.stop("a")
    await say(nodes, "b", 2)
    await nodes.start("c")
    await say(nodes, "c", 3)
    await expect(nodes, [0, 1, 2, 3])


@pytest.mark.parametrize("away", [0.0, limits.DUPLICATES_SECONDS + 1])
async def test_a_crash_between_append_and_offset_repeats_nothing(nodes: Nodes, away: float) -> None:
    """Within the time in which the broker knows what it has, and beyond."""
    assert nodes.topics is not None
    await nodes.start("a")
    await say(nodes, "a", 0)
    await nodes.advance(1)
    store = nodes.stores["a"]
    store.fail(matching=relayed)
    await say(nodes, "a", 1)
    async with asyncio.timeout(10):
        while not store.injected:  # noqa: ASYNC110 - the store has no event for it
            await asyncio.sleep(0)
    await nodes.crash("a")
    before = len(nodes.topics.streams["said"].entries)
    assert before > len(KEYS)
    nodes.clock.move_to(nodes.clock.now() + round(away * 1e6))
    await nodes.start("b")
    await nodes.advance(15)
    await say(nodes, "b", 2)
    await expect(nodes, [0, 1, 2])
    stored = len(nodes.topics.streams["said"].entries)
    assert (stored > 3 * len(KEYS)) == (away > limits.DUPLICATES_SECONDS)


async def test_every_node_shows_a_whole_topic(nodes: Nodes) -> None:
    await nodes.start("a", "b")
    await say(nodes, "a", 0)
    await nodes.advance(1)
    for times, runtime in enumerate(nodes.running.values(), 1):
        page = await nodes.while_time_passes(Inspection(runtime).last_messages("said", limit=99))
        assert sorted(m.subject for m in page.messages) == sorted(times * KEYS)
        looking = asyncio.ensure_future(
            Inspection(runtime).messages("said", after=page.position, wait_seconds=20.0)
        )
        await nodes.advance(0.1)
        await say(nodes, "b", 1)
        found = (await nodes.while_time_passes(looking)).messages
        assert found


async def test_one_node_takes_what_plain_clients_send(nodes: Nodes) -> None:
    assert nodes.topics is not None
    await nodes.start("a", "b")
    for number in range(3):
        for key in KEYS:
            headers = f"ce-specversion: 1.0\r\nce-id: {key}/{number}\r\nce-source: /x\r\n"
            headers += f"ce-type: Said\r\nce-subject: {key}\r\n"
            body = b'{"key":"%s","number":%d}' % (key.encode(), number)
            nodes.topics.publish("said", headers.encode(), body)
    await expect(nodes, [0, 1, 2])
