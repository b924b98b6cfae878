"""Every directory passes the same suite; that on NATS speaks NATS' own protocol for services."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import nats
import pytest

from eventmill.adapters.clock import SystemClock
from eventmill.adapters.memory.directory import Directory as MemoryDirectory
from eventmill.adapters.memory.transport import Network
from eventmill.adapters.memory.transport import Transport as MemoryTransport
from eventmill.adapters.nats.directory import Directory as NatsDirectory
from eventmill.adapters.nats.transport import Transport as NatsTransport
from eventmill.ports.directory import Counts, Directory
from eventmill.ports.transport import Transport
from eventmill.testing.contract.directory import DirectoryContract, instance
from eventmill.testing.nats_server import NatsServer


class TestMemory(DirectoryContract):
    @pytest.fixture(autouse=True)
    def network(self) -> None:
        self.network = Network(SystemClock())
        self.made = 0

    def make(self) -> tuple[Transport, Directory]:
        self.made += 1
        transport = MemoryTransport(self.network, f"n{self.made}")
        return transport, MemoryDirectory(transport)


class TestNats(DirectoryContract):
    @pytest.fixture(autouse=True)
    async def server(self, tmp_path: Path) -> AsyncIterator[NatsServer]:
        async with NatsServer(tmp_path) as server:
            self.url = server.url
            yield server

    def make(self) -> tuple[Transport, Directory]:
        transport = NatsTransport([self.url])
        return transport, NatsDirectory(transport)

    async def test_plain_clients_see_our_services_and_reach_their_endpoints(self) -> None:
        transport, directory = self.make()
        await transport.open()
        counts = Counts(requests=4, errors=1, seconds=0.002)
        await directory.announce(instance("shop.eu", "shop.eu/a-1"), lambda: counts)

        async def shout(payload: bytes) -> bytes:
            return payload.upper()

        await transport.serve("shop.eu", shout)
        client = await nats.connect(self.url)

        async def ask(subject: str) -> dict[str, Any]:
            found: dict[str, Any] = json.loads((await client.request(subject, b"")).data)
            return found

        ping = await ask("$SRV.PING")
        assert ping["type"] == "io.nats.micro.v1.ping_response"
        assert (ping["name"], ping["version"]) == ("shop_eu", "1.2.3")
        info = await ask("$SRV.INFO.shop_eu")
        assert info["type"] == "io.nats.micro.v1.info_response"
        assert info == await ask(f"$SRV.INFO.shop_eu.{ping['id']}")
        assert info["metadata"]["eventmill.service"] == "shop.eu"
        first = info["endpoints"][0]
        assert (first["name"], first["metadata"]["commands"]) == ("stock_v2", "reserve, free")
        assert (await client.request(first["subject"], b"hello")).data == b"HELLO"
        stats = await ask("$SRV.STATS.shop_eu")
        assert stats["type"] == "io.nats.micro.v1.stats_response"
        figures = stats["endpoints"][0]
        assert (figures["num_requests"], figures["num_errors"]) == (4, 1)
        assert figures["average_processing_time"] == 500_000
        await client.close()
        await transport.close()

    async def test_services_of_others_and_broken_answers_are_passed_over(self) -> None:
        client = await nats.connect(self.url)
        for answer in (b'{"name": "billing", "id": "x", "version": "1.0.0"}', b"\xff not JSON"):

            async def tell(message: Any, answer: bytes = answer) -> None:
                await message.respond(answer)

            await client.subscribe("$SRV.INFO", cb=tell)
        await client.flush()
        transport, directory = self.make()
        await transport.open()
        async with asyncio.timeout(20):
            assert await directory.find() == []
        await transport.close()
        await client.close()
