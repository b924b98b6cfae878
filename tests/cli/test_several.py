"""Several services in one process, as a developer runs and operates them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.commands import PROJECT, Outcome, RunningNode, eventmill

TARGETS = ("market:shop", "market:inventory")


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """Both in one process; what is asked with `ask` names the service."""
    data = tmp_path_factory.mktemp("market") / "data"
    with RunningNode(data, TARGETS[1], target=TARGETS[0]) as node:
        assert node.facts["service"] == "shop"
        second = node.wait_for("started")
        assert second["service"] == "inventory"
        assert second["url"] != node.facts["url"]
        assert second["admin_url"] != node.facts["admin_url"]
        yield node
        assert node.stop() == 0


def ask(node: RunningNode, service: str, *arguments: str) -> Outcome:
    return node.run(*arguments, service=service)


def asked(node: RunningNode, service: str, *arguments: str) -> Any:
    return ask(node, service, *arguments, "--output", "json").json()


def test_they_work_together(market: RunningNode) -> None:
    for number in range(3):
        order = json.dumps({"order": f"o{number}", "sku": "apple"})
        assert ask(market, "shop", "topics", "publish", "orders", order).code == 0
    asked(market, "inventory", "entities", "call", "stock", "apple", "restock", "quantity=5")
    while (rows := asked(market, "shop", "views", "query", "levels", "all")) != [
        {"sku": "apple", "left": 2, "changes": 4}
    ]:
        assert all(row["changes"] <= 4 for row in rows)
    taken = asked(market, "inventory", "entities", "call", "stock", "apple", "reserved")
    assert taken == {"o0": 1, "o1": 1, "o2": 1}
    while asked(market, "shop", "entities", "call", "order", "o2", "times_billed") < 1:
        pass
    assert asked(market, "shop", "entities", "call", "order", "o0", "times_billed") == 1


def test_they_are_shown_by_either(market: RunningNode) -> None:
    found = asked(market, "shop", "services", "list")
    assert [row["service"] for row in found] == ["inventory", "shop"]
    told = ask(market, "shop", "services", "describe", "inventory").out
    assert "this service: stream of stock" in told
    assert "shop" in told
    drawn = ask(market, "inventory", "services", "topology").out
    assert "shop/orders" in drawn
    assert "inventory/stock-changes" in drawn


def test_a_topic_of_the_other_is_shown_and_not_published_to(market: RunningNode) -> None:
    order = json.dumps({"order": "shown", "sku": "pear"})
    assert ask(market, "shop", "topics", "publish", "orders", order).code == 0
    shown = ask(market, "inventory", "topics", "tail", "shop/orders")
    assert "shown" in shown.out
    refused = ask(market, "inventory", "topics", "publish", "shop/orders", order)
    assert refused.code == 1
    assert "which alone publishes to it" in refused.err
    refused = ask(market, "inventory", "topics", "adopt", "shop/orders", "--yes")
    assert "is the one that was read before: reset its readers" in refused.err
    refused = ask(market, "shop", "topics", "adopt", "orders", "--yes")
    assert "no topic 'orders' of another service" in refused.err


def test_the_directory_of_all_says_which_there_are(market: RunningNode) -> None:
    refused = market.run("entities", "list")
    assert refused.code == 3
    assert f"--data {market.data / 'inventory'} or {market.data / 'shop'}" in refused.err


def test_one_that_cannot_start_is_named_and_none_is_left(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "inventory").mkdir(parents=True)
    (data / "inventory" / "eventmill.db").write_bytes(b"this is no database" * 100)
    refused = eventmill("run", *TARGETS, "--data", data, "--port", "0")
    assert refused.code == 1
    assert "service 'inventory': " in refused.err
    assert not list(data.glob("*/node.json"))


def test_what_is_for_one_service_is_refused_for_several(tmp_path: Path) -> None:
    data = tmp_path / "data"
    refused = eventmill("run", *TARGETS, "--data", data, "--store", "postgresql://x/y")
    assert "start one process for each of them" in refused.err
    refused = eventmill("run", TARGETS[0], TARGETS[0], "--data", data)
    assert "several services are named 'shop'" in refused.err
    (data / "shop").mkdir(parents=True)
    (data / "shop" / "eventmill.db").touch()
    refused = eventmill("run", TARGETS[0], "--data", data)
    assert f"give it --data {data / 'shop'}" in refused.err
    (data / "eventmill.db").touch()
    refused = eventmill("run", *TARGETS, "--data", data)
    assert "holds the store of one service that ran alone" in refused.err


def test_a_consumer_is_replayed_beside_itself(market: RunningNode) -> None:
    order = json.dumps({"order": "again", "sku": "plum"})
    assert ask(market, "shop", "topics", "publish", "orders", order).code == 0
    stock = ("entities", "call", "stock", "plum", "reserved")
    while asked(market, "inventory", *stock) != {"again": 1}:
        pass
    told = ask(market, "inventory", "consumers", "replay", "reserver", "--from", "beginning")
    assert "replay@reserver.shadow has" in told.out
    while not (found := asked(market, "inventory", "consumers", "replays"))[0]["finished"]:
        pass
    orders = found[0]["tally"]["events"]
    assert found[0]["tally"]["effects"] == {"send stock.reserve": orders}
    assert asked(market, "inventory", *stock) == {"again": 1}, "nothing happened"
    shown = ask(market, "inventory", "consumers", "replays").out
    assert f"{orders} × send stock.reserve" in shown
    assert ask(market, "inventory", "consumers", "forget", "replay@reserver.shadow").code == 0
    assert asked(market, "inventory", "consumers", "replays") == []
    refused = ask(market, "inventory", "consumers", "replay", "reserver")
    assert "give one of --from, --position and --time" in refused.err


def test_they_are_started_anew_when_a_file_changes(tmp_path: Path) -> None:
    (tmp_path / "market.py").write_text((PROJECT / "market.py").read_text())
    with RunningNode(
        tmp_path / "data", TARGETS[1], "--reload", target=TARGETS[0], cwd=tmp_path
    ) as node:
        before = [node.facts["url"], node.wait_for("started")["url"]]
        (tmp_path / "market.py").touch()
        node.wait_for("Changed: market.py")
        again = [node.wait_for("started") for _ in TARGETS]
        assert [facts["service"] for facts in again] == ["shop", "inventory"]
        assert [facts["url"] for facts in again] == before


def test_they_are_checked_together(market: RunningNode, tmp_path: Path) -> None:
    shown = eventmill("check", *TARGETS, "--data", str(market.data))
    assert (shown.code, shown.out.count("Stored in")) == (0, 2), shown
    read = "no problems, everything stored can be read by this code\n"
    assert shown.out.count(read) == 2
    assert "inventory/stock-changes         topic       StockChanged\n" in shown.out
    assert "  ── feeds ──▶ shop/levels\n" in shown.out
    assert '["inventory"]' in eventmill("check", *TARGETS, "--mermaid").out
    documents = eventmill("check", *TARGETS, "--output", "json").json()
    assert [document["service"] for document in documents] == ["shop", "inventory"]
    stored = eventmill("check", *TARGETS, "--store", "postgresql://localhost/none")
    assert "--store is of one service" in stored.err


def test_one_of_several_that_has_problems_is_shown_last(tmp_path: Path) -> None:
    (tmp_path / "two.py").write_text(
        "from eventmill import *\n"
        "class Made(Event):\n    n: int\n"
        "@consumer('one', source=Topic('absent', Made))\n"
        "def one(event: Made) -> None: ...\n"
        "bad, good = Service('bad', components=[one]), Service('good')\n"
    )
    refused = eventmill("check", "two:bad", "two:good", cwd=tmp_path)
    assert (refused.code, refused.out.splitlines()[-1]) == (1, "1 problem")
    assert "its source 'absent' is not part" in refused.out


def test_a_stream_that_the_other_does_not_have_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "two.py").write_text(
        "from eventmill import *\n"
        "class Made(Event):\n    n: int\n"
        "@consumer('one', source=ServiceStream('maker', 'made'))\n"
        "def one(event: Made) -> None: ...\n"
        "reader = Service('reader', components=[one])\n"
        "maker = Service('maker', topics=[Topic('made-anew', Made)])\n"
    )
    refused = eventmill("check", "two:maker", "two:reader", cwd=tmp_path)
    assert (refused.code, refused.out.splitlines()[-1]) == (1, "1 problem")
    assert "'maker/made' is followed here, but service 'maker' has no such topic" in refused.out
    assert "it has made-anew" in refused.out
    assert eventmill("check", "two:reader", cwd=tmp_path).code == 0, "who knows what it has?"
