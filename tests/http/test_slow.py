"""Clients that do not finish what they began, against a node in a process of its own."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from eventmill.model import limits
from tests.faults.process import NodeProcess, command

CROWD = 3_000
AT_ONCE = 5.0
"""Seconds that count as at once on a machine that does many other things."""

HEAD = b"POST %s HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
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


async def connected(node: NodeProcess, sent: bytes) -> Connection:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(node.url.rpartition(":")[2]))
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
    async with running(tmp_path) as node:
        crowd = [await connected(node, sent) for _ in range(CROWD)]
        answers = [asyncio.ensure_future(ended(one)) for one in crowd]
        await is_served(node)
        refused = [await one for one in asyncio.as_completed(answers[: -limits.BODIES_MAX])]
        assert set(refused) == {(429, "unavailable.overloaded")}
        await is_served(node)
        await stops_at_once(node)
        left = Counter(await asyncio.gather(*answers[-limits.BODIES_MAX :]))
        assert set(left) <= {(503, "unavailable"), (408, "request.body_timeout")}


async def test_a_dripping_body_has_its_time(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        reader, writer = await connected(node, HEAD % (b"/components/barrel/b1/fill", 1_000))
        started = time.monotonic()
        answer = asyncio.ensure_future(ended((reader, writer)))
        while not answer.done():
            writer.write(b" ")
            await asyncio.wait({answer}, timeout=0.2)
        assert await answer == (408, "request.body_timeout")
        waited = time.monotonic() - started
        assert limits.BODY_SECONDS <= waited < limits.BODY_SECONDS + AT_ONCE


async def test_large_bodies_share_a_budget(tmp_path: Path) -> None:
    """Nearly whole bodies, more than the node may hold: some are refused, the rest can go on."""
    count, part = limits.BODIES_BYTES_MAX // limits.BODY_BYTES_MAX + 4, limits.BODY_BYTES_MAX - 100
    async with running(tmp_path) as node:
        head = HEAD % (b"/topics/moves", limits.BODY_BYTES_MAX)
        crowd = [await connected(node, head + b" " * part) for _ in range(count)]
        answers = [asyncio.ensure_future(ended(one)) for one in crowd]
        for first in asyncio.as_completed(answers):
            assert (await first)[0] in (0, 429), "refused, or closed while it was sending"
            break
        await is_served(node)
        await stops_at_once(node)
        await asyncio.gather(*answers)

