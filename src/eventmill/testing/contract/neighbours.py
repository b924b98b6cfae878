"""The part of the broker's contract that is about topics of other services on the same server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from eventmill.model.placement import Placement
from eventmill.ports.broker import Broker, TopicLayout
from eventmill.testing.contract.broker_harness import (
    NEIGHBOUR,
    ORDERS,
    SHARDS,
    TOPICS,
    News,
    outgoing,
    taken,
)
from eventmill.testing.contract.layouts import LayoutContract


class NeighbourContract(LayoutContract):
    """What a broker must do with topics of others; a part of `BrokerContract`."""

    def make_neighbour(self) -> Broker:
        """Make a broker of the service `NEIGHBOUR`, not yet open."""
        raise NotImplementedError("override make_neighbour() and return yours")

    async def instant(self) -> int:
        """Return a time (microseconds) after all that is stored and before all that comes."""
        raise NotImplementedError("override instant(): microseconds of the broker's clock")

    @asynccontextmanager
    async def beside(self, partitions: int) -> AsyncIterator[tuple[Broker, Broker, News]]:
        """Open a node of this service, and one of another that has so many partitions."""
        here, there, news = self.make_broker(), self.make_neighbour(), News()
        await here.open(SHARDS, TOPICS, Placement(SHARDS).entity, news.tell)
        topics = {ORDERS: TopicLayout(3)}
        home_of = Placement(partitions).entity
        await there.open(partitions, topics, home_of, lambda shard: None, owner="their store")
        try:
            yield here, there, news
        finally:
            await here.close()
            await there.close()

    async def test_an_unknown_topic_of_another_service_is_not_there(self) -> None:
        async with self.beside(SHARDS) as (broker, _, _):
            assert await broker.attach(7, NEIGHBOUR, "unknown") is None
            assert await broker.attach(7, "nobody", ORDERS) is None

    async def test_a_topic_that_is_for_its_own_service_says_so(self) -> None:
        async with self.beside(SHARDS) as (broker, there, _):
            await there.close()
            topics = {"passing": TopicLayout(4, when_read=True), ORDERS: TopicLayout(3)}
            await (again := self.make_neighbour()).open(
                SHARDS, topics, Placement(SHARDS).entity, lambda shard: None, owner="their store"
            )
            kept, passing = [
                await broker.attach(7, NEIGHBOUR, topic) for topic in (ORDERS, "passing")
            ]
            assert kept is not None
            assert not kept.when_read
            assert passing is not None
            assert passing.when_read
            await again.close()

    @pytest.mark.parametrize("partitions", [SHARDS, 1, 2, 3, 10, 32])
    async def test_messages_of_another_service_are_in_the_shard_of_their_home(
        self, partitions: int
    ) -> None:
        async with self.beside(partitions) as (broker, other, news):
            entries = [outgoing(n, f"k{n % 30}") for n in range(1, 121)]
            receipts = await other.append(entries)
            found = await broker.attach(7, NEIGHBOUR, ORDERS)
            assert found is not None
            assert (found.store, found.shards, found.number) == ("their store", partitions, 3)
            assert await broker.attach(7, NEIGHBOUR, ORDERS) == found
            homes = Placement(SHARDS)
            for home in range(SHARDS):
                shard = 7 * SHARDS + home
                expected = [
                    (entry.id, receipt.position)
                    for entry, receipt in zip(entries, receipts, strict=True)
                    if homes.entity(entry.subject) == home
                ]
                read = await taken(broker, news, shard, len(expected))
                found_here = [((entry.origin or "").lstrip("~"), entry.position) for entry in read]
                assert found_here == expected
                assert {(entry.source, entry.shard) for entry in read} == {
                    (f"{NEIGHBOUR}/{ORDERS}", shard)
                }
                theirs = Placement(partitions)
                for entry in read:
                    there = 3 * partitions + theirs.entity(entry.subject)
                    assert entry.id == f"{NEIGHBOUR}/{there}:{entry.position}"
                end = await broker.end(shard)
                assert end >= read[-1].position
                assert await broker.read(shard, read[-1].position, limit=9, until=end) == ([], end)

    @pytest.mark.parametrize("partitions", [SHARDS, 1, 10])
    async def test_what_another_service_publishes_later_is_news(self, partitions: int) -> None:
        async with self.beside(partitions) as (broker, other, news):
            await broker.attach(7, NEIGHBOUR, ORDERS)
            shard = 7 * SHARDS + Placement(SHARDS).entity("k")
            assert (await broker.read(shard, 0, limit=9)).entries == []
            await other.append([outgoing(1)])
            (read,) = await taken(broker, news, shard, 1)
            assert read.payload == b'{"n":1}'
            before = await self.instant()
            (receipt,) = await other.append([outgoing(2)])
            position = await broker.position_at(shard, before)
            assert read.position <= position < receipt.position

    async def test_a_topic_of_another_service_is_none_of_this_one(self) -> None:
        """Not of the same name, and not by what is appended here."""
        async with self.beside(SHARDS) as (broker, other, news):
            await broker.attach(7, NEIGHBOUR, ORDERS)
            await broker.append([outgoing(1)])
            await other.append([outgoing(2)])
            home = Placement(SHARDS).entity("k")
            (own,) = await taken(broker, news, SHARDS + home, 1)
            (theirs,) = await taken(broker, news, 7 * SHARDS + home, 1)
            assert (own.origin, theirs.origin) == ("3:1", "3:2")
