"""Every transport passes the same suite."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import nats
import pytest

from eventmill.adapters.clock import SystemClock
from eventmill.adapters.memory.transport import Network
from eventmill.adapters.memory.transport import Transport as MemoryTransport
from eventmill.adapters.nats.transport import Transport as NatsTransport
from eventmill.errors import Unreachable
from eventmill.ports.transport import Transport
from eventmill.testing.contract.transport import TransportContract
from eventmill.testing.nats_server import NatsServer


class TestMemory(TransportContract):
    def make_transports(self) -> tuple[Transport, Transport]:
        network = Network(SystemClock())
        return MemoryTransport(network, "a"), MemoryTransport(network, "b")


class TestNats(TransportContract):
    @pytest.fixture(autouse=True)
    async def server(self, tmp_path: Path) -> AsyncIterator[NatsServer]:
        async with NatsServer(tmp_path) as server:
            self.url = server.url
            yield server

    def make_transports(self) -> tuple[Transport, Transport]:
        a, b = (NatsTransport([self.url], node=name) for name in "ab")
        return a, b

    async def test_applications_with_other_prefixes_do_not_meet(self) -> None:
        a, b = (NatsTransport([self.url], prefix=prefix) for prefix in ("one", "two"))
        await a.open()
        await b.open()
        await a.serve("x", _echo)
        with pytest.raises(Unreachable):
            await b.request("x", b"", 5)
        await a.close()
        await b.close()

    async def test_a_stranger_who_waits_for_no_answer_costs_nobody_the_connection(self) -> None:
        a, b = (NatsTransport([self.url]) for _ in "ab")
        await a.open()
        await b.open()
        await a.serve("x", _echo)
        lost: list[bool] = []
        a.connection.on_return(lambda: lost.append(True))
        stranger = await nats.connect(self.url)
        await stranger.publish(a.subject("x"), b"rubbish")
        await stranger.close()
        for number in range(20):
            await a.connection.settle()
            assert await b.request("x", b"%d" % number, 5) == b"%d" % number
        assert not lost
        await a.close()
        await b.close()


async def test_without_a_server_opening_says_what_to_do() -> None:
    with pytest.raises(Unreachable, match="start one"):
        await NatsTransport(["nats://127.0.0.1:1"]).open()


async def test_a_server_that_asks_for_a_password_says_so(tmp_path: Path) -> None:
    server = NatsServer(tmp_path)
    server.settings = 'authorization { user: me, password: "secret" }'
    async with server:
        place = server.url.removeprefix("nats://")
        with pytest.raises(Unreachable, match=f"nats://{place} .*Authorization") as refused:
            await NatsTransport([f"nats://me:wrong@{place}"]).open()
        assert "wrong" not in refused.value.message
        transport = NatsTransport([f"nats://me:secret@{place}"])
        await transport.open()
        await transport.close()


async def _echo(payload: bytes) -> bytes:
    return payload
