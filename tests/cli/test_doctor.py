"""`eventmill doctor` on the servers of a shared store."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventmill.testing.nats_server import NatsServer
from eventmill.testing.postgres import Server
from tests.cli.commands import Outcome, RunningNode, eventmill

STATEMENT = re.compile(r"(?:GRANT|CREATE ROLE) [^;]+?(?= *;|$)")
DATABASE = "shards16"
NOBODY = 1
"""A port on which nobody listens."""


def found(outcome: Outcome) -> dict[str, tuple[str, str]]:
    """Return what the doctor found, by name."""
    pattern = re.compile(r"(ok|warn|FAIL) +(\S+(?: \S+)?)  +(.*)")
    lines = [match.groups() for line in outcome.out.splitlines() if (match := pattern.match(line))]
    return {name: (status, text) for status, name, text in lines}


def test_servers_that_a_node_can_run_on(
    tmp_path: Path, postgres: Server, nats_server: NatsServer
) -> None:
    store = asyncio.run(postgres.fresh(16))
    seen = eventmill("doctor", "--data", tmp_path, "--store", store, "--broker", nats_server.url)

    assert seen.code == 0, seen
    findings = found(seen)
    fine = ("postgresql", "permissions", "schema", "view role", "nats", "messages", "jetstream")
    assert {name: findings[name][0] for name in fine} == dict.fromkeys(fine, "ok")
    assert findings["schema"][1] == "version 1"
    assert findings["durability"][0] == "warn"  # the tests' server has fsync off
    assert "data file" not in findings
    assert "power failure" not in seen.err


def test_a_node_whose_store_is_elsewhere(tmp_path: Path, postgres: Server) -> None:
    store = asyncio.run(postgres.fresh(16))
    with RunningNode(tmp_path / "data", "--store", store) as node:
        status, text = found(eventmill("doctor", "--data", node.data))["data file"]
        assert status == "warn"
        assert "give --store" in text
        assert found(eventmill("doctor", "--data", node.data, "--store", store))["node"][0] == "ok"
        assert node.stop() == 0


@pytest.fixture
def guest(postgres: Server) -> Iterator[str]:
    """The store of somebody else, for a user who was given nothing."""
    store = asyncio.run(postgres.fresh(16))
    asyncio.run(postgres.execute("CREATE ROLE guest LOGIN"))
    yield store.replace("postgres@", "guest@")
    asyncio.run(postgres.execute("DROP OWNED BY guest; DROP ROLE guest", DATABASE))


def test_what_a_user_lacks_is_told_as_statements_that_give_it(
    tmp_path: Path, postgres: Server, guest: str
) -> None:
    refused = eventmill("doctor", "--data", tmp_path, "--store", guest)
    assert refused.code == 1
    findings = found(refused)
    assert findings["permissions"][0] == "FAIL"
    assert findings["view role"][0] == "warn"
    for name in ("permissions", "view role"):
        for statement in STATEMENT.findall(findings[name][1]):
            asyncio.run(postgres.execute(statement, DATABASE))

    allowed = eventmill("doctor", "--data", tmp_path, "--store", guest)
    assert allowed.code == 0, allowed
    assert {found(allowed)[name][0] for name in ("permissions", "schema", "view role")} == {"ok"}


def test_a_broker_that_keeps_no_topics(tmp_path: Path) -> None:
    server = NatsServer(tmp_path / "nats")
    server.settings = """
    max_payload: 64KB
    accounts { plain { users: [{ user: a, password: secret }] } }
    """
    asyncio.run(server.start())
    try:
        url = server.url.replace("nats://", "nats://a:secret@")
        seen = eventmill("doctor", "--data", tmp_path / "data", "--broker", url)
    finally:
        server.kill()
    assert seen.code == 1
    findings = found(seen)
    assert findings["nats"][0] == "ok"
    assert findings["messages"][0] == "warn"
    assert "set max_payload" in findings["messages"][1]
    assert findings["jetstream"][0] == "FAIL"
    assert "account that has JetStream" in findings["jetstream"][1]
    assert "secret" not in seen.out


@pytest.mark.parametrize(
    ("option", "url", "name", "advice"),
    [
        ("--store", f"postgresql://me:secret@127.0.0.1:{NOBODY}/shop", "postgresql", "start it"),
        ("--broker", f"nats://me:secret@127.0.0.1:{NOBODY}", "nats", "start one"),
        ("--store", "mysql://x", "postgresql", "begins with postgresql://"),
    ],
)
def test_servers_that_are_not_there(
    tmp_path: Path, option: str, url: str, name: str, advice: str
) -> None:
    seen = eventmill("doctor", "--data", tmp_path, option, url)
    assert seen.code == 1
    status, text = found(seen)[name]
    assert status == "FAIL"
    assert advice in text
    assert "secret" not in seen.out
