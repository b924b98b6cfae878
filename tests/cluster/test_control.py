# mypy: disable-error-code="empty-body"
"""What is asked of one node of several holds for all: pauses, resets, letters, pushes, statuses."""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import AsyncIterator

import pytest

from eventmill import (
    Context,
    Effect,
    Event,
    EventSourcedEntity,
    Service,
    Topic,
    command,
    component,
    consumer,
    on,
    publish,
)
from eventmill.errors import Conflict, DeadlineExceeded, NotFound, Unavailable
from eventmill.model.commit import LetterStatus
from eventmill.model.definition import Retry
from eventmill.model.pushing import Config, Pushing
from eventmill.ports.sender import Answer
from eventmill.runtime.control.acts import letter_id
from tests.cluster.nodes import SHARDS, Nodes

IDS = [f"c{number}" for number in range(40)]


class Added(Event):
    amount: int


class Told(Event):
    counter: str


told = Topic("told", Told, key="counter")


@component("counter")
class Counter(EventSourcedEntity):
    total: int = 0

    @command
    def add(self, amount: int) -> Effect[None]:
        return self.persist(Added(amount))

    @on(Added)
    def added(self, event: Added) -> None:
        self.total += event.amount


class World:
    """Outside: what consumers and sinks have seen, and what they do not take."""

    def __init__(self) -> None:
        self.seen: Counts[str] = Counts()
        self.refused: set[str] = set()
        self.pushed: Counts[str] = Counts()

    def check(self, url: str) -> None:
        """Every sink is fine."""

    async def send(
        self, url: str, headers: dict[str, str], body: bytes, *, method: str, seconds: float
    ) -> Answer:
        self.pushed[f"{url} {headers['ce-subject']}"] += 1
        return Answer(204)

    async def close(self) -> None:
        """Nothing is held."""

    def got(self, sink: str) -> set[str]:
        """Subjects that a sink was sent."""
        return {key.partition(" ")[2] for key in self.pushed if key.startswith(sink)}


world = World()


@consumer("recorder", source=Counter, retry=Retry(attempts=1))
def record(event: Added, ctx: Context) -> Effect[None]:
    if ctx.subject in world.refused:
        raise ValueError("not this one")
    world.seen[ctx.subject] += event.amount
    return publish(told, Told(counter=ctx.subject))


service = Service("counters", components=[Counter, record], topics=[told])


@pytest.fixture
async def nodes() -> AsyncIterator[Nodes]:
    world.__init__()  # type: ignore[misc]
    nodes = Nodes(service, world)
    await nodes.start("a", "b")
    yield nodes
    await nodes.close()


async def add(nodes: Nodes, *ids: str) -> None:
    """Add to counters through node a, and let their consumers get on."""
    for id in ids:
        await nodes.call("a", Counter.add, id, 1)
    await nodes.advance(1)


def held_by(nodes: Nodes, node: str) -> list[str]:
    """Counters whose shard a node holds."""
    placement = nodes.store.placement
    return [id for id in IDS if placement.entity(id) in nodes.running[node].held]


async def test_a_pause_on_one_node_stops_all_and_a_resume_too(nodes: Nodes) -> None:
    paused = await nodes.while_time_passes(nodes.operations("a").pause("recorder"))
    assert paused.paused
    await nodes.advance(0.5)
    await add(nodes, *IDS)
    assert world.seen == {}
    for node in "ab":
        status = await nodes.while_time_passes(nodes.operations(node).consumer("recorder"))
        assert (status.paused, status.lag) == (True, len(IDS))
    await nodes.start("c")
    await add(nodes, *IDS)
    assert world.seen == {}, "a node that joins later finds it paused"
    await nodes.while_time_passes(nodes.operations("c").resume("recorder"))
    await nodes.advance(1)
    assert world.seen == dict.fromkeys(IDS, 2)


async def test_a_node_that_does_not_hear_of_a_pause_looks_for_itself(nodes: Nodes) -> None:
    nodes.network.lost = lambda: True
    await nodes.while_time_passes(nodes.running["a"].roster.pause("recorder"))
    await nodes.until(lambda: nodes.running["b"].subscription("recorder").paused, 4)


async def test_a_word_from_another_node_comes_before_the_next_look(nodes: Nodes) -> None:
    a, b = nodes.running.values()
    for _ in range(3):
        await nodes.while_time_passes(a.roster.pause("recorder"))
        await nodes.until(lambda: b.subscription("recorder").paused, 0.2)
        await nodes.while_time_passes(b.roster.resume("recorder"))
        await nodes.until(lambda: not a.subscription("recorder").paused, 0.2)


async def test_whoever_paused_it_may_rely_on_it(nodes: Nodes) -> None:
    nodes.network.lost = lambda: True
    await nodes.while_time_passes(nodes.operations("a").pause("recorder"))
    assert nodes.running["b"].subscription("recorder").paused, "asked how it is, it looks first"


async def test_the_status_is_that_of_all_shards_on_every_node(nodes: Nodes) -> None:
    world.refused = {held_by(nodes, "a")[0], held_by(nodes, "b")[0]}
    await add(nodes, *IDS)
    for node in "ab":
        status = await nodes.while_time_passes(nodes.operations(node).consumer("recorder"))
        assert (status.position, status.end, status.lag) == (len(IDS), len(IDS), 0)
        assert (status.blocked, status.dead, status.failures) == (2, 2, 2)
        assert len(await nodes.operations(node).letters()) == 2
    with pytest.raises(NotFound):
        await nodes.while_time_passes(nodes.operations("a").consumer("nobody"))


async def test_the_store_speaks_for_shards_of_a_node_that_does_not(nodes: Nodes) -> None:
    world.refused = {held_by(nodes, "b")[0]}
    await add(nodes, *IDS)
    await nodes.crash("b")
    status = await nodes.while_time_passes(nodes.operations("a").consumer("recorder"))
    assert (status.position, status.end, status.lag) == (len(IDS), len(IDS), 0)
    assert (status.blocked, status.dead) == (1, 1)


@pytest.mark.parametrize("times", [1, 2])
async def test_a_reset_on_one_node_repeats_the_events_of_all(nodes: Nodes, times: int) -> None:
    world.refused = {held_by(nodes, "a")[0], held_by(nodes, "b")[0]}
    await add(nodes, *IDS)
    world.refused = set()
    for _ in range(times):
        await nodes.while_time_passes(nodes.operations("a").reset("recorder", "beginning"))
    await nodes.advance(1)
    late = held_by(nodes, "a")[0], held_by(nodes, "b")[0]
    expected = dict.fromkeys(IDS, 1 + times) | dict.fromkeys(late, times)
    assert world.seen == expected
    assert await nodes.operations("a").letters() == []


async def test_letters_of_both_nodes_are_tried_again_from_one(nodes: Nodes) -> None:
    world.refused = {*held_by(nodes, "a")[:2], *held_by(nodes, "b")[:3]}
    await add(nodes, *IDS)
    assert len(await nodes.operations("a").letters()) == 5
    world.refused = set()
    assert await nodes.while_time_passes(nodes.operations("a").redrive("recorder")) == 5
    await nodes.advance(1)
    assert world.seen == dict.fromkeys(IDS, 1)
    assert await nodes.operations("a").letters() == []


async def test_one_letter_of_another_node_is_tried_again_or_discarded(nodes: Nodes) -> None:
    one, two, three = held_by(nodes, "b")[:3]
    world.refused = {one, two, three}
    await add(nodes, one, two, three)
    await add(nodes, three)
    letters = await nodes.operations("a").letters()
    by_key = {letter.key: letter for letter in letters if letter.status is LetterStatus.DEAD}
    (behind,) = [letter for letter in letters if letter.status is LetterStatus.WAITING]
    world.refused = set()
    acts = nodes.operations("a")

    async def ask(work: object) -> int:
        return int(await nodes.while_time_passes(work))

    assert await ask(acts.redrive("recorder", letter=letter_id(by_key[f"counter/{one}"]))) == 1
    assert await ask(acts.redrive("recorder", key=f"counter/{two}")) == 1
    with pytest.raises(Conflict, match="waits behind"):
        await ask(acts.redrive("recorder", letter=letter_id(behind)))
    gone = letter_id(by_key[f"counter/{three}"])
    assert await ask(acts.discard("recorder", letter=gone)) == 1
    with pytest.raises(NotFound):
        await ask(acts.discard("recorder", letter=gone))
    await nodes.advance(1)
    assert world.seen == {one: 1, two: 1, three: 1}, "what waited behind the discarded one goes on"
    assert await acts.letters() == []


async def test_letters_are_tried_again_when_their_dead_nodes_shards_are_taken(
    nodes: Nodes,
) -> None:
    world.refused = {*held_by(nodes, "b")[:3]}
    await add(nodes, *IDS)
    world.refused = set()
    await nodes.crash("b")
    assert await nodes.while_time_passes(nodes.operations("a").redrive("recorder")) == 3
    await nodes.advance(1)
    assert world.seen == dict.fromkeys(IDS, 1)


async def test_shards_that_could_not_be_reached_are_named(nodes: Nodes) -> None:
    world.refused = {*held_by(nodes, "a")[:1], *held_by(nodes, "b")[:1]}
    await add(nodes, *IDS)
    lost = sorted(nodes.running["b"].held)
    nodes.part({"a"}, {"b"})
    with pytest.raises(DeadlineExceeded, match="not done in shards") as late:
        await nodes.while_time_passes(nodes.operations("a").redrive("recorder"))
    assert late.value.details == {"shards": lost, "letters": 1}
    nodes.network.heal()
    world.refused = set()
    assert await nodes.while_time_passes(nodes.operations("a").redrive("recorder")) == 2


SINK = Pushing("http://one", "HTTP", id="orders", source="counter", config=Config(backoff=0.1))


async def test_a_pushed_subscription_is_one_of_all_nodes(nodes: Nodes) -> None:
    await add(nodes, *IDS)
    await nodes.while_time_passes(nodes.running["a"].pushes.create(SINK))
    with pytest.raises(Conflict, match="is there already"):
        await nodes.while_time_passes(nodes.running["b"].pushes.create(SINK))
    await nodes.advance(0.5)
    assert [one.id for one in nodes.running["b"].pushes.list()] == ["orders"]
    await add(nodes, *IDS)
    assert world.pushed == {f"http://one {id}": 1 for id in IDS}, "from its creation on, once each"
    changed = Pushing("http://two", "HTTP", source="counter")
    await nodes.while_time_passes(nodes.running["b"].pushes.replace("orders", changed))
    await nodes.advance(0.5)
    await add(nodes, *IDS)
    assert world.got("http://two") == set(IDS)
    await nodes.while_time_passes(nodes.running["a"].pushes.pause("orders"))
    await nodes.advance(0.5)
    assert nodes.running["b"].pushes.is_paused("orders")


async def test_a_pushed_subscription_that_ends_leaves_nothing_on_any_node(nodes: Nodes) -> None:
    await nodes.while_time_passes(nodes.running["a"].pushes.create(SINK))
    await nodes.advance(0.5)
    await add(nodes, *IDS)
    await nodes.while_time_passes(nodes.running["b"].pushes.delete("orders"))
    await nodes.advance(0.5)
    world.pushed.clear()
    await add(nodes, *IDS)
    assert world.pushed == {}
    for runtime in nodes.running.values():
        assert runtime.pushes.list() == []
    facts = await nodes.store.registry()
    assert [name for name in facts if "orders" in name] == []
    assert "push@orders" not in {name for name, _ in await nodes.store.offsets()}
    again = Pushing("http://one", "HTTP", id="orders", source="counter")
    await nodes.while_time_passes(nodes.running["a"].pushes.create(again))
    await nodes.advance(0.5)
    await add(nodes, *IDS)
    assert world.pushed == {f"http://one {id}": 1 for id in IDS}, "it begins anew"


async def test_an_id_is_free_again_only_when_no_node_runs_it_any_more(nodes: Nodes) -> None:
    await nodes.while_time_passes(nodes.running["a"].pushes.create(SINK))
    await nodes.advance(0.5)
    await add(nodes, *IDS)
    nodes.part({"a"}, {"b"})
    nodes.network.lost = lambda: True
    await nodes.while_time_passes(nodes.running["a"].pushes.delete("orders"))
    with pytest.raises(Conflict, match="still being ended"):
        await nodes.while_time_passes(nodes.running["a"].pushes.create(SINK))
    nodes.network.heal()
    await nodes.advance(10)
    await nodes.while_time_passes(nodes.running["a"].pushes.create(SINK))


async def test_a_push_is_sent_on_by_who_takes_a_dead_nodes_shards(nodes: Nodes) -> None:
    await nodes.while_time_passes(nodes.running["a"].pushes.create(SINK))
    await nodes.advance(0.5)
    await nodes.crash("b")
    await add(nodes, *held_by(nodes, "a"))
    await nodes.advance(15)
    await add(nodes, *IDS)
    assert world.got("http://one") == set(IDS)


async def test_a_stopping_node_changes_no_facts(nodes: Nodes) -> None:
    runtime = nodes.running["b"]
    await nodes.stop("b")
    with pytest.raises(Unavailable):
        await runtime.roster.pause("recorder")
    assert len(nodes.running["a"].held) in range(SHARDS + 1)
