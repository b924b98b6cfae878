"""Every broker passes the same suite."""

from __future__ import annotations

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
from eventmill.errors import BrokerUnavailable
from eventmill.ports.broker import Broker
from eventmill.testing import VirtualClock
from eventmill.testing.contract.broker import BrokerContract, partition_of
from eventmill.testing.nats_server import NatsServer


class TestMemory(BrokerContract):
    @pytest.fixture(autouse=True)
    def topics(self) -> None:
        self.clock = VirtualClock()
        self.shared = Topics(self.clock)

    def make_broker(self) -> Broker:
        return MemoryBroker(self.shared)

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
            self.url = server.url
            self.plain = await nats.connect(server.url)
            yield
            await self.plain.close()

    def make_broker(self) -> Broker:
        return NatsBroker([self.url], SystemClock(), service="shop")

    async def publish(self, topic: str, headers: dict[str, str], payload: bytes) -> None:
        subject = Subjects("eventmill").plain(topic)
        await self.plain.jetstream().publish(subject, payload, headers=headers or None)

    async def instant(self) -> int:
        return time.time_ns() // 1000 + 1


async def test_without_a_server_opening_says_what_to_do() -> None:
    broker = NatsBroker(["nats://127.0.0.1:1"], SystemClock(), service="shop")
    with pytest.raises(BrokerUnavailable, match="start one"):
        await broker.open(1, {}, partition_of, print)
