"""`eventmill services`: one node by itself, and two services on one cluster that find each other."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eventmill.cli.main import run
from tests.cli.clusters import RunningCluster
from tests.cli.commands import SECONDS, RunningNode

Printed = pytest.CaptureFixture[str]


def test_a_node_alone_shows_its_service(node: RunningNode) -> None:
    (row,) = node.json("services", "list")
    assert (row["service"], row["nodes"], row["url"]) == ("wallet", ["node"], node.url)
    assert row["topics"] == ["moves"]
    found = node.json("services", "describe", "wallet")
    assert found["nodes"][0]["admin_url"] == node.admin_url
    assert found["contracts"] == [f"{node.url}/openapi.json", f"{node.url}/asyncapi.json"]
    account = next(c for c in found["components"] if c["id"] == "account")
    assert "deposit" in account["commands"]
    assert "wallet/account" in node.run("services", "topology").out
    refused = node.run("services", "describe", "billing")
    assert refused.code == 1
    assert "no service 'billing' runs now" in refused.err


def test_a_broker_that_is_not_there_is_said(capsys: Printed) -> None:
    assert run(["services", "list", "--broker", "nats://me:secret@127.0.0.1:1"]) == 1
    assert "no NATS server answers at nats://127.0.0.1:1 (" in capsys.readouterr().err
    assert run(["services", "list", "--broker", "http://127.0.0.1:1"]) == 1
    assert "--broker begins with nats://" in capsys.readouterr().err


def test_services_of_a_cluster_find_and_call_each_other(
    cluster_data: Path, capsys: Printed
) -> None:
    targets = ("wallet:service", "spender:service")
    with RunningCluster(cluster_data, *targets, nodes=1) as cluster:
        wallet, spender = sorted(cluster.facts["nodes"], key=lambda n: n["service"], reverse=True)
        granted_before = _balance(wallet["url"])
        _post(f"{spender['url']}/components/wish/w1/make", {"account": "a1"})
        _until(lambda: _balance(wallet["url"]) == granted_before + 7)

        asked = [["--broker", cluster.facts["broker"]], ["--url", spender["admin_url"]]]
        for where in asked:
            rows = _json(capsys, "services", "list", *where)
            assert [(row["service"], row["nodes"]) for row in rows] == [
                ("spender", ["a"]),
                ("wallet", ["a"]),
            ]
            found = _json(capsys, "services", "describe", "wallet", *where)
            assert [(n["node"], n["shards"], n["url"]) for n in found["nodes"]] == [
                ("a", 16, wallet["url"])
            ]
            graph = _json(capsys, "services", "topology", *where)
            calls = [c for c in graph["connections"] if c["source"] == "spender/granter"]
            assert [(c["way"], c["target"], c["what"]) for c in calls] == [
                ("calls", "wallet/account", "deposit")
            ]
            kinds = {part["id"]: part["kind"] for part in graph["parts"]}
            assert kinds["wallet/account"] == "entity", "it lives, so it is drawn as what it is"
            assert run(["services", "topology", "--mermaid", *where]) == 0
            assert 'subgraph n_wallet["wallet"]' in capsys.readouterr().out
            assert run(["services", "describe", "billing", *where]) == 1
            assert "no service 'billing' runs now" in capsys.readouterr().err


def _json(capsys: Printed, *arguments: str) -> Any:
    assert run([*arguments, "--output", "json"]) == 0
    return json.loads(capsys.readouterr().out)


def _post(url: str, body: Any) -> Any:
    head = {"content-type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), head)
    with urllib.request.urlopen(request, timeout=SECONDS) as response:
        return json.loads(response.read())


def _balance(url: str) -> int:
    with urllib.request.urlopen(
        f"{url}/components/account/a1/current", timeout=SECONDS
    ) as response:
        return int(json.loads(response.read()))


def _until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < give_up, "it did not happen in time"
        time.sleep(0.05)
