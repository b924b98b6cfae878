"""Requests that no client library would send, byte by byte."""

from __future__ import annotations

import asyncio
import gzip
from pathlib import Path

import pytest

from eventmill.node.node import Node
from tests.http.serving import serving

POST = b"POST /components/barrel/b1/fill HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
CLOSE = b"connection: close\r\n"
FILL = POST + CLOSE
EMPTY = FILL.replace(b"/fill", b"/empty")
SUBSCRIBE = FILL.replace(b"/components/barrel/b1/fill", b"/subscriptions")


async def ask(node: Node, request: bytes) -> tuple[int, bytes]:
    """Send bytes; return status and the whole answer, or 0 if the connection was just closed."""
    host, port = node.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(request)
        answer = await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()
    return int(answer.split(b" ", 2)[1]) if answer else 0, answer


def body(content: bytes) -> bytes:
    return b"content-length: %d\r\n\r\n%s" % (len(content), content)


async def is_well(node: Node) -> bool:
    status, answer = await ask(node, FILL + body(b'{"litres":1}'))
    return status == 200 and answer.endswith(b"1")


@pytest.mark.parametrize(
    ("request_", "statuses"),
    [
        (b"\x00\x01\x02\r\n\r\n", {0, 400}),
        (b"GET / HTTP/9.9\r\n\r\n", {0, 400, 404, 505}),
        (b"GET /components/barrel/\xff/content HTTP/1.1\r\nhost: a\r\n\r\n", {400}),
        (b"GET /components/barrel/%ff/content HTTP/1.1\r\n" + CLOSE + b"\r\n", {400}),
        (b"GET /components/barrel/a\r\nb/content HTTP/1.1\r\nhost: a\r\n\r\n", {400}),
        (FILL + b"x-request-id: a\r\n b\r\n" + body(b"{}"), {400}),
        (FILL + b"x-request-id: a\x00b\r\n" + body(b"{}"), {400}),
        (FILL + b"content-length: 2\r\n" + body(b'{"litres":1}'), {400}),
        (FILL + b"transfer-encoding: chunked\r\n\r\nzz\r\n", {0, 400}),
        (FILL + b"x-a: 1\r\n" * 150 + body(b"{}"), {431}),
        (FILL + b"x-a: " + b"a" * 600_000 + b"\r\n" + body(b"{}"), {0, 431}),
        (b"GET /" + b"a" * 600_000 + b" HTTP/1.1\r\n\r\n", {0, 414, 431}),
        (FILL + b"content-encoding: gzip\r\n" + body(gzip.compress(b" " * 10_000_000)), {415}),
        (FILL + b"idempotency-key: a\r\nidempotency-key: b\r\n" + body(b'{"litres":1}'), {400}),
        (FILL + b"request-timeout: 5\r\nrequest-timeout: 0\r\n" + body(b'{"litres":1}'), {400}),
        (FILL.replace(b"s/b", b"s%2Fb") + body(b'{"litres":1}'), {404}),
        (FILL.replace(b"l/b", b"l%2fb") + body(b'{"litres":1}'), {404}),
        (EMPTY + body(b'{"notes":' + b"[" * 100_000), {413}),
        (b"GET /topics/moves?form=beginning HTTP/1.1\r\n" + CLOSE + b"\r\n", {400}),
        (b"GET /topics/moves?from=0&from=1 HTTP/1.1\r\n" + CLOSE + b"\r\n", {400}),
        (SUBSCRIBE + b"content-encoding: gzip\r\n" + body(gzip.compress(b"{}")), {415}),
    ],
    ids=range(21),
)
async def test_a_node_survives(tmp_path: Path, request_: bytes, statuses: set[int]) -> None:
    async with serving(tmp_path) as node:
        status, answer = await ask(node, request_)
        assert status in statuses, answer[:300]
        assert await is_well(node), "and nothing happened"


async def test_a_request_id_cannot_split_an_answer(tmp_path: Path) -> None:
    async with serving(tmp_path) as node:
        request = FILL + b"x-request-id: a%0d%0aset-cookie: b\r\n" + body(b'{"litres":1}')
        status, answer = await ask(node, request)
        assert status == 200
        assert b"\r\nset-cookie" not in answer


async def test_a_chunked_body_beyond_the_limit_ends_early(tmp_path: Path) -> None:
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    async with serving(tmp_path) as node:
        host, port = node.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(FILL + b"transfer-encoding: chunked\r\n\r\n")
        sent = 0
        try:
            while sent < 64 << 20 and not reader.at_eof():
                writer.write(chunk)
                await writer.drain()
                sent += 0x10000
        except ConnectionError:
            pass
        finally:
            writer.close()
        assert sent < 64 << 20, "the node hung up long before the end"
        assert await is_well(node)


async def test_many_requests_on_one_connection(tmp_path: Path) -> None:
    async with serving(tmp_path) as node:
        one = body(b'{"litres":1}')
        status, answer = await ask(node, (POST + one) * 19 + FILL + one)
        assert status == 200
        assert answer.count(b"HTTP/1.1 200 OK") == 20
        assert answer.endswith(b"20")


async def test_half_a_request_changes_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path) as node:
        host, port = node.url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(FILL + b'content-length: 1000\r\n\r\n{"litres":1}')
        await writer.drain()
        assert await is_well(node)
        writer.close()
        await writer.wait_closed()
        for _ in range(20):  # whatever the node made of it, these come behind it
            await ask(node, b"GET /health/live HTTP/1.1\r\n" + CLOSE + b"\r\n")
        assert (await ask(node, FILL + body(b'{"litres":1}')))[1].endswith(b"2")


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        (FILL + b"x-request-id: \xe9\r\n" + body(b"{}"), b"header X-Request-Id: use ASCII"),
        (
            FILL.replace(b"/fill", b"/put") + body(b'{"label":{"size":"q"}}'),
            b"barrel.put: text: Field required; size: Input should be 's' or 'm' - at `$.label`",
        ),
    ],
    ids=["header", "model"],
)
async def test_a_problem_names_what_the_caller_sent(
    tmp_path: Path, request_: bytes, told: bytes
) -> None:
    async with serving(tmp_path) as node:
        status, answer = await ask(node, request_)
        assert status == 400
        assert b'"detail":"' + told + b'"' in answer
