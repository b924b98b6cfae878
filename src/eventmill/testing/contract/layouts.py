"""The part of the broker's contract that is about how topics lie in it, and whose they are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from eventmill.errors import ConfigurationError
from eventmill.ports.broker import Broker, Past, TopicLayout
from eventmill.testing.contract.broker_harness import (
    ORDERS,
    SHARDS,
    TOPICS,
    News,
    outgoing,
    partition_of,
    shard_of,
    taken,
)


class LayoutContract:
    """What a broker must do with topics when it is opened; a part of `BrokerContract`."""

    def make_broker(self) -> Broker:
        """Make a broker, not yet open; those of one test share their topics."""
        raise NotImplementedError("override make_broker() and return yours")

    @asynccontextmanager
    async def node(
        self,
        shards: int = SHARDS,
        topics: dict[str, TopicLayout] = TOPICS,
        owner: str = "",
        past: dict[str, Past] = {},  # noqa: B006 - nobody changes it
    ) -> AsyncIterator[tuple[Broker, News, list[str]]]:
        """Open one more node; yields its broker, its news and the drift it found."""
        broker, news = self.make_broker(), News()
        drift = await broker.open(shards, topics, partition_of, news.tell, owner=owner, past=past)
        try:
            yield broker, news, drift
        finally:
            await broker.close()

    @pytest.fixture
    async def opened(self) -> AsyncIterator[tuple[Broker, News]]:
        async with self.node() as (broker, news, drift):
            assert drift == []
            yield broker, news

    async def test_other_shards_or_another_number_are_refused(
        self, opened: tuple[Broker, News]
    ) -> None:
        with pytest.raises(ConfigurationError, match=ORDERS):
            async with self.node(shards=2 * SHARDS):
                pass
        with pytest.raises(ConfigurationError, match=ORDERS):
            async with self.node(topics={ORDERS: TopicLayout(3)}):
                pass

    async def test_topics_of_another_store_are_refused(self) -> None:
        async with self.node(owner="a"):
            pass
        async with self.node(owner="a") as (_, _, drift):
            assert drift == []
        with pytest.raises(ConfigurationError, match="another store"):
            async with self.node(owner="b"):
                pass

    async def test_what_is_stored_never_lies_where_somebody_has_read_already(self) -> None:
        async with self.node(past={ORDERS: Past(read=40)}) as (broker, news, _):
            (receipt,) = await broker.append([outgoing(1)])
            assert receipt.position == 41
            assert [e.origin for e in await taken(broker, news, shard_of("k"), 1, 40)] == ["3:1"]
        async with self.node(past={ORDERS: Past(read=41)}):
            pass
        with pytest.raises(ConfigurationError, match="read up to 42"):
            async with self.node(past={ORDERS: Past(read=42)}):
                pass

    async def test_a_stream_that_is_not_the_one_of_before_is_refused(self) -> None:
        with pytest.raises(ConfigurationError, match="not the stream"):
            async with self.node(past={ORDERS: Past("of another server", 7)}):
                pass
        async with self.node() as (broker, _, _):
            made = broker.made[ORDERS]
        async with self.node(past={ORDERS: Past(made)}) as (broker, _, _):
            assert broker.made[ORDERS] == made
        with pytest.raises(ConfigurationError, match="not the stream"):
            async with self.node(past={ORDERS: Past("of another server", 7)}):
                pass

    @pytest.mark.parametrize(
        "other",
        [
            TopicLayout(1, age_seconds=3600),
            TopicLayout(1, replicas=3),
            TopicLayout(1, bytes=1 << 30),
            TopicLayout(1, when_read=True),
        ],
    )
    async def test_other_settings_are_told_and_not_changed(
        self, opened: tuple[Broker, News], other: TopicLayout
    ) -> None:
        wanted = {ORDERS: other, "new": msgspec.structs.replace(other, number=3, replicas=1)}
        async with self.node(topics=wanted) as (broker, _, drift):
            assert drift
            assert all(ORDERS in line for line in drift)
            assert broker.layouts[ORDERS] == TopicLayout(1)
        async with self.node() as (_, _, drift):
            assert drift == []
        async with self.node(topics=wanted) as (broker, _, _):
            assert broker.layouts["new"] == wanted["new"], "made so, and found so"
        async with self.node(topics={"new": TopicLayout(3)}) as (broker, _, drift):
            assert bool(drift) == (wanted["new"] != TopicLayout(3))
            assert broker.layouts["new"] == wanted["new"]
