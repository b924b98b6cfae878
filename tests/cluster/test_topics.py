# mypy: disable-error-code="empty-body"
"""Topics of several nodes in a broker: published here, consumed there, in order and once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from eventmill import WHEN_READ, Record, Service, Topic, View, component, consumer, on, query
from eventmill.model import limits
from eventmill.model.commit import Commit, Offset
from eventmill.model.placement import EVERY_SHARD
from eventmill.runtime.operating.inspection import Inspection
from eventmill.runtime.topics import relay
from eventmill.sdk.consumer import Consumer
from tests.cluster.nodes import Nodes
from tests.cluster.talk import Ear, Said, listen, said

KEYS = [f"k{number}" for number in range(24)]


whispered = Topic("whispered", Said, key="key", retention=timedelta(seconds=20))


@component("whispers")
class Whispers(View):
    class Row(Record):
        id: str
        number: int

    @on(whispered)
    def heard(self, event: Said, row: Row | None) -> Row:
        return Whispers.Row(id=event.key, number=event.number)

    @query("SELECT * FROM whispers ORDER BY id")
    def all(self) -> list[Row]: ...


service = Service("talk", components=[Ear, listen, Whispers], topics=[said, whispered])


@pytest.fixture
async def nodes() -> AsyncIterator[Nodes]:
    nodes = Nodes(service, broker=True)
    yield nodes
    await nodes.close()


async def say(nodes: Nodes, node: str, number: int, topic: Topic[Said] = said) -> None:
    """Publish one event under every key."""
    events = tuple(Said(key, number) for key in KEYS)
    await nodes.while_time_passes(nodes.running[node].publish(topic, events))


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


passing = Topic("passing", Said, key="key", retention=WHEN_READ)


def passer_by(name: str, seen: list[int]) -> Consumer:
    @consumer(name, source=passing)
    def see(event: Said) -> None:
        seen.append(event.number)

    return see


def left(nodes: Nodes) -> int:
    assert nodes.topics is not None
    return len(nodes.topics.streams["passing"].entries)


async def test_what_all_nodes_have_read_goes_whoever_holds_it(nodes: Nodes) -> None:
    seen: list[int] = []
    nodes.service = Service("talk", components=[passer_by("one", seen)], topics=[passing])
    await nodes.start("a", "b")
    await say(nodes, "a", 1, passing)
    await nodes.until(lambda: left(nodes) == len(KEYS), 10)
    await nodes.until(lambda: left(nodes) == 0, 60)
    assert seen == [1] * len(KEYS)


async def test_a_subscription_of_newer_nodes_alone_finds_what_it_has_to_read(nodes: Nodes) -> None:
    """In a rolling update: where an old node holds the shard nobody reads for it yet."""
    seen: list[int] = []
    late: list[int] = []
    nodes.service = Service("talk", components=[passer_by("one", seen)], topics=[passing])
    await nodes.start("a", "b")
    both = [passer_by("one", seen), passer_by("late", late)]
    nodes.service = Service("talk", components=both, topics=[passing])
    await nodes.stop("b")
    await nodes.start("b")
    await say(nodes, "a", 1, passing)
    await nodes.advance(60, step=0.5)
    assert len(seen) == len(KEYS)
    assert 0 < len(late) < len(KEYS)
    assert left(nodes) == len(KEYS) - len(late)
    await nodes.stop("a")
    await nodes.until(lambda: len(late) == len(KEYS), 10)
    await nodes.until(lambda: left(nodes) == 0, 60)


async def test_a_shard_that_lags_does_not_keep_the_others_full(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "TOPIC_BYTES_MIN", 1)
    bounded = Topic("bounded", Said, key="key", bytes_max=60_000)
    lagging, go_on = set[str](), asyncio.Event()

    @consumer("one", source=bounded)
    async def see(event: Said) -> None:
        if event.key in lagging:
            await go_on.wait()

    nodes.service = Service("talk", components=[see], topics=[bounded])
    await nodes.start("a", "b")
    held, home = nodes.held()["b"], nodes.store.placement.entity
    lagging.update(key for key in KEYS if home(key) in held)
    others = [key for key in KEYS if key not in lagging]
    assert lagging
    assert others
    await say(nodes, "a", 0, bounded)
    for number in range(1, 50):
        events = tuple(Said(key, number) for key in others)
        await nodes.while_time_passes(nodes.running["a"].publish(bounded, events))
        await nodes.advance(5, step=0.5)
    assert nodes.topics is not None
    stored = nodes.topics.streams["bounded"].entries
    assert len(stored) < 40 * len(others), "room was made"
    assert {entry.subject for entry in stored} == set(KEYS), "what was not read is there"
    assert min(e.position for e in stored if e.subject in others) > len(KEYS)
    go_on.set()


def versions(nodes: Nodes) -> list[int | None]:
    """The version of the view that answers, on each node."""
    statuses = [runtime.views.status()[0] for runtime in nodes.running.values()]
    return [status["live"]["version"] if status["live"] else None for status in statuses]


async def rows(nodes: Nodes, node: str) -> dict[str, int]:
    """What the view answers on a node."""
    query = Whispers.all
    found = await nodes.running[node].query(query, query.arguments((), {}))
    return {row.id: row.number for row in found}


async def test_a_view_of_a_topic_is_rebuilt_although_messages_are_gone(nodes: Nodes) -> None:
    """Each shard is seen to have been read, although some have nothing left to read."""
    await nodes.start("a", "b")
    await say(nodes, "a", 1, whispered)
    await nodes.advance(1)
    assert await rows(nodes, "b") == dict.fromkeys(KEYS, 1)
    await nodes.advance(25)
    last = (Said(KEYS[0], 2),)
    await nodes.while_time_passes(nodes.running["b"].publish(whispered, last))
    await nodes.advance(1)
    await nodes.while_time_passes(nodes.operations("a").rebuild("whispers"))
    await nodes.until(lambda: versions(nodes) == [2, 2], 10)
    for node in "ab":
        assert (await rows(nodes, node))[KEYS[0]] == 2


async def test_where_a_moved_subscription_was_says_nothing_about_the_broker(nodes: Nodes) -> None:
    """Positions of the store that it came from are other numbers."""
    came = Commit(offsets=[Offset("listener", EVERY_SHARD, 0, 1_000)])
    nodes.store.hold(nodes.store.placement.home(EVERY_SHARD), 0)
    await nodes.store.commit(came)
    await nodes.start("a")
    await say(nodes, "a", 0)
    await expect(nodes, [0])


async def test_all_that_is_known_of_topics_is_told_by_any_node(nodes: Nodes) -> None:
    """How far subscriptions are, with the relay's, of all shards."""
    await nodes.start("a", "b")
    await say(nodes, "a", 0)
    await nodes.advance(5)
    for node in "ab":
        found = await nodes.while_time_passes(nodes.operations(node).consumers())
        lags = {status.name: status.lag for status in found}
        assert {relay.NAME, "listener"} <= lags.keys()
        assert set(lags.values()) == {0}
        (relayed,) = [status for status in found if status.name == relay.NAME]
        assert relayed.position == len(KEYS)


async def test_a_reset_on_one_node_reads_again_on_all(nodes: Nodes) -> None:
    await nodes.start("a", "b")
    await say(nodes, "a", 0)
    await nodes.advance(5)
    await nodes.while_time_passes(nodes.operations("b").reset("listener", "beginning"))
    await expect(nodes, [0, 0])
    await nodes.while_time_passes(nodes.operations("a").reset("listener", "latest"))
    await say(nodes, "a", 1)
    await expect(nodes, [0, 0, 1])
