"""Nodes keep their lease whatever their work waits for, and take again what they had lost."""

from __future__ import annotations

import asyncio

import pytest

from eventmill import Effect, Event, EventSourcedEntity, Service, command, component, consumer, on
from eventmill.errors import ConfigurationError, NotOwner, StoreUnavailable
from eventmill.http.health import Health
from eventmill.model.envelope import Envelope
from eventmill.runtime.cluster.cluster import LEASE_SECONDS
from tests.cluster.nodes import SHARDS, Nodes

IDS = [f"c{number}" for number in range(40)]


class Added(Event):
    amount: int


@component("counter")
class Counter(EventSourcedEntity):
    total: int = 0

    @command
    def add(self, amount: int) -> Effect[int]:
        return self.persist(Added(amount)).reply(lambda counter: counter.total)

    @on(Added)
    def added(self, event: Added) -> None:
        self.total += event.amount


def all_held(nodes: Nodes) -> bool:
    return sorted(s for some in nodes.held().values() for s in some) == list(range(SHARDS))


async def add_everywhere(nodes: Nodes, node: str) -> None:
    for id in IDS:
        await nodes.call(node, Counter.add, id, 1)


async def test_a_node_that_comes_back_under_its_name_has_all_shards_again() -> None:
    nodes = Nodes(Service("counters", components=[Counter]))
    await nodes.start("a")
    await add_everywhere(nodes, "a")
    await nodes.crash("a")
    await nodes.start("a")
    assert all_held(nodes)
    await add_everywhere(nodes, "a")
    await nodes.close()


async def test_a_node_that_could_not_see_the_others_takes_its_shards_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nodes = Nodes(Service("counters", components=[Counter]))
    await nodes.start("a")
    health = Health(nodes.running["a"])
    assert await health.problems() == []

    async def fail(node: str, address: str, *, seconds: float) -> bool:
        raise StoreUnavailable("a fault of the test")

    with monkeypatch.context() as patch:
        patch.setattr(nodes.leases, "renew", fail)
        await nodes.advance(9.5)
        assert nodes.held() == {"a": set()}, "its lease may end at any moment: it serves nothing"
        assert await health.problems(), "requests should go elsewhere"
    await nodes.advance(5)
    assert await health.problems() == []
    assert all_held(nodes)
    await add_everywhere(nodes, "a")
    await nodes.close()


async def test_a_batch_that_takes_longer_than_a_lease_costs_no_shard() -> None:
    gate = asyncio.Event()

    @consumer("slow", source=Counter)
    async def slow(event: Added) -> None:
        await gate.wait()

    nodes = Nodes(Service("counters", components=[Counter, slow]))
    await nodes.start("a")
    await nodes.call("a", Counter.add, "c1", 1)
    await nodes.start("b")  # it shall have some of a's shards, which waits for its batch
    await nodes.advance(20)
    assert [member.node for member in await nodes.leases.members()] == ["a", "b"]
    kept = nodes.held()["a"]
    gate.set()
    await nodes.advance(5)
    assert all_held(nodes)
    assert len(kept) >= SHARDS - 2, "only those of the first move are on their way"
    await nodes.close()


async def test_a_keyed_command_does_not_wait_for_a_node_that_stands_still() -> None:
    nodes = Nodes(Service("counters", components=[Counter]))
    await nodes.start("a", "b")
    id = next(id for id in IDS if nodes.store.placement.entity(id) in nodes.held()["a"])

    async def never(payload: bytes) -> bytes:
        return await asyncio.get_running_loop().create_future()

    frozen = await nodes.freeze("a")
    assert frozen.peers is not None
    await nodes.network.nodes[nodes.place("a")].serve(frozen.peers.cluster.address, never)
    envelope = Envelope("counter", id, "add", (1,), "key")
    asked = asyncio.ensure_future(nodes.running["b"].execute(envelope))
    await nodes.advance(LEASE_SECONDS + 3)
    assert asked.done()
    assert await asked == b"1"
    await frozen.supervisor.stop(*frozen.supervisor.names())
    await nodes.close()


async def test_what_was_asked_of_the_wrong_node_is_not_remembered_there() -> None:
    nodes = Nodes(Service("counters", components=[Counter]))
    await nodes.start("a", "b")
    id = next(id for id in IDS if nodes.store.placement.entity(id) in nodes.held()["a"])
    assert await nodes.call("a", Counter.add, id, 1) == 1
    for _ in range(2):
        with pytest.raises(NotOwner):
            await nodes.running["b"].entities.execute(Envelope("counter", id, "add", (1,)))
    assert await nodes.call("a", Counter.add, id, 1) == 2
    await nodes.stop("a")
    await nodes.advance(2)
    assert await nodes.call("b", Counter.add, id, 1) == 3
    await nodes.close()


async def test_a_frozen_node_whose_name_somebody_else_has_by_now_disturbs_nobody() -> None:
    nodes = Nodes(Service("counters", components=[Counter]))
    await nodes.start("a", "b")
    zombie = await nodes.freeze("a")
    await nodes.advance(LEASE_SECONDS + 1)
    await nodes.start("a")
    assert all_held(nodes)
    before = [claim.epoch for claim in await nodes.leases.claims()]
    await nodes.thaw(zombie)
    await nodes.advance(LEASE_SECONDS + 1)
    assert not zombie.held
    assert await Health(zombie).problems(), "requests should go elsewhere"
    assert all_held(nodes)
    assert [claim.epoch for claim in await nodes.leases.claims()] == before, "no shard has moved"
    await add_everywhere(nodes, "a")
    await nodes.while_time_passes(zombie.stop())
    assert sorted(member.node for member in await nodes.leases.members()) == ["a", "b"]
    await nodes.close()


@pytest.mark.parametrize(("first", "second"), [(True, True), (True, False), (False, True)])
async def test_a_node_does_not_start_beside_one_that_it_cannot_meet(
    first: bool, second: bool
) -> None:
    nodes = Nodes(Service("counters", components=[Counter]))
    await nodes.start("a", alone=first)
    with pytest.raises(ConfigurationError, match="node 'a' works on this store already"):
        await nodes.start("b", alone=second)
    await add_everywhere(nodes, "a")
    await nodes.crash("a")
    await nodes.start("b", alone=second)
    assert all_held(nodes)
    await add_everywhere(nodes, "b")
    await nodes.close()


async def test_of_two_nodes_of_one_name_the_second_is_refused() -> None:
    nodes = Nodes(Service("counters", components=[Counter]))
    await nodes.start("a")
    (first,) = nodes.running.values()
    with pytest.raises(ConfigurationError, match="--node of its own"):
        await nodes.start("a")
    nodes.running["a"] = first
    assert all_held(nodes)
    await nodes.close()
