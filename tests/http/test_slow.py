"""Clients that do not finish what they began: they lose their connection, nobody else does."""

from __future__ import annotations

import asyncio
import json
import select
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest

from eventmill.model import limits
from eventmill.node import sockets
from tests.faults.process import NodeProcess, command
from tests.http.serving import serving, session

CROWD = 3_000
AT_ONCE = 5.0
"""Seconds that count as at once on a machine that does many other things."""

HEAD = (
    b"POST %s HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
)
FILL = HEAD % (b"/components/barrel/b1/fill", 12)
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def running(tmp_path: Path) -> AsyncIterator[NodeProcess]:
    node = NodeProcess.free("tests.http.serving:service", tmp_path / "data")
    try:
        await node.start()
        async with aiohttp.ClientSession() as http:
            await node.ready(http)
        await node.announced()
        yield node
    finally:
        await node.discard()


async def connected(url: str, sent: bytes) -> Connection:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    writer.write(sent)
    return reader, writer


async def ended(connection: Connection) -> tuple[int, str]:
    """Wait until the node closes the connection; return status and code of its answer."""
    reader, writer = connection
    try:
        answer = await reader.read()
    except ConnectionError:
        return 0, ""
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return (int(head.split(b" ", 2)[1]), json.loads(body)["code"]) if head else (0, "")


async def is_served(node: NodeProcess) -> None:
    """Run commands, each on a new connection, each within a moment."""
    for _ in range(5):
        async with asyncio.timeout(AT_ONCE), aiohttp.ClientSession() as http:
            status, _ = await command(http, node.url, "barrel/other/fill", {"litres": 0})
            assert status == 200


async def stops_at_once(node: NodeProcess) -> None:
    started = time.monotonic()
    await node.stop()
    assert time.monotonic() - started < AT_ONCE


@pytest.mark.parametrize("sent", [FILL, FILL + b'{"litres'], ids=["none", "half"])
async def test_thousands_of_half_sent_bodies(tmp_path: Path, sent: bytes) -> None:
    if sockets.connections_possible() < CROWD:
        pytest.skip("too few file descriptors")
    async with running(tmp_path) as node:
        crowd = [await connected(node.url, sent) for _ in range(CROWD)]
        answers = [asyncio.ensure_future(ended(one)) for one in crowd]
        await is_served(node)
        refused = [await one for one in asyncio.as_completed(answers[: -limits.BODIES_MAX])]
        assert set(refused) == {(429, "unavailable.overloaded")}
        await is_served(node)
        await stops_at_once(node)
        left = Counter(await asyncio.gather(*answers[-limits.BODIES_MAX :]))
        assert set(left) <= {(503, "unavailable"), (408, "request.body_timeout")}


async def test_a_dripping_body_has_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BODY_SECONDS", 2.0)
    async with serving(tmp_path) as node:
        request = HEAD % (b"/components/barrel/b1/fill", 1_000)
        reader, writer = await connected(node.url, request)
        started = time.monotonic()
        answer = asyncio.ensure_future(ended((reader, writer)))
        while not answer.done():
            writer.write(b" ")
            await asyncio.wait({answer}, timeout=0.1)
        assert await answer == (408, "request.body_timeout")
        waited = time.monotonic() - started
        assert limits.BODY_SECONDS <= waited < limits.BODY_SECONDS + AT_ONCE


async def test_a_node_that_stops_waits_for_no_operators_body(tmp_path: Path) -> None:
    async with serving(tmp_path) as node:
        head = (HEAD % (b"/dead-letters/redrive", 100)).replace(b"host: a", b"host: localhost")
        operator = await connected(node.admin_url, head + b'{"subscription"')
        async with session(node) as http, asyncio.timeout(AT_ONCE):
            reading = 0.0
            while not reading:
                metrics = await (await http.get("/metrics")).text()
                (line,) = (x for x in metrics.splitlines() if x.startswith("eventmill_bodies "))
                reading = float(line.partition(" ")[2])
        started = time.monotonic()
        await node.stop()
        assert time.monotonic() - started < AT_ONCE
        assert await ended(operator) == (503, "unavailable")


async def test_large_bodies_share_a_budget(tmp_path: Path) -> None:
    """Nearly whole bodies, more than the node may hold: some are refused, the rest can go on."""
    count, part = limits.BODIES_BYTES_MAX // limits.BODY_BYTES_MAX + 4, limits.BODY_BYTES_MAX - 100
    async with running(tmp_path) as node:
        head = HEAD % (b"/topics/moves", limits.BODY_BYTES_MAX)
        crowd = [await connected(node.url, head + b" " * part) for _ in range(count)]
        answers = [asyncio.ensure_future(ended(one)) for one in crowd]
        for first in asyncio.as_completed(answers):
            assert (await first)[0] in (0, 429), "refused, or closed while it was sending"
            break
        await is_served(node)
        await stops_at_once(node)
        await asyncio.gather(*answers)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can tell its sockets so")
async def test_who_does_not_read_is_disconnected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "UNREAD_SECONDS", 0.5)
    async with serving(tmp_path) as node:
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            client.connect(("127.0.0.1", int(node.url.rpartition(":")[2])))
            client.sendall(b"GET /openapi.json HTTP/1.1\r\nhost: a\r\n\r\n" * 400)
            reset = select.poll()
            reset.register(client, 0)  # asks for errors alone
            async with asyncio.timeout(30):
                while not await asyncio.to_thread(reset.poll, 100):
                    with suppress(ConnectionError):  # it has hung up already
                        client.send(b"x")  # answered by a reset when the node has hung up


@pytest.mark.skipif(sys.platform == "win32", reason="has no such limits")
@pytest.mark.parametrize(
    ("soft", "hard", "connections"),
    [
        (300, 1_000, 1_000 - limits.FILES_RESERVED),
        (300, limits.CONNECTIONS_MAX + limits.FILES_RESERVED, limits.CONNECTIONS_MAX),
    ],
)
def test_connections_fit_into_the_file_descriptors(soft: int, hard: int, connections: int) -> None:
    program = (
        f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard})); "
        "from eventmill.node import sockets; print(sockets.connections_possible()); "
        "print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.split()[-2:] == [str(connections), str(hard)], done
