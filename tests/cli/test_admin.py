"""The operating surface over HTTP: what it refuses, and how it says so."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from eventmill import Service
from eventmill.admin.app import admin_app
from eventmill.http.bodies import Bodies
from eventmill.http.problems import document
from eventmill.model import limits
from eventmill.testing import Host
from tests.cli.commands import RunningNode

JSON = {"content-type": "application/json"}


def ask(
    node: RunningNode,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, Any, dict[str, str]]:
    parts = urlsplit(node.admin_url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    connection.request(method, path, body, headers or {})
    response = connection.getresponse()
    answer = json.loads(response.read())
    connection.close()
    return response.status, answer, {k.lower(): v for k, v in response.getheaders()}


def test_its_front_page_tells_of_the_node(node: RunningNode) -> None:
    status, facts, _ = ask(node, "GET", "/")
    assert status == 200
    assert facts["service"] == "wallet"
    assert facts["url"] == node.url
    assert facts["ready"] is True


def test_other_names_and_other_sites_are_refused(node: RunningNode) -> None:
    for headers in (
        {"host": "rebound.example"},
        {"host": "rebound.example:80"},
        {"sec-fetch-site": "cross-site"},
    ):
        status, problem, _ = ask(node, "GET", "/entities", headers=headers)
        assert (status, problem["status"], problem["code"]) == (403, 403, "request.forbidden")
    for host in ("localhost:1", "127.0.0.1", "[::1]:9", "192.168.1.7:80"):
        assert ask(node, "GET", "/entities", headers={"host": host})[0] == 200


def test_a_write_must_be_json(node: RunningNode) -> None:
    path = "/consumers/mover/pause"
    for headers in ({}, {"content-type": "text/plain"}, {"content-type": "multipart/form-data"}):
        assert ask(node, "POST", path, b"{}", headers)[0] == 403
    assert ask(node, "GET", "/consumers/mover")[1]["paused"] is False
    headers = {"content-type": "application/json; charset=utf-8"}
    assert ask(node, "POST", path, b"{}", headers)[1]["paused"] is True
    assert ask(node, "POST", "/consumers/mover/resume", b"{}", JSON)[0] == 200


def test_errors_are_problem_documents(node: RunningNode) -> None:
    for method, path, body, expected in [
        ("GET", "/nothing", None, (404, "not_found")),
        ("POST", "/entities", b"{}", (405, "not_found")),
        ("GET", "/entities/account/state", None, (400, "request.payload")),
        ("GET", "/entities/account/state?id=a&sequence=x", None, (400, "request.payload")),
        ("GET", "/entities/account/state?id=a&time=2026-01-01", None, (400, "request.payload")),
        ("GET", "/entities/statistics/state?id=a&sequence=1", None, (404, "entity.no_sequence")),
        ("GET", "/dead-letters?status=lost", None, (400, "request.payload")),
        ("POST", "/consumers/mover/reset", b"{}", (400, "request.payload")),
        ("POST", "/consumers/mover/reset", b'{"position": "1"}', (400, "request.payload")),
        ("POST", "/dead-letters/redrive", b'{"subscriptio": "x"}', (400, "request.payload")),
        ("POST", "/topics/moves/messages", b"[", (400, "request.payload")),
        (
            "POST",
            "/topics/moves/messages",
            b'{"data": {"text": 1}, "type": "Noted"}',
            (400, "request.payload"),
        ),
        (
            "POST",
            "/topics/moves/messages",
            b" " * (limits.BODY_BYTES_MAX + 1),
            (413, "request.too_large"),
        ),
    ]:
        status, problem, headers = ask(node, method, path, body, JSON)
        assert (status, problem["code"]) == expected, (path, problem)
        assert problem["status"] == status
        assert headers["content-type"] == "application/problem+json"


def test_following_waits_for_what_is_new(node: RunningNode) -> None:
    end = ask(node, "GET", "/topics")[1][0]["end"]
    empty = ask(node, "GET", f"/topics/moves/messages?after={end}")[1]
    assert empty == {"messages": [], "position": f"0:{end}", "start": end, "end": True}
    event = b'{"data": {"text": "news"}, "type": "Noted"}'

    parts = urlsplit(node.admin_url)
    waiting = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    waiting.request("GET", f"/topics/moves/messages?after={end}&wait=20")
    assert ask(node, "POST", "/topics/moves/messages", event, JSON)[0] == 200
    found = json.loads(waiting.getresponse().read())
    waiting.close()
    assert [m["data"] for m in found["messages"]] == [{"text": "news"}]


def test_what_no_cli_would_send_is_refused(node: RunningNode) -> None:
    assert ask(node, "GET", "/dead-letters?limit=" + "9" * 5_000)[0] == 400
    for body in (b"[" * 100_000, b'{"subscription":"\xff"}'):
        status, problem, _ = ask(node, "POST", "/dead-letters/redrive", body, JSON)
        assert (status, problem["code"]) == (400, "request.payload")


LARGE = "x:0:9223372036854775808"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", f"/dead-letters?after={LARGE}", None),
        ("GET", "/dead-letters?after=x:2147483648:0", None),
        ("GET", f"/dead-letters/letter?id={LARGE}", None),
        ("GET", "/dead-letters/letter?id=x:%D9%A3:0", None),
        (
            "POST",
            "/dead-letters/redrive",
            {"subscription": "$courier", "letter": f"$courier{LARGE[1:]}"},
        ),
        (
            "POST",
            "/dead-letters/discard",
            {"subscription": "$courier", "letter": f"$courier{LARGE[1:]}"},
        ),
        ("GET", "/entities/account?limit=0", None),
        ("GET", "/timers?limit=0", None),
        ("GET", "/timers?all=maybe", None),
        ("POST", "/entities/account/call?id=%00&name=deposit", {"amount": 1}),
    ],
)
def test_what_no_store_holds_is_refused_as_the_callers_mistake(
    node: RunningNode, method: str, path: str, body: Any
) -> None:
    status, problem, _ = ask(node, method, path, json.dumps(body).encode() if body else None, JSON)
    assert (status, problem["status"]) == (400, 400)


async def test_a_defect_of_ours_is_a_problem_document() -> None:
    def broken() -> dict[str, Any]:
        raise ZeroDivisionError

    messages: list[Any] = []

    async def send(message: Any) -> None:
        messages.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    async with Host(Service("wallet")) as host:
        app = admin_app(
            host.runtime, broken, host="localhost", problem=document, read=Bodies(host.clock).read
        )
        headers = [(b"host", b"localhost")]
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/",
            "query_string": b"",
            "headers": headers,
        }
        await app(scope, receive, send)
    assert messages[0]["status"] == 500
    assert (b"content-type", b"application/problem+json") in messages[0]["headers"]
    assert json.loads(messages[1]["body"])["code"] == "internal"
