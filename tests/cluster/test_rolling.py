"""Rolling restarts: nodes are stopped and started one after the other under load. Nothing is lost or
done twice, and no key waits long, whatever its consumers are busy with."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter as Count
from collections.abc import Awaitable, Callable

import pytest

from eventmill import Context, Service, consumer
from eventmill.adapters.memory.leases import Leases
from eventmill.errors import DeadlineExceeded, Unavailable
from eventmill.ports.cluster import Claim
from tests.cluster.nodes import SHARDS, Nodes
from tests.cluster.test_nodes import IDS, Counter, Told, Totals, service, shared_out, told

PAUSE_SECONDS = 0.05
WAIT_SECONDS = 0.5
"""No command waits longer for its answer, of the 2 s that are promised: a move is a commit and two
looks, which take some steps of the clock here."""
CONSUMER_SECONDS = 3.0
"""How long the slow consumer is busy with each message."""
RETRY_SECONDS = 0.05


class Load:
    """One client per key, which adds 1 all the time through some node that is there, every other time
    without an idempotency key."""

    def __init__(self, nodes: Nodes) -> None:
        self.added: Count[str] = Count()
        self.refused = 0
        """Attempts that had no effect and were made again."""
        self.slowest = 0.0
        self.over = False
        self._nodes = nodes
        self._luck = random.Random(1)
        self._under_way: Count[str] = Count()
        """Requests by the node that was asked."""

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for id in IDS:
                group.create_task(self._client(id))

    async def _client(self, id: str) -> None:
        clock = self._nodes.clock
        while not self.over:
            began = clock.monotonic()
            await self._add(id, None if self.added[id] % 2 else f"{id}/{self.added[id]}")
            self.added[id] += 1
            self.slowest = max(self.slowest, clock.monotonic() - began)
            await clock.sleep(PAUSE_SECONDS)

    async def _add(self, id: str, key: str | None) -> None:
        while True:
            name = self._luck.choice(sorted(self._nodes.running))
            self._under_way[name] += 1
            try:
                await self._nodes.running[name].call(Counter.add, id, (1,), key)
            except DeadlineExceeded:
                raise AssertionError("an outcome is unknown, but nothing broke") from None
            except Unavailable:
                self.refused += 1
                await self._nodes.clock.sleep(RETRY_SECONDS)
            else:
                return
            finally:
                self._under_way[name] -= 1

    async def restart(self, name: str) -> None:
        """Stop a node as an operator does: its front takes no more requests, then it gives its
        shards; start it again when the others have them."""
        runtime = self._nodes.running.pop(name)
        await self._nodes.until(lambda: not self._under_way[name])
        await self._nodes.while_time_passes(runtime.stop())
        await self._nodes.until(lambda: shared_out(self._nodes), 90)
        await self._nodes.start(name, settle=0)
        await self._nodes.until(lambda: shared_out(self._nodes), 90)
        await self._nodes.advance(1)


async def restart_each(nodes: Nodes, load: Load) -> None:
    epochs = dict(nodes.store.epochs)
    working = asyncio.ensure_future(load.run())
    for name in "abc":
        await load.restart(name)
    load.over = True
    await nodes.while_time_passes(working)
    moves = {shard: epoch - epochs[shard] for shard, epoch in nodes.store.epochs.items()}
    assert all(moves.values()), "each shard has moved"
    assert min(load.added.values()) > 50


async def test_a_rolling_restart_loses_nothing_and_lets_no_key_wait() -> None:
    nodes = Nodes(Service("counters", components=[Counter, Totals]))
    load = Load(nodes)
    await nodes.start("a", "b", "c", settle=2)
    await restart_each(nodes, load)
    assert load.slowest <= WAIT_SECONDS
    await nodes.advance(5)
    for id in IDS:
        assert await nodes.call("a", Counter.content, id) == load.added[id]
    rows = {row.counter: row.total for row in await nodes.running["c"].query(Totals.all, ())}
    assert rows == load.added
    await nodes.close()


def asking(pause: Callable[[float], Awaitable[None]]) -> Service:
    """A service whose consumer is busy for long, and calls entities that are moving meanwhile."""

    @consumer("asker", source=told)
    async def ask(event: Told, ctx: Context) -> None:
        await pause(CONSUMER_SECONDS)
        await ctx.call(Counter.add, event.counter, event.amount)

    return Service("asking", components=[Counter, ask], topics=[told])


@pytest.mark.timeout(300)  # a quarter of a minute on a machine that does nothing else
async def test_no_key_waits_for_a_consumer_that_is_busy_while_its_shard_moves() -> None:
    nodes = Nodes(asking(lambda seconds: nodes.clock.sleep(seconds)))
    load = Load(nodes)
    asked: Count[str] = Count()

    async def publish() -> None:
        for turn in itertools.count():
            if load.over:
                return
            some = IDS[turn % 7 :: 7]
            node = nodes.running[min(nodes.running)]
            await node.publish(told, tuple(Told(counter=id, amount=1) for id in some))
            asked.update(some)
            await nodes.clock.sleep(2.0)

    await nodes.start("a", "b", "c", settle=2)
    publishing = asyncio.ensure_future(publish())
    await restart_each(nodes, load)
    await nodes.while_time_passes(publishing)
    assert load.slowest <= WAIT_SECONDS
    await nodes.advance(60)
    for id in IDS:
        assert asked[id]
        assert await nodes.call("a", Counter.content, id) == load.added[id] + asked[id]
    await nodes.close()


class CountedLeases(Leases):
    """Counts the looks of all nodes."""

    looks = 0

    async def claims(self) -> list[Claim]:
        self.looks += 1
        return await super().claims()


async def test_looks_are_bounded_however_many_commands_wait_for_a_shard() -> None:
    nodes = Nodes(service)
    nodes.leases = leases = CountedLeases(nodes.store, nodes.clock)
    await nodes.start("a", "b", "c")
    lost = nodes.running["a"].held.copy()
    ids = [id for id in (f"w{n}" for n in range(150)) if nodes.store.placement.entity(id) in lost]
    await nodes.crash("a")
    began, before = nodes.clock.monotonic(), leases.looks
    calls = [nodes.running[name].call(Counter.add, id, (1,)) for id in ids for name in "bc"]
    answers = await nodes.while_time_passes(asyncio.gather(*calls))
    assert len(answers) > 60
    seconds = nodes.clock.monotonic() - began
    assert seconds > 5, "they waited for the lease"
    assert leases.looks - before <= 2 * (seconds / 0.05 + 2), (
        "not more than one look per step and node"
    )
    assert len(nodes.running["b"].held | nodes.running["c"].held) == SHARDS
    await nodes.close()
