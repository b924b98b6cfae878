"""A replay on several nodes: each does its shards, whoever comes and goes, and each event counts once."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from eventmill import Effect, Event, Service, Topic, consumer, publish
from eventmill.runtime.control.replays import ReplayStatus
from tests.cluster.nodes import Nodes

KEYS = [f"o{number}" for number in range(60)]
NAME = "replay@copier.shadow"


class Placed(Event):
    order: str


orders = Topic("orders", Placed, key="order")
copies = Topic("copies", Placed, key="order")


@consumer("copier", source=orders, batch_size=2)
def copy(event: Placed) -> Effect[None]:
    return publish(copies, event)


service = Service("shop", components=[copy], topics=[orders, copies])


@pytest.fixture(params=[False, True], ids=["store", "broker"])
async def nodes(request: pytest.FixtureRequest) -> AsyncIterator[Nodes]:
    nodes = Nodes(service, broker=request.param)
    await nodes.start("a", "b")
    yield nodes
    await nodes.close()


async def finished(nodes: Nodes, node: str) -> ReplayStatus:
    for _ in range(100):
        (found,) = await nodes.while_time_passes(nodes.operations(node).replays())
        if found.finished:
            return found  # type: ignore[no-any-return]
        await nodes.advance(0.5)
    raise AssertionError(f"it does not end: {found}")


async def test_all_nodes_take_part(nodes: Nodes) -> None:
    publishing = nodes.running["a"].publish(orders, tuple(map(Placed, KEYS)))
    await nodes.while_time_passes(publishing)
    await nodes.advance(5)
    await nodes.while_time_passes(nodes.operations("a").replay("copier", "beginning"))
    await nodes.until(lambda: NAME in nodes.running["b"].subscriptions)
    handled = [nodes.running[name].subscription(NAME) for name in "ab"]
    done = await finished(nodes, "b")
    assert done.tally.events == len(KEYS)
    assert done.tally.effects == {"publish copies": len(KEYS)}
    assert all(one.handled for one in handled)
    await nodes.until(lambda: all(NAME not in n.subscriptions for n in nodes.running.values()))


async def test_one_that_dies_has_its_part_done_by_the_others(nodes: Nodes) -> None:
    publishing = nodes.running["a"].publish(orders, tuple(map(Placed, KEYS)))
    await nodes.while_time_passes(publishing)
    await nodes.advance(5)
    nodes.stores["b"].fail(3, matching=lambda commit: any("tally" in f for f in commit.registry))
    await nodes.while_time_passes(nodes.operations("a").replay("copier", "beginning"))
    await nodes.until(lambda: bool(nodes.stores["b"].injected))
    await nodes.crash("b")
    done = await finished(nodes, "a")
    assert done.tally.events == len(KEYS)
    assert done.tally.effects == {"publish copies": len(KEYS)}
    await nodes.while_time_passes(nodes.operations("a").forget_replay(NAME))
    await nodes.advance(10)
    assert not [fact for fact in await nodes.store.registry() if "replay" in fact]
