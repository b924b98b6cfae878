"""Several nodes on one store: shards are shared out, move, and nothing is lost or done twice."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import msgspec
import pytest

from eventmill import (
    Context,
    Effect,
    Event,
    EventSourcedEntity,
    Record,
    Service,
    Topic,
    View,
    command,
    component,
    consumer,
    on,
    publish,
    query,
    send,
)
from eventmill.errors import DeadlineExceeded, NotOwner, Unavailable
from eventmill.model.envelope import Envelope
from eventmill.runtime.cluster.cluster import LEASE_SECONDS
from eventmill.runtime.runtime import Runtime
from tests.cluster.nodes import SHARDS, Nodes


class Added(Event):
    amount: int


class Told(Event):
    counter: str
    amount: int


told = Topic("told", Told, key="counter")


@component("counter")
class Counter(EventSourcedEntity):
    total: int = 0

    @command
    def add(self, amount: int) -> Effect[int]:
        return self.persist(Added(amount)).reply(lambda counter: counter.total)

    @query
    def content(self) -> int:
        return self.total

    @on(Added)
    def added(self, event: Added) -> None:
        self.total += event.amount


@consumer("teller", source=Counter)
def tell(event: Added, ctx: Context) -> Effect[None]:
    if ctx.subject.startswith("copy-"):
        return publish(told)
    return publish(told, Told(counter=ctx.subject, amount=event.amount))


@consumer("copier", source=told)
def copy(event: Told) -> Effect[None]:
    return send(Counter.add, f"copy-{event.counter}", event.amount)


@component("totals")
class Totals(View):
    class Row(Record):
        counter: str
        total: int = 0

    @on(Counter)
    def changed(self, event: Added, row: Row | None, ctx: Context) -> Row | None:
        return self.Row(counter=ctx.subject, total=(row.total if row else 0) + event.amount)

    @query("SELECT * FROM totals ORDER BY counter")
    def all(self) -> list[Row]: ...


service = Service("counters", components=[Counter, tell, copy, Totals], topics=[told])
IDS = [f"c{number}" for number in range(40)]


@pytest.fixture(params=["store", "broker"])
async def nodes(request: pytest.FixtureRequest) -> AsyncIterator[Nodes]:
    """Nodes whose topics live in the store, or in a broker."""
    nodes = Nodes(service, broker=request.param == "broker")
    yield nodes
    await nodes.close()


def shared_out(nodes: Nodes) -> bool:
    """Whether every shard has exactly one node, and no node more than its share."""
    held = list(nodes.held().values())
    share = -(-SHARDS // len(held))
    return sorted(s for some in held for s in some) == list(range(SHARDS)) and all(
        len(some) <= share for some in held
    )


async def add_everywhere(nodes: Nodes, amount: int) -> None:
    """Add to every counter, through one node after the other."""
    names = list(nodes.running)
    for number, id in enumerate(IDS):
        await nodes.call(names[number % len(names)], Counter.add, id, amount)


async def expect_totals(nodes: Nodes, total: int) -> None:
    """Counters, their copies and the view's rows agree, whichever node is asked."""
    await nodes.advance(5)
    for name in nodes.running:
        for id in IDS[:8]:
            assert await nodes.call(name, Counter.content, id) == total
            assert await nodes.call(name, Counter.content, f"copy-{id}") == total
    for id in IDS:
        sequences = [e.sequence for e in await nodes.store.journal.history("counter", id, limit=99)]
        assert sequences == list(range(1, len(sequences) + 1))
    (runtime, *_) = nodes.running.values()
    rows = {row.counter: row.total for row in await runtime.query(Totals.all, ())}
    assert rows == dict.fromkeys((*IDS, *(f"copy-{id}" for id in IDS)), total)


async def test_a_node_alone_holds_everything(nodes: Nodes) -> None:
    await nodes.start("a")
    assert shared_out(nodes)
    await add_everywhere(nodes, 1)
    await expect_totals(nodes, 1)


async def test_nodes_share_the_shards_and_reach_each_others_entities(nodes: Nodes) -> None:
    await nodes.start("a", "b", "c")
    assert shared_out(nodes)
    await add_everywhere(nodes, 1)
    await add_everywhere(nodes, 2)
    await expect_totals(nodes, 3)


async def test_a_node_that_joins_takes_its_share_while_commands_go_on(nodes: Nodes) -> None:
    await nodes.start("a")
    await add_everywhere(nodes, 1)
    await nodes.start("b")
    assert shared_out(nodes)
    await add_everywhere(nodes, 2)
    await expect_totals(nodes, 3)


async def test_a_node_that_stops_gives_its_shards_to_the_others(nodes: Nodes) -> None:
    await nodes.start("a", "b")
    await add_everywhere(nodes, 1)
    await nodes.stop("a")
    await nodes.advance(1)
    assert shared_out(nodes)
    await add_everywhere(nodes, 2)
    await expect_totals(nodes, 3)


async def test_a_crashed_nodes_shards_are_taken_when_its_lease_has_ended(nodes: Nodes) -> None:
    await nodes.start("a", "b")
    await add_everywhere(nodes, 1)
    lost = nodes.running["a"].held.copy()
    await nodes.crash("a")
    await nodes.advance(5)
    assert not nodes.running["b"].held & lost, "as long as it may live, nobody takes its shards"
    await nodes.advance(8)
    assert shared_out(nodes)
    await add_everywhere(nodes, 2)
    await expect_totals(nodes, 3)


@pytest.mark.parametrize("names", ["a", "ab", "abc"])
async def test_killed_nodes_that_start_again_find_their_shards(nodes: Nodes, names: str) -> None:
    await nodes.start(*names)
    await add_everywhere(nodes, 1)
    for name in names:
        await nodes.crash(name)
    await nodes.start(*names)
    await nodes.advance(15)
    assert shared_out(nodes)
    await add_everywhere(nodes, 2)
    await expect_totals(nodes, 3)


def on_its_own(zombie: Runtime, lost: set[int]) -> Callable[[str], bool]:
    return lambda id: zombie.store.placement.entity(id) in lost


async def test_a_frozen_node_that_goes_on_can_neither_write_nor_read(nodes: Nodes) -> None:
    await nodes.start("a", "b")
    await add_everywhere(nodes, 1)
    lost = nodes.running["a"].held.copy()
    zombie = await nodes.freeze("a")
    await nodes.advance(15)
    assert shared_out(nodes)
    its_own = list(filter(on_its_own(zombie, lost), IDS))
    assert its_own
    for id in its_own:
        with pytest.raises(NotOwner):  # what it has in memory may be of the past
            await nodes.while_time_passes(zombie.entities.execute(_envelope(id, "content")))
        with pytest.raises((NotOwner, Unavailable)):
            await nodes.while_time_passes(
                zombie.entities.execute(_envelope(id))  # it still believes that it holds the shard
            )
    assert zombie.committer.commits > 0
    await add_everywhere(nodes, 2)
    await expect_totals(nodes, 3)
    await zombie.supervisor.stop(*zombie.supervisor.names())


def _envelope(id: str, name: str = "add") -> Envelope:
    return Envelope("counter", id, name, (100,) if name == "add" else ())


async def test_a_command_waits_for_a_shard_that_moves(nodes: Nodes) -> None:
    await nodes.start("a", "b")
    id = next(id for id in IDS if nodes.store.placement.entity(id) in nodes.running["a"].held)
    await nodes.crash("a")
    assert await nodes.call("b", Counter.add, id, 5) == 5


async def test_an_unkeyed_command_sent_to_a_frozen_node_is_answered_when_its_shard_moves(
    nodes: Nodes,
) -> None:
    await nodes.start("a", "b")
    id = next(id for id in IDS if nodes.store.placement.entity(id) in nodes.running["a"].held)
    zombie = await nodes.freeze("a")
    nodes.pause("a")
    began = nodes.clock.monotonic()
    with pytest.raises(DeadlineExceeded, match="outcome is unknown"):
        await nodes.call("b", Counter.add, id, 5)
    assert 5 < nodes.clock.monotonic() - began < LEASE_SECONDS + 3
    assert await nodes.call("b", Counter.add, id, 5) == 5
    nodes.resume("a")
    await zombie.supervisor.stop(*zombie.supervisor.names())


@consumer("asker", source=told, timeout=60)
async def ask(event: Told, ctx: Context) -> None:
    await ctx.call(Counter.add, f"copy-{event.counter}", event.amount)


async def test_a_shard_is_taken_while_a_consumer_waits_for_an_entity_of_it() -> None:
    nodes = Nodes(Service("asking", components=[Counter, ask], topics=[told]))
    await nodes.start("a", "b")
    lost, kept = nodes.running["a"].held.copy(), nodes.running["b"].held.copy()
    home = nodes.store.placement.entity
    ids = [id for id in IDS if home(id) in kept and home(f"copy-{id}") in lost]
    assert ids
    await nodes.crash("a")
    began = nodes.clock.monotonic()
    await nodes.while_time_passes(
        nodes.running["b"].publish(told, [Told(counter=id, amount=1) for id in ids])
    )
    await nodes.until(lambda: nodes.running["b"].held >= lost)
    assert nodes.clock.monotonic() - began < LEASE_SECONDS + 3
    await nodes.advance(1)
    for id in ids:
        assert await nodes.call("b", Counter.content, f"copy-{id}") == 1
    await nodes.close()


async def test_commands_for_entities_elsewhere_travel_together_and_in_order(nodes: Nodes) -> None:
    await nodes.start("a", "b")
    amounts = [1, 2, 3, 4]
    events = [Told(counter=id, amount=amount) for amount in amounts for id in IDS]
    nodes.network.delay_seconds = 0.5
    await nodes.while_time_passes(nodes.running["a"].publish(told, events))
    # Each command takes a second there and back; one after the other they would take a minute.
    await nodes.advance(10)
    nodes.network.delay_seconds = 0.0
    for id in IDS:
        history = await nodes.store.journal.history("counter", f"copy-{id}", limit=99)
        assert [msgspec.json.decode(e.payload)["amount"] for e in history] == amounts


async def test_a_command_that_did_not_arrive_is_not_lost_behind_others_that_did(
    nodes: Nodes,
) -> None:
    await nodes.start("a", "b")
    nodes.part({"a"}, {"b"})
    await nodes.while_time_passes(
        nodes.running["a"].publish(told, [Told(counter=id, amount=1) for id in IDS])
    )
    await nodes.advance(3)
    copied = [
        id for id in IDS if await nodes.store.journal.history("counter", f"copy-{id}", limit=9)
    ]
    assert 0 < len(copied) < len(IDS)
    nodes.network.heal()
    await nodes.advance(60)
    for id in IDS:
        history = await nodes.store.journal.history("counter", f"copy-{id}", limit=99)
        assert [msgspec.json.decode(e.payload)["amount"] for e in history] == [1]
