"""Every broker passes the same suite."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import nats
import pytest

from eventmill.adapters.clock import SystemClock
from eventmill.adapters.memory.broker import Broker as MemoryBroker
from eventmill.adapters.memory.broker import Topics
from eventmill.adapters.nats.broker import Broker as NatsBroker
from eventmill.adapters.nats.subjects import Subjects
from eventmill.engine.messages import MALFORMED
from eventmill.errors import BrokerUnavailable, ConfigurationError
from eventmill.model import cloudevents
from eventmill.model.placement import Placement
from eventmill.ports.broker import Broker, Neighbour, Past
from eventmill.testing import VirtualClock
from eventmill.testing.contract.broker import BrokerContract
from eventmill.testing.contract.broker_harness import (
    LONG,
    NEIGHBOUR,
    SHARDS,
    News,
    event_headers,
    outgoing,
    partition_of,
    shard_of,
    taken,
)
from eventmill.testing.nats_server import NatsServer


class TestMemory(BrokerContract):
    @pytest.fixture(autouse=True)
    def topics(self) -> None:
        self.clock = VirtualClock()
        self.shared = Topics(self.clock)

    def make_broker(self) -> Broker:
        return MemoryBroker(self.shared)

    def make_neighbour(self) -> Broker:
        return MemoryBroker(Topics(self.clock, NEIGHBOUR, beside=self.shared))

    async def publish(self, topic: str, headers: dict[str, str], payload: bytes) -> None:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.shared.publish(topic, lines.encode(), payload)

    async def instant(self) -> int:
        await self.clock.advance(1)
        return self.clock.now()


class TestNats(BrokerContract):
    @pytest.fixture(autouse=True)
    async def server(self, tmp_path: Path) -> AsyncIterator[None]:
        async with NatsServer(tmp_path) as server:
            self.server, self.url = server, server.url
            self.plain = await nats.connect(server.url)
            yield
            await self.plain.close()

    def make_broker(self) -> Broker:
        return NatsBroker([self.url], SystemClock(), service="shop")

    def make_neighbour(self) -> Broker:
        return NatsBroker([self.url], SystemClock(), service=NEIGHBOUR, prefix=NEIGHBOUR)

    async def publish(self, topic: str, headers: dict[str, str], payload: bytes) -> None:
        subject = Subjects("eventmill").plain(topic)
        await self.plain.jetstream().publish(subject, payload, headers=headers or None)

    async def instant(self) -> int:
        return time.time_ns() // 1000 + 1

    async def test_a_plain_client_reads_cloudevents(self, opened: tuple[Broker, News]) -> None:
        await opened[0].append([outgoing(7, "customer 7"), outgoing(8, "other")])
        consumer = await self.plain.jetstream().pull_subscribe(
            Subjects("eventmill").message("orders", partition_of("customer 7"), "customer 7"),
            stream=Subjects("eventmill").stream("orders"),
        )
        (read,) = await consumer.fetch(1)
        pairs = [(name.encode(), value.encode()) for name, value in (read.headers or {}).items()]
        (event,) = cloudevents.decode(pairs, read.data)
        assert (event.id, event.source, event.type) == ("3:7", "/shop/topics/orders", "OrderPlaced")
        assert (event.subject, event.data) == ("customer 7", b'{"n":7}')

    async def test_a_message_that_a_plain_client_put_into_a_wrong_partition_is_told(
        self, opened: tuple[Broker, News]
    ) -> None:
        wrong = (partition_of("k") + 1) % SHARDS
        subject = Subjects("eventmill").message("orders", wrong, "k")
        headers = event_headers(subject="k")
        await self.plain.jetstream().publish(subject, b"{}", headers=headers)
        (read,) = await taken(*opened, SHARDS + wrong, 1)
        assert read.type == MALFORMED

    async def test_a_message_id_of_a_plain_client_is_honoured(
        self, opened: tuple[Broker, News]
    ) -> None:
        headers = event_headers(subject="k") | {"Nats-Msg-Id": "mine"}
        for _ in range(2):
            await self.publish("orders", headers, b"{}")
        assert await opened[0].admit("orders") == 1
        await taken(*opened, shard_of("k"), 1)

    async def test_the_largest_message_that_a_server_takes_stops_nobody(
        self, opened: tuple[Broker, News]
    ) -> None:
        headers = event_headers(subject="k")
        overhead = sum(len(name) + len(value) + 4 for name, value in headers.items()) + 12
        largest = bytes(self.plain.max_payload - overhead)
        await self.publish("orders", headers, largest)
        await self.publish("orders", headers, b"{}")
        while await opened[0].admit("orders"):
            pass
        (large,) = await taken(*opened, shard_of(""), 1)
        assert large.type == MALFORMED
        assert b"eventmill-too-large" in large.payload
        (read,) = await taken(*opened, shard_of("k"), 1)
        assert read.payload == b"{}"

    async def test_a_stream_that_was_made_anew_is_another_one(self) -> None:
        """And one whose server was killed and started again is not."""
        shard = 7 * SHARDS + Placement(SHARDS).entity("k")
        async with self.beside(SHARDS) as (broker, other, news):
            await other.append([outgoing(n) for n in range(1, 9)])
            first = await broker.attach(7, NEIGHBOUR, "orders")
            assert len(await taken(broker, news, shard, 8)) == 8
            self.server.kill()
            await self.server.start()
            assert await self.attached(broker) == first
            await self.plain.jetstream().delete_stream(Subjects(NEIGHBOUR).stream("orders"))
            assert await broker.attach(7, NEIGHBOUR, "orders") is None
            async with self.beside(SHARDS) as (_, again, _):
                await again.append([outgoing(9)])
            assert await self.attached(broker) != first
            (read,) = await taken(broker, news, shard, 1)
            assert (read.origin, read.position) == ("3:9", 1)

    async def test_a_stranger_who_publishes_where_nodes_note_how_far_they_are_is_told_of(
        self, opened: tuple[Broker, News]
    ) -> None:
        subjects = Subjects("eventmill")
        await self.publish("orders", event_headers(subject="k"), b'{"n":1}')
        await self.publish("orders", event_headers(subject="k", id="e2"), b'{"n":2}')
        assert await opened[0].admit("orders") == 2
        for rubbish in (b"\x00 rubbish", b""):
            stored = await self.plain.jetstream().publish(subjects.mark("orders"), rubbish)
            await self.publish("orders", event_headers(subject="k", id="e3"), b'{"n":3}')
            with pytest.raises(BrokerUnavailable, match=f"rmm {stored.stream} {stored.seq}"):
                await opened[0].admit("orders")
            await self.plain.jetstream().delete_msg(stored.stream, stored.seq)
            assert await opened[0].admit("orders") == 1
        await taken(*opened, shard_of("k"), 4)

    async def test_a_stream_that_lost_its_end_goes_on_as_it_is_told_to(self) -> None:
        async with self.node() as (broker, _, _):
            await broker.append([outgoing(1)])
        stream, past = Subjects("eventmill").stream("orders"), {"orders": Past(read=42)}
        with pytest.raises(ConfigurationError, match=f"nats stream purge {stream} --seq=43"):
            async with self.node(past=past):
                pass
        await self.plain.jetstream().purge_stream(stream, seq=43)
        async with self.node(past=past) as (broker, news, _):
            await broker.append([outgoing(2)])
            assert [e.origin for e in await taken(broker, news, shard_of("k"), 1, 42)] == ["3:2"]

    async def attached(self, broker: Broker) -> Neighbour | None:
        """What is found as soon as the server answers."""
        async with asyncio.timeout(LONG):
            while True:
                try:
                    return await broker.attach(7, NEIGHBOUR, "orders")
                except BrokerUnavailable:
                    await asyncio.sleep(0.05)


async def test_without_a_server_opening_says_what_to_do() -> None:
    broker = NatsBroker(["nats://127.0.0.1:1"], SystemClock(), service="shop")
    with pytest.raises(BrokerUnavailable, match="start one"):
        await broker.open(1, {}, partition_of, print)
