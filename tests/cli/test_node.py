"""Starting and stopping a node."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import threading
from pathlib import Path

import pytest

from eventmill.testing.postgres import Server
from tests.cli.commands import PROJECT, RunningNode, eventmill


def test_a_second_node_on_the_same_data_is_refused(tmp_path: Path) -> None:
    with RunningNode(tmp_path / "data") as node:
        refused = eventmill("run", "wallet:service", "--data", node.data, "--port", "0")

        assert refused.code == 1
        assert refused.err.startswith(f"Error: the data directory {node.data} is in use by process")
        assert str(node.process.pid) in refused.err
        assert "--data" in refused.err
        assert f"(a node runs at {node.url})" in refused.err

        # The same command again: that its port is taken, too, is no news.
        port = node.url.rpartition(":")[2]
        refused = eventmill("run", "wallet:service", "--data", node.data, "--port", port)
        assert f"in use by process {node.process.pid} (a node runs at {node.url})" in refused.err
        # It has not taken away what the first one announced.
        assert node.json("entities", "list")
        assert node.stop() == 0


def test_nodes_of_a_shared_store_have_a_directory_each(tmp_path: Path, postgres: Server) -> None:
    store = ("--store", asyncio.run(postgres.fresh(16)))
    with RunningNode(tmp_path / "data", *store) as node:
        refused = eventmill("run", "wallet:service", "--data", node.data, "--port", "0", *store)
        assert refused.code == 1
        assert f"in use by process {node.process.pid} (a node runs at {node.url})" in refused.err
        assert node.json("entities", "list"), "it has not taken away what the first one announced"
        assert node.stop() == 0


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (
            "postgresql://me:secret@127.0.0.1:1/shop",
            "no PostgreSQL server answers at postgresql://127.0.0.1:1/shop (",
        ),
        ("postgresql://me:secret@127.0.0.1:x/shop", "write it as postgresql://"),
    ],
)
def test_a_store_that_cannot_be_reached_is_told(tmp_path: Path, url: str, said: str) -> None:
    refused = eventmill("run", "wallet:service", "--data", tmp_path, "--port", "0", "--store", url)
    assert refused.code == 1
    assert said in refused.err
    assert "secret" not in refused.err
    assert "Traceback" not in refused.err


def test_a_data_directory_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "data" / "lock").mkdir(parents=True)  # as good as one on a read-only disk
    for data in (tmp_path / "file" / "data", tmp_path / "data"):
        refused = eventmill("run", "wallet:service", "--data", data, "--port", "0")
        assert refused.code == 1
        assert refused.err.startswith(f"Error: the data directory {data} cannot be written (")
        assert "choose another directory with --data" in refused.err


def test_a_taken_port_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused = eventmill("run", "wallet:service", "--data", tmp_path / "d", "--port", port)
        assert refused.code == 1
        assert f"port {port} on 127.0.0.1 cannot be taken" in refused.err
        assert "--port" in refused.err

        refused = eventmill(
            *("run", "wallet:service", "--data", tmp_path / "d", "--port", "0"),
            *("--admin-port", port),
        )
        assert refused.code == 1
        assert "--admin-port" in refused.err


def test_a_start_without_space_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "node.new").symlink_to("/dev/full")
    refused = eventmill("run", "wallet:service", "--data", tmp_path, "--port", "0")
    assert refused.code == 1
    assert f"no space left for the data directory {tmp_path}: free some" in refused.err


def test_a_stop_answers_what_was_accepted_and_keeps_it(tmp_path: Path) -> None:
    acknowledged: list[int] = []
    with RunningNode(tmp_path / "data") as node:
        enough = threading.Event()

        def deposit() -> None:
            try:
                while True:
                    acknowledged.append(node.post("/components/account/a/deposit", {"amount": 1}))
                    if len(acknowledged) > 100:
                        enough.set()
            except OSError:
                enough.set()  # the node no longer takes requests

        threads = [threading.Thread(target=deposit) for _ in range(4)]
        for thread in threads:
            thread.start()
        enough.wait()
        assert node.stop() == 0
        for thread in threads:
            thread.join()
        assert not (node.data / "node.json").exists()
        assert node.wait_for("stopped")["position"] >= len(acknowledged)

    assert len(acknowledged) > 100
    with RunningNode(tmp_path / "data") as node:
        state = node.json("entities", "get", "account", "a")
        assert state["state"]["balance"] >= max(acknowledged)
        # Offsets were stored: no event was published twice, none is missing.
        node.settled()
        last = node.json("entities", "events", "account", "a", "--limit", "1000")
        assert state["sequence"] == len(last)


def test_ctrl_c_stops_it_too(tmp_path: Path) -> None:
    with RunningNode(tmp_path / "data") as node:
        assert node.stop(signal.SIGINT) == 0


def test_a_killed_node_is_noticed_and_starts_again(tmp_path: Path) -> None:
    with RunningNode(tmp_path / "data") as node:
        assert node.run("entities", "call", "account", "k", "deposit", "amount=5").code == 0
        assert node.stop(signal.SIGKILL) == -signal.SIGKILL

        gone = node.run("entities", "list")
        assert gone.code == 3
        assert "does not answer" in gone.err
        findings = eventmill("doctor", "--data", node.data, "--output", "json").json()
        assert {"node": "warn", "integrity": "ok", "lock": "ok"}.items() <= {
            finding["name"]: finding["status"] for finding in findings
        }.items()

    with RunningNode(tmp_path / "data") as node:
        assert node.json("entities", "get", "account", "k")["state"] == {"balance": 5}


def test_reload_starts_a_new_process_when_a_file_changes(tmp_path: Path) -> None:
    shutil.copy(PROJECT / "wallet.py", tmp_path / "purse.py")
    with RunningNode(tmp_path / "data", "--reload", target="purse:service", cwd=tmp_path) as node:
        assert node.facts["guards"] is True
        first = node.facts["process"]
        text = (tmp_path / "purse.py").read_text()
        (tmp_path / "purse.py").write_text(text.replace('"wallet"', '"purse"'))

        again = node.wait_for("started")
        assert again["service"] == "purse"
        assert again["process"] != first
        assert again["url"] == node.facts["url"]

        (tmp_path / "purse.py").write_text(text + "\nthis is no Python\n")
        node.wait_for("cannot be imported: SyntaxError")
        node.wait_for("has ended (exit code 1); waiting for a change of a file")
        (tmp_path / "purse.py").write_text(text)
        assert node.wait_for("started")["service"] == "wallet"
        assert node.stop() == 0


def test_reload_starts_a_node_anew_that_was_killed(tmp_path: Path) -> None:
    shutil.copy(PROJECT / "wallet.py", tmp_path / "purse.py")
    with RunningNode(tmp_path / "data", "--reload", target="purse:service", cwd=tmp_path) as node:
        os.kill(node.facts["process"], signal.SIGKILL)
        node.wait_for("The node was ended by signal 9 (SIGKILL); starting anew at once")
        again = node.wait_for("started")
        assert again["process"] != node.facts["process"]
        assert again["url"] == node.facts["url"]

        # What ends again and again has to wait.
        text = (tmp_path / "purse.py").read_text()
        (tmp_path / "purse.py").write_text("import os\nos.kill(os.getpid(), 9)\n")
        node.wait_for("starting anew at once")
        node.wait_for("starting anew in 1 s")
        node.wait_for("starting anew in 2 s")
        (tmp_path / "purse.py").write_text(text)
        assert node.wait_for("started")["service"] == "wallet"
        assert node.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP])
def test_the_node_ends_with_its_watcher(tmp_path: Path, number: signal.Signals) -> None:
    shutil.copy(PROJECT / "wallet.py", tmp_path / "purse.py")
    with RunningNode(tmp_path / "data", "--reload", target="purse:service", cwd=tmp_path) as node:
        node.stop(number)
        node.wait_for("stopped")  # the child says it: nothing was lost


def test_targets_that_cannot_run_say_why(tmp_path: Path) -> None:
    (tmp_path / "torn.py").write_text("import nothing_of_that_name\n")
    (tmp_path / "empty.py").write_text("x = 1\n")
    (tmp_path / "twice.py").write_text(
        "from eventmill import *\n"
        "class Made(Event): n: int\n"
        "topic = Topic('t', Made)\n"
        "service = Service('twice', topics=[topic, topic, Topic('Not Good', Made)])\n"
    )
    expected = {
        "missing:service": "no module 'missing' here",
        "torn:service": "No module named 'nothing_of_that_name'\n  torn.py:1",
        "empty:service": "empty:service is no Service; it defines no Service",
        "twice.py": "use twice:service",
        "twice:other": "it has twice:service",
        "twice:service": "service 'twice' has 2 problems:\n  - topic 't': it is listed twice",
    }
    for target, message in expected.items():
        refused = eventmill("run", target, "--data", tmp_path / "d", "--port", "0", cwd=tmp_path)
        assert refused.code == 1, target
        assert message in refused.err, refused
        assert "Traceback" not in refused.err


@pytest.mark.parametrize("how", ["task", "thread"])
def test_a_stop_that_does_not_end_names_what_runs_and_ends_the_process(
    tmp_path: Path, how: str
) -> None:
    with RunningNode(tmp_path / "data", "--drain-seconds", "0", target="stubborn:service") as node:
        node.run("topics", "publish", "told", json.dumps({"how": how}))
        if how == "task":
            late = node.wait_for(
                "handler outlives its cancellation, and holds up what is behind it"
            )
            assert late["handler"] == "deaf"
            assert "stubborn.py:" in late["place"]
        else:
            node.wait_for("begun")
        assert node.stop() == 4
        report = node.wait_for("stop did not end: what still runs must end when it is cancelled")
        if how == "task":
            places = report["tasks"]["subscription deaf"]
            assert any(at.startswith("deaf at ") and "stubborn.py:" in at for at in places)
        else:
            assert report["threads"].keys() > {"MainThread"}
