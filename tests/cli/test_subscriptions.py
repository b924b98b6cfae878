"""`eventmill subscriptions`, with a sink that listens."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.cli.commands import RunningNode


class Sink:
    """An HTTP server that takes CloudEvents in binary mode."""

    def __init__(self) -> None:
        self.events: queue.Queue[dict[str, Any]] = queue.Queue()
        events = self.events

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                names = ("ce-type", "ce-subject", "x-secret")
                event = {name: self.headers.get(name) for name in names}
                events.put({**event, "data": json.loads(body)})
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/in"

    def next(self) -> dict[str, Any]:
        return self.events.get(timeout=30)


@pytest.fixture
def sink() -> Iterator[Sink]:
    sink = Sink()
    thread = threading.Thread(target=sink.server.serve_forever)
    thread.start()
    yield sink
    sink.server.shutdown()
    thread.join()
    sink.server.server_close()


def test_a_subscription_lives_from_create_to_delete(node: RunningNode, sink: Sink) -> None:
    created = node.run(
        *("subscriptions", "create", sink.url, "--source", "account", "--id", "audit"),
        *("--type", "Deposited", "--filter", "prefix:subject=s", "--header", "x-secret=hush"),
        *("--config", "attempts=3"),
    )
    assert created.out == f"Subscription audit pushes account to {sink.url}.\n"

    for account in ("other", "s1"):
        node.json("entities", "call", "account", account, "deposit", "amount=8")
    assert sink.next() == {
        "ce-type": "Deposited",
        "ce-subject": "s1",
        "x-secret": "hush",
        "data": {"amount": 8},
    }

    (listed,) = node.json("subscriptions", "list")
    assert (listed["id"], listed["sink"], listed["paused"]) == ("audit", sink.url, False)
    assert listed["filters"] == [{"prefix": {"subject": "s"}}]
    assert listed["config"]["attempts"] == 3
    shown = node.run("subscriptions", "show", "audit").out
    assert sink.url in shown
    assert "hush" not in shown
    assert "audit" in node.run("subscriptions", "list").out
    kinds = {row["name"]: row["kind"] for row in node.json("consumers", "list")}
    assert kinds["push@audit"] == "push"

    assert "is paused" in node.run("subscriptions", "pause", "audit").out
    node.json("entities", "call", "account", "s1", "deposit", "amount=9")
    assert node.json("consumers", "lag", "push@audit")[0]["lag"] > 0
    assert "goes on" in node.run("subscriptions", "resume", "audit").out
    assert sink.next()["data"] == {"amount": 9}

    assert node.run("subscriptions", "delete", "audit", stdin="n\n").code == 130
    assert node.run("subscriptions", "delete", "audit", "--yes").code == 0
    assert "There are no subscriptions" in node.run("subscriptions", "list").out
    assert sink.events.empty()


def test_what_cannot_be_subscribed(node: RunningNode) -> None:
    create = ("subscriptions", "create", "http://127.0.0.1:9/x")
    for arguments, code, message in [
        ((*create, "--source", "nothing"), 1, "source 'nothing': there is moves"),
        ((*create, "--config", "attempts=many"), 1, "attempts"),
        ((*create, "--filter", "like:subject=a"), 2, "a filter begins with exact:"),
        ((*create, "--filter", "exact:subject"), 2, "name=value is needed"),
        (("subscriptions", "pause", "nobody"), 1, "no subscription 'nobody'"),
    ]:
        refused = node.run(*arguments)
        assert refused.code == code, refused
        assert message in refused.err
