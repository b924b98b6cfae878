"""Endpoints of a real node: clients that talk, vanish, do not read, or send rubbish."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import select
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from structlog.testing import capture_logs

from eventmill import Client
from eventmill.model import limits
from eventmill.node.config import NodeConfig
from eventmill.node.node import Node
from tests.endpoints.shop import STORY, TOLD, Cart, service

HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    "sec-websocket-version: 13\r\nsec-websocket-key: " + base64.b64encode(b"0" * 16).decode()
)


@asynccontextmanager
async def serving(data: Path) -> AsyncIterator[Node]:
    node = Node(service, NodeConfig(data=data, port=0, drain_seconds=5))
    await node.start()
    try:
        yield node
    finally:
        await node.stop()


async def streams_of(http: aiohttp.ClientSession, count: int) -> None:
    """Wait until a node has so many streams."""
    async with asyncio.timeout(20):
        text = ""
        while f"eventmill_streams {count}.0" not in text:
            text = await (await http.get("/metrics")).text()


def address_of(node: Node) -> tuple[str, int]:
    return "127.0.0.1", int(node.url.rpartition(":")[2])


async def upgraded(node: Node, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a WebSocket by hand."""
    reader, writer = await asyncio.open_connection(*address_of(node))
    writer.write((HANDSHAKE.format(path=path) + "\r\n\r\n").encode())
    assert b"101" in await reader.readline()
    await reader.readuntil(b"\r\n\r\n")
    return reader, writer


async def test_a_websocket_talks_and_closes(tmp_path: Path) -> None:
    async with serving(tmp_path) as node, aiohttp.ClientSession(node.url) as http:
        async with http.ws_connect("/shop/talk/c1") as talk:
            await talk.send_json("tea")
            assert await talk.receive_json() == {"tea": 1}
            await streams_of(http, 1)
            await talk.send_json("bye")
            assert (await talk.receive()).type is aiohttp.WSMsgType.CLOSE
            assert talk.close_code == 1000
        async with http.ws_connect("/shop/talk/c1") as talk:
            await talk.send_json("fail")
            await talk.receive()
            assert talk.close_code == 1011
        await streams_of(http, 0)
        answer = await http.get("/shop/carts/c1")
        assert (answer.status, await answer.json()) == (200, {"tea": 1})


async def test_who_may_not_open_one_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as node, aiohttp.ClientSession(node.url) as http:
        for path, origin in (
            ("/shop/talk/c1", "https://elsewhere.example"),
            ("/nothing", node.url),
        ):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await http.ws_connect(path, origin=origin)
            assert refused.value.status == 403
        async with http.ws_connect("/shop/talk/c1", origin=node.url) as talk:
            await talk.send_json("tea")
            assert await talk.receive_json() == {"tea": 1}


@pytest.mark.parametrize("word", ["x" * 2_000, "\u20ac" * 400], ids=["ascii", "euros"])
async def test_a_word_too_long_ends_the_talk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    monkeypatch.setattr(limits, "SOCKET_BYTES_MAX", 1_000)
    async with serving(tmp_path) as node, aiohttp.ClientSession(node.url) as http:
        async with http.ws_connect("/shop/talk/c1") as talk:
            await talk.send_str(f'"{word}"')
            await talk.receive()
            assert talk.close_code == 1009
        await streams_of(http, 0)


async def test_a_node_that_stops_closes_websockets_and_streams(tmp_path: Path) -> None:
    async with serving(tmp_path) as node, aiohttp.ClientSession(node.url) as http:
        talk = await http.ws_connect("/shop/talk/c1")
        await talk.send_json("tea")
        await talk.receive_json()
        response = await http.get("/shop/numbers/1")
        await response.content.readline()
        endless = await http.get("/endless")
        await endless.content.read(10)
        reading = asyncio.ensure_future(response.content.read())
        async with asyncio.timeout(10):
            stopping = asyncio.ensure_future(node.stop())
            await talk.receive()
            assert talk.close_code == 1001
            await reading
            with pytest.raises(aiohttp.ClientPayloadError):  # it does not end as if it were whole
                await endless.content.read()
            await stopping
        for connection in (response, endless):
            connection.close()


async def test_who_holds_up_the_node_is_told_of_in_development(tmp_path: Path) -> None:
    config = NodeConfig(data=tmp_path, port=0, guards=True)
    node = Node(service, config)
    await node.start()
    try:
        async with aiohttp.ClientSession(node.url) as http:
            with capture_logs() as logs:
                await http.get("/stubborn?seconds=0.11")
            (told,) = (one for one in logs if "holds up the node" in one["event"])
            assert "stubborn" in told["place"]
            assert told["seconds"] >= limits.BLOCKING_SECONDS
    finally:
        await node.stop()


async def test_a_response_that_breaks_off_is_seen_to(tmp_path: Path) -> None:
    async with serving(tmp_path) as node, aiohttp.ClientSession(node.url) as http:
        with pytest.raises(aiohttp.ClientPayloadError):
            await (await http.get("/broken?after=2")).read()
        assert (await http.get("/health/ready")).status == 200


@pytest.mark.parametrize(
    "query",
    ["status=99", "status=70000", "status=-2", "status=101", "status=200&header=a%0D%0Ab:c"],
)
async def test_an_answer_that_cannot_be_is_a_failure_of_its_function(
    tmp_path: Path, query: str
) -> None:
    async with serving(tmp_path) as node, aiohttp.ClientSession(node.url) as http:
        answer = await http.get(f"/odd?{query}")
        assert (answer.status, (await answer.json())["code"]) == (500, "handler.failed")


@pytest.mark.parametrize("how", ["denial", "subprotocol", "header"])
async def test_a_websocket_that_cannot_be_opened_so_ends_alone(tmp_path: Path, how: str) -> None:
    async with serving(tmp_path) as node, aiohttp.ClientSession(node.url) as http:
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await http.ws_connect(f"/shop/odd?how={how}")
        assert (await http.get("/health/ready")).status == 200


async def test_clients_that_vanish_are_noticed(tmp_path: Path) -> None:
    async with serving(tmp_path) as node, aiohttp.ClientSession(node.url) as http:
        gone = [await upgraded(node, "/shop/talk/c1") for _ in range(20)]
        for _ in range(20):
            reader, writer = await asyncio.open_connection(*address_of(node))
            writer.write(b"GET /components/cart/c1/changes HTTP/1.1\r\nhost: a\r\n\r\n")
            await reader.readline()
            gone.append((reader, writer))
        flooded = [await upgraded(node, "/shop/flood") for _ in range(5)]
        await streams_of(http, 45)
        for _, writer in gone + flooded:
            writer.transport.abort()
        await streams_of(http, 0)


@pytest.mark.parametrize("path", ["/shop/long", "/long"])
async def test_nobody_is_told_a_long_story(tmp_path: Path, path: str) -> None:
    """Its function never waits, and the server takes at once what is for who has gone."""
    TOLD.clear()
    async with serving(tmp_path) as node, aiohttp.ClientSession(node.url) as http:
        gone = [await asyncio.open_connection(*address_of(node), limit=2_048) for _ in range(30)]
        for _, writer in gone:
            writer.write(f"GET {path} HTTP/1.1\r\nhost: a\r\n\r\n".encode())
        await streams_of(http, len(gone))
        for _, writer in gone:
            writer.transport.abort()
        await streams_of(http, 0)
    assert STORY not in TOLD


@pytest.mark.parametrize(
    "rubbish",
    [
        b"\xff" * 100,  # reserved bits
        b"\x81\x05hello",  # not masked
        b"\x81\xff" + b"\x7f" + b"\xff" * 7 + b"\0" * 4,  # 2^63 bytes
        b"\x88\x82\0\0\0\0\0\1",  # a close with a code that is none
        b"\x80\x80\0\0\0\0",  # a continuation of nothing
        b"\x81\x82\0\0\0\0\xff\xfe",  # no UTF-8
        b"\x81\x83\0\0\0\0{{{",  # no JSON
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
async def test_rubbish_ends_one_connection_and_nothing_else(tmp_path: Path, rubbish: bytes) -> None:
    async with serving(tmp_path) as node, aiohttp.ClientSession(node.url) as http:
        _, writer = await upgraded(node, "/shop/talk/c1")
        writer.write(rubbish)
        await streams_of(http, 0)
        writer.close()
        async with http.ws_connect("/shop/talk/c1") as talk:
            await talk.send_json("tea")
            assert await talk.receive_json() == {"tea": 1}
        assert (await http.get("/health/ready")).status == 200


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can tell its sockets so")
@pytest.mark.parametrize("path", ["/shop/flood", "/endless"])
async def test_who_does_not_read_is_disconnected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(limits, "UNREAD_SECONDS", 0.5)
    async with serving(tmp_path) as node, aiohttp.ClientSession(node.url) as http:
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            client.connect(address_of(node))
            head = (
                HANDSHAKE.format(path=path)
                if path == "/shop/flood"
                else f"GET {path} HTTP/1.1\r\nhost: a"
            )
            client.sendall(f"{head}\r\n\r\n".encode())
            await streams_of(http, 1)
            reset = select.poll()
            reset.register(client, 0)
            async with asyncio.timeout(30):
                while not await asyncio.to_thread(reset.poll, 100):
                    with contextlib.suppress(ConnectionError):  # it has hung up already
                        client.send(b"\x8a\x80\0\0\0\0")  # an empty pong
            await streams_of(http, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can tell its sockets so")
async def test_the_system_asks_silent_clients_whether_they_are_there(tmp_path: Path) -> None:
    async with serving(tmp_path) as node:
        _, writer = await upgraded(node, "/shop/talk/c1")
        ours = writer.get_extra_info("sockname")
        accepted = None
        for descriptor in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                found = socket.socket(fileno=os.dup(int(descriptor)))
                with found:
                    if found.getpeername() == ours:
                        accepted = found.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                        idle = found.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
        writer.close()
        assert (accepted, idle) == (1, limits.KEEPALIVE_SECONDS)


async def test_a_slow_reader_gets_everything_in_order(tmp_path: Path) -> None:
    async with serving(tmp_path) as node, Client(node.url) as client:
        path = f"{node.url}/components/cart/c1/changes?from=beginning"
        async with aiohttp.ClientSession() as http, http.get(path) as response:
            await response.content.readline()
            for n in range(300):
                await client.call(Cart.add_item, "c1", sku="x" * 2_000, quantity=n + 1)
            ids: list[int] = []
            async for line in response.content:
                if line.startswith(b"id: "):
                    ids.append(int(line[4:]))
                if ids and ids[-1] == 300:
                    break
            assert [id for id in ids if id] == list(range(1, 301))
