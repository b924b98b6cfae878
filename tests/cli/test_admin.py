"""The operating surface over HTTP: what it refuses, and how it says so."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

from eventmill.model import limits
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
        ("GET", "/entities/statistics/state?id=a&sequence=1", None, (409, "conflict")),
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
