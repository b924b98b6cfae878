"""Replicated entities on several nodes: local reads and writes, one state in the end, whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from copy import deepcopy
from datetime import timedelta
from typing import Any

import pytest

from eventmill import (
    Effect,
    ORSet,
    PNCounter,
    ReplicatedEntity,
    Service,
    command,
    component,
    query,
)
from eventmill.errors import Conflict, Deleted, NotEverywhere, Unavailable
from eventmill.model.commit import Commit
from eventmill.model.entry import DELTAS
from eventmill.model.envelope import Envelope
from eventmill.model.handler import Handler
from eventmill.runtime.replicated import compactor
from eventmill.runtime.replicated.log import stored_state
from tests.cluster.nodes import Nodes


@component("tally")
class Tally(ReplicatedEntity):
    retention = timedelta(seconds=20)

    count: PNCounter
    names: ORSet[str]

    @command
    def add(self, amount: int) -> Effect[int]:
        return self.update(self.count.increment(amount)).reply(lambda tally: tally.count.value)

    @command
    def name(self, name: str) -> Effect[None]:
        return self.update(self.names.add(name))

    @command
    def unname(self, name: str) -> Effect[None]:
        return self.update(self.names.remove(name))

    @command
    def remove(self) -> Effect[None]:
        return self.delete()

    @query
    def content(self) -> tuple[int, set[str]]:
        return self.count.value, self.names.value


@component("majority")
class Majority(ReplicatedEntity):
    write_consistency = "majority"

    count: PNCounter

    @command
    def add(self, amount: int) -> Effect[int]:
        return self.update(self.count.increment(amount)).reply(lambda tally: tally.count.value)

    @query
    def content(self) -> int:
        return self.count.value


@component("everywhere")
class Everywhere(ReplicatedEntity):
    write_consistency = "all"

    count: PNCounter

    @command
    def add(self, amount: int) -> Effect[int]:
        return self.update(self.count.increment(amount)).reply(lambda tally: tally.count.value)

    @query
    def content(self) -> int:
        return self.count.value


service = Service("tallies", components=[Tally, Majority, Everywhere])
IDS = [f"t{number}" for number in range(12)]


@pytest.fixture(params=["store", "broker"])
async def nodes(request: pytest.FixtureRequest) -> AsyncIterator[Nodes]:
    nodes = Nodes(service, broker=request.param == "broker")
    yield nodes
    await nodes.close()


async def at_once(nodes: Nodes, node: str, handler: Handler[Any, Any], id: str, *args: Any) -> Any:
    """Call an entity while the clock stands still: nothing that waits for it helps."""
    return await nodes.running[node].call(handler, id, handler.arguments(args, {}))


async def expect_everywhere(nodes: Nodes, id: str, content: tuple[int, set[str]]) -> None:
    for name in nodes.running:
        assert await nodes.call(name, Tally.content, id) == content


async def test_every_node_serves_by_itself_and_all_become_equal(nodes: Nodes) -> None:
    await nodes.start("a", "b", "c")
    for number, name in enumerate("abc"):
        for id in IDS:
            await nodes.call(name, Tally.add, id, 10**number)
            await nodes.call(name, Tally.name, id, name)
    await nodes.advance(1)
    for id in IDS:
        await expect_everywhere(nodes, id, (111, {"a", "b", "c"}))


async def test_no_other_node_is_needed_for_a_write_or_a_read(nodes: Nodes) -> None:
    await nodes.start("a", "b")
    for name in ("a", "b"):
        for id in IDS:  # warm
            await nodes.call(name, Tally.add, id, 1)
    await nodes.advance(1)
    nodes.pause("b")
    for id in IDS:
        assert await at_once(nodes, "a", Tally.add, id, 1) == 3
    nodes.resume("b")


async def test_a_change_reaches_the_others_while_the_clock_stands_still(nodes: Nodes) -> None:
    await nodes.start("a", "b")
    await nodes.call("b", Tally.content, "t")
    await at_once(nodes, "a", Tally.add, "t", 5)
    for _ in range(200):
        await asyncio.sleep(0)
    assert await at_once(nodes, "b", Tally.content, "t") == (5, set())


async def test_nodes_that_do_not_reach_each_other_become_equal_by_the_store(nodes: Nodes) -> None:
    await nodes.start("a", "b", "c")
    await nodes.call("a", Tally.name, "t", "x")
    await nodes.advance(1)
    nodes.part({"a"}, {"b"}, {"c"})
    await nodes.call("a", Tally.unname, "t", "x")
    await nodes.call("b", Tally.name, "t", "y")
    await nodes.call("c", Tally.add, "t", 7)
    await nodes.advance(3)
    await expect_everywhere(nodes, "t", (7, {"y"}))
    nodes.network.heal()


async def test_a_node_without_its_store_answers_and_takes_nothing_and_heals(nodes: Nodes) -> None:
    await nodes.start("a", "b")
    for name in ("a", "b"):
        await nodes.call(name, Tally.add, "t", 1)
    await nodes.advance(1)
    nodes.stores["b"].fail(matching=lambda commit: bool(commit.entries))
    with pytest.raises(Unavailable):
        await nodes.call("b", Tally.add, "t", 1_000)
    assert (await nodes.call("b", Tally.content, "t"))[0] == 2
    await nodes.call("a", Tally.add, "t", 10)
    await nodes.call("b", Tally.add, "t", 100)
    await nodes.advance(2)
    await expect_everywhere(nodes, "t", (112, set()))


async def test_a_change_of_unknown_outcome_is_counted_once(nodes: Nodes) -> None:
    await nodes.start("a", "b")
    await nodes.call("a", Tally.add, "t", 1)
    nodes.stores["a"].fail(matching=lambda c: bool(c.entries), when="after")
    with pytest.raises(Unavailable):
        await nodes.call("a", Tally.add, "t", 10)
    await nodes.advance(2)
    await nodes.call("a", Tally.add, "t", 100)
    await nodes.call("b", Tally.add, "t", 1_000)
    await nodes.advance(2)
    await expect_everywhere(nodes, "t", (1_111, set()))


async def test_a_commit_that_was_given_up_cannot_land_later(nodes: Nodes) -> None:
    """It might hold dots that its node has used for something else by then."""
    await nodes.start("a", "b")
    await nodes.call("a", Tally.add, "t", 1)
    given_up: list[Commit] = []

    def is_of_deltas(commit: Commit) -> bool:
        if any(entry.source == DELTAS for entry in commit.entries):
            given_up.append(deepcopy(commit))
            return True
        return False

    nodes.stores["a"].fail(matching=is_of_deltas)
    with pytest.raises(Unavailable):
        await nodes.call("a", Tally.add, "t", 10)
    assert await nodes.call("a", Tally.add, "t", 100) == 101
    with pytest.raises(Conflict):
        await nodes.stores["a"].inner.commit(given_up[0])
    await nodes.advance(2)
    await expect_everywhere(nodes, "t", (101, set()))


async def test_a_deleted_one_is_refused_everywhere_then_new(nodes: Nodes) -> None:
    await nodes.start("a", "b", "c")
    for name in nodes.running:
        await nodes.call(name, Tally.add, "t", 1)
    await nodes.call("a", Tally.remove, "t")
    await nodes.advance(1)
    for name in nodes.running:
        with pytest.raises(Deleted):
            await nodes.call(name, Tally.content, "t")
    await nodes.advance(40)
    await expect_everywhere(nodes, "t", (0, set()))
    await nodes.call("b", Tally.add, "t", 5)
    await nodes.advance(1)
    await expect_everywhere(nodes, "t", (5, set()))


async def test_concurrent_addition_wins_over_removal(nodes: Nodes) -> None:
    await nodes.start("a", "b")
    await nodes.call("a", Tally.name, "t", "x")
    await nodes.advance(1)
    await asyncio.gather(
        at_once(nodes, "a", Tally.unname, "t", "x"), at_once(nodes, "b", Tally.name, "t", "x")
    )
    await nodes.advance(2)
    await expect_everywhere(nodes, "t", (0, {"x"}))


async def test_nodes_that_come_and_go_share_few_actors(nodes: Nodes) -> None:
    """A killed node's number goes to the next one, which goes on where it was."""
    await nodes.start("a", "b")
    total = 0
    for number in range(6):
        name = f"n{number}"
        await nodes.start(name)
        for node in ("a", "b", name):
            total += 1
            await nodes.call(node, Tally.add, "t", 1)
        await nodes.crash(name)
        await nodes.advance(12)
    await expect_everywhere(nodes, "t", (total, set()))
    state, _ = await stored_state(nodes.store, "tally", "t")
    assert len(state.context.clock) == 3
    assert not state.context.cloud


async def test_a_frozen_node_whose_number_is_taken_cannot_add(nodes: Nodes) -> None:
    await nodes.start("a", "b")
    await nodes.call("a", Tally.add, "t", 1)
    zombie = await nodes.freeze("a")
    nodes.pause("a")
    await nodes.advance(15)
    await nodes.start("c")
    await nodes.call("c", Tally.add, "t", 10)
    envelope = Envelope("tally", "t", "add", (100,))
    with pytest.raises(Unavailable):
        await nodes.while_time_passes(zombie.execute(envelope))
    nodes.resume("a")
    await nodes.advance(2)
    await expect_everywhere(nodes, "t", (11, set()))
    await zombie.supervisor.stop(*zombie.supervisor.names())


async def test_deltas_are_joined_by_whoever_holds_the_shard(nodes: Nodes) -> None:
    await nodes.start("a")
    for id in IDS:
        await nodes.call("a", Tally.add, id, 1)
    await nodes.start("b", "c")
    for id in IDS:
        await nodes.call("b", Tally.add, id, 1)
    await nodes.crash("a")
    await nodes.advance(15)
    for id in IDS:
        await nodes.call("c", Tally.add, id, 1)
    await nodes.advance(5)
    for id in IDS:
        (entry,) = await nodes.store.journal.history("tally", id, limit=9)
        assert entry.type == "$state"
        await expect_everywhere(nodes, id, (3, set()))


async def test_a_node_that_comes_too_late_for_deltas_loads_the_state(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compactor, "TRIM_KEPT", 0)
    await nodes.start("a", "b")
    await nodes.call("b", Tally.add, "t", 1)
    await nodes.advance(1)
    replication = nodes.running["b"].replication
    assert replication is not None
    await nodes.running["b"].supervisor.stop("replicas: log")
    nodes.part({"a"}, {"b"})
    for _ in range(5):
        await nodes.call("a", Tally.add, "t", 1)
        await nodes.advance(0.5)
    await nodes.advance(25)
    shard = nodes.store.placement.message(DELTAS, "t")
    scan = await nodes.store.journal.read(shard, 0, limit=99, sources=frozenset({DELTAS}))
    assert scan.entries == []
    nodes.network.heal()
    assert (await nodes.call("b", Tally.content, "t"))[0] == 1
    nodes.running["b"].supervisor.start("replicas: log", replication.log.run())
    await nodes.advance(1)
    await expect_everywhere(nodes, "t", (6, set()))


async def test_a_write_for_all_is_read_everywhere_at_once(nodes: Nodes) -> None:
    await nodes.start("a", "b", "c")
    for name in nodes.running:
        assert await nodes.call(name, Everywhere.content, "t") == 0
    for number, name in enumerate("abcabc", 1):
        assert await at_once(nodes, name, Everywhere.add, "t", 1) == number
        for other in nodes.running:
            assert await at_once(nodes, other, Everywhere.content, "t") == number


async def test_a_node_that_is_away_stops_a_write_for_all_but_not_for_a_majority(
    nodes: Nodes,
) -> None:
    await nodes.start("a", "b", "c")
    await nodes.call("a", Everywhere.add, "t", 1)
    await nodes.call("a", Majority.add, "t", 1)
    nodes.pause("c")
    assert await nodes.call("a", Majority.add, "t", 1) == 2
    with pytest.raises(NotEverywhere, match="durable"):
        await nodes.call("a", Everywhere.add, "t", 1)
    nodes.resume("c")
    await nodes.advance(5)
    assert await nodes.call("c", Everywhere.content, "t") == 2
    assert await nodes.call("c", Majority.content, "t") == 2


async def test_the_minority_side_does_not_answer_for_a_majority(nodes: Nodes) -> None:
    await nodes.start("a", "b", "c")
    await nodes.call("a", Majority.add, "t", 1)
    nodes.part({"a"}, {"b", "c"})
    with pytest.raises(Unavailable, match="majority"):
        await nodes.call("a", Majority.add, "t", 10)
    assert await nodes.call("b", Majority.add, "t", 100) >= 101
    nodes.network.heal()
    await nodes.advance(3)
    for name in nodes.running:
        assert await nodes.call(name, Majority.content, "t") == 111
