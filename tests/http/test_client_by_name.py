"""The client that knows a service's name and a broker: real nodes and a real NATS server, in which
each node is entered as a cluster's node enters itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from eventmill import Client, ConfigurationError, Retry, Unavailable
from eventmill.adapters.nats.directory import Directory
from eventmill.adapters.nats.transport import Transport
from eventmill.ports.directory import Counts, Instance
from eventmill.testing.nats_server import NatsServer
from tests.http.serving import Barrel, serving

QUICK = Retry(attempts=3, initial=0.01)


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[str]:
    async with NatsServer(tmp_path / "nats") as server:
        yield server.url


@asynccontextmanager
async def living(data: Path, broker: str, service: str = "cellar") -> AsyncIterator[str]:
    """A node that is found under a service's name; yields its URL."""
    name = data.name
    async with serving(data) as node:
        transport = Transport([broker], node=name)
        await transport.open()
        entry = Instance(service, name, "1", {"url": node.url})
        await Directory(transport).announce(entry, Counts)
        try:
            yield node.url
        finally:
            await transport.close()


async def test_a_service_is_found_by_its_name(tmp_path: Path, broker: str) -> None:
    async with (
        living(tmp_path / "a", broker),
        living(tmp_path / "b", broker, "another"),
        Client.of("cellar", broker=broker) as client,
    ):
        assert await client.call(Barrel.fill, "b1", 7) == 7
        assert await client.using(idempotency_key="k").call(Barrel.fill, "b1", 1) == 8
        async with Client.of("another", broker=broker) as other:
            assert await other.call(Barrel.content, "b1") == 0


async def test_when_its_node_is_gone_another_one_is_asked(tmp_path: Path, broker: str) -> None:
    async with Client.of("cellar", broker=broker, retry=QUICK) as client:
        async with living(tmp_path / "a", broker), living(tmp_path / "b", broker):
            await client.call(Barrel.fill, "b1", 7)
        async with living(tmp_path / "c", broker):
            assert await client.call(Barrel.fill, "b1", 2) == 2, "it is looked for again"


async def test_of_the_nodes_that_were_found_the_next_is_asked(tmp_path: Path, broker: str) -> None:
    async with living(tmp_path / "a", broker):
        for number in range(6):  # a client begins with any of them
            async with Client.of("cellar", broker=broker, retry=QUICK) as client:
                async with living(tmp_path / f"b{number}", broker):
                    await client.call(Barrel.content, "b1")
                await client.call(Barrel.fill, "b1", 1)
        async with Client.of("cellar", broker=broker) as client:
            assert await client.call(Barrel.content, "b1") == 6


async def test_a_name_that_nobody_has_is_unavailable(broker: str) -> None:
    async with Client.of("cellar", broker=broker, retry=QUICK) as client:
        with pytest.raises(Unavailable, match="no service 'cellar' runs at") as raised:
            await client.call(Barrel.content, "b1")
        assert raised.value.code == "unavailable.service"
    async with Client.of("cellar", broker="http://x") as client:
        with pytest.raises(ConfigurationError, match="nats://"):
            await client.call(Barrel.content, "b1")
