"""`eventmill workflows` and the routes behind it, on a node that runs the example."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.commands import SECONDS, RunningNode

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wallets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    data = tmp_path_factory.mktemp("wallets") / "data"
    target = "examples.wallet_transfer.service:service"
    with RunningNode(data, target=target, cwd=ROOT) as running:
        yield running
        assert running.stop() == 0


def transferred(node: RunningNode, id: str, amount: int, status: str) -> Any:
    call = "entities", "call", "transfer", id, "start", "source=ann", "target=bob"
    node.json(*call, f"amount={amount}")
    show = "workflows", "show", "transfer", id
    return node.until(show, lambda found: found["status"] == status)


def test_workflows(wallets: RunningNode) -> None:
    assert wallets.json("workflows", "list") == [{"id": "transfer"}]
    wallets.json("entities", "call", "wallet", "ann", "deposit", "amount=100")
    done = transferred(wallets, "t1", 30, "ended")
    assert (done["state"]["outcome"], done["runs"], done["error"]) == ("done", [], "")
    assert done["began"] < done["ended"]
    transferred(wallets, "t2", 300, "compensated")

    rows = wallets.json("workflows", "list", "transfer")
    assert [(row["id"], row["status"]) for row in rows] == [("t1", "ended"), ("t2", "compensated")]
    assert len(wallets.json("workflows", "list", "transfer", "--status", "ended")) == 1
    assert "compensated" in wallets.run("workflows", "list", "transfer").out

    lines = wallets.json("workflows", "history", "transfer", "t1")
    assert [(line["what"], line["name"]) for line in lines] == [
        ("command", "start"),
        ("step", "withdraw"),
        ("step", "deposit"),
        ("step", "settle"),
    ]
    assert lines[2]["result"] == {"outcome": "done"}
    assert lines[2]["attempt"] == 1
    assert lines[2]["seconds"] >= 0
    assert len(wallets.json("workflows", "history", "transfer", "t1", "--limit", "2")) == 2
    refused = wallets.json("workflows", "history", "transfer", "t2")[1]
    assert (refused["code"], refused["next"]) == ("wallet.short", "refuse")
    shown = wallets.run("workflows", "history", "transfer", "t1").out
    assert "withdraw" in shown
    assert 'outcome="done"' in shown
    undone_first = f"undo        {done['undo'][-1]['step']}("
    assert undone_first in wallets.run("workflows", "show", "transfer", "t1").out
    assert wallets.run("workflows", "list").out.split()[0] == "component"

    kinds = {row["id"]: row["kind"] for row in wallets.json("entities", "list")}
    assert kinds["transfer"] == "workflow"


def test_orders(wallets: RunningNode) -> None:
    wallets.json("entities", "call", "wallet", "ann", "deposit", "amount=100")
    transferred(wallets, "o1", 5, "ended")
    undone = wallets.json("workflows", "compensate", "transfer", "o1")
    assert undone["status"] == "compensating"
    wallets.until(
        ("workflows", "show", "transfer", "o1"), lambda found: found["status"] == "compensated"
    )
    for order in ("terminate", "suspend", "resume", "retry", "compensate"):
        refused = wallets.run("workflows", order, "transfer", "o1")
        assert refused.code == 1
        assert "[workflow.status]" in refused.err
    for arguments, message in {
        ("show", "transfer", "nobody"): "no workflow transfer/nobody",
        ("suspend", "transfer", "nobody"): "no workflow transfer/nobody",
        ("list", "wallet"): "no workflow component 'wallet'; there is transfer",
        ("list", "transfer", "--status", "lost"): "'status' is one of new, running",
    }.items():
        refused = wallets.run("workflows", *arguments)
        assert (refused.code, message in refused.err) == (1, True), refused


def test_commands_and_queries_are_in_the_contract_and_orders_are_not(wallets: RunningNode) -> None:
    with urllib.request.urlopen(f"{wallets.url}/openapi.json", timeout=SECONDS) as response:
        document = json.load(response)
    paths = [path for path in document["paths"] if path.startswith("/components/transfer/")]
    assert sorted(paths) == [
        "/components/transfer/{id}/changes",
        "/components/transfer/{id}/content",
        "/components/transfer/{id}/start",
    ]
    refused = wallets.run("entities", "call", "transfer", "t1", "$terminate")
    assert "no command or query '$terminate'" in refused.err
