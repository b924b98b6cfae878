"""`eventmill dev cluster` as a developer uses it: real servers, real nodes, nothing left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import pytest

from eventmill.cli.main import run
from tests.cli.commands import PROJECT, SECONDS, environment

pytestmark = [pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")]


class RunningCluster:
    """`dev cluster` in a process of its own."""

    def __init__(self, data: Path, *targets: str, nodes: int = 2) -> None:
        self.data = data
        line = [sys.executable, "-m", "eventmill.cli", "dev", "cluster", *targets]
        self.process = subprocess.Popen(
            [*line, "--nodes", str(nodes), "--data", str(data), "--log", "json"],
            cwd=PROJECT,
            env=environment(),
            stderr=subprocess.PIPE,
            text=True,
        )
        self.log: list[dict[str, Any]] = []
        self.facts: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self.facts = self.wait_for("cluster started")
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(SECONDS)
        assert self.process.stderr is not None
        self.process.stderr.close()

    def wait_for(self, event: str) -> dict[str, Any]:
        """Read the log until a record says so."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(json.loads(line) if line.startswith("{") else {"event": line})
            if self.log[-1]["event"] == event:
                return self.log[-1]
        raise AssertionError(f"it ended without {event!r}: {self.log}")

    def node(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = next(n for n in self.facts["nodes"] if n["node"] == name)
        return found

    def deposit(self, node: str, account: str, amount: int) -> int:
        """Deposit, as often as the node says "later", with one effect."""
        key = uuid4().hex
        give_up = time.monotonic() + SECONDS
        while True:
            try:
                return self._deposit(node, account, amount, key)
            except urllib.error.HTTPError as error:
                error.close()
                if error.code != 503 or time.monotonic() > give_up:
                    raise

    def _deposit(self, node: str, account: str, amount: int, key: str) -> int:
        request = urllib.request.Request(
            f"{self.node(node)['url']}/components/account/{account}/deposit",
            json.dumps({"amount": amount}).encode(),
            {"content-type": "application/json", "idempotency-key": key},
        )
        with urllib.request.urlopen(request, timeout=SECONDS) as response:
            return int(json.loads(response.read()))


def alive(data: Path) -> list[str]:
    """Command lines of processes that use the directory, or where its server's files are."""
    places = {str(data), str((data / "postgres").resolve())}
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if any(place in line for place in places):
            found.append(line)
    return found


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "cluster"
    yield folder
    shutil.rmtree((folder / "postgres").resolve(), ignore_errors=True)


def test_a_cluster_lives_without_a_node_goes_on_later_and_leaves_nothing(data: Path) -> None:
    with RunningCluster(data, "wallet:service") as cluster:
        accounts = [f"a{number}" for number in range(12)]
        assert [cluster.deposit("a", id, 5) for id in accounts] == [5] * 12
        assert len(alive(data)) == 5, "the command itself, two servers, two nodes"
        os.kill(cluster.node("b")["process"], signal.SIGKILL)
        ended = cluster.wait_for("node ended")
        assert (ended["node"], ended["exit_code"]) == ("b", -signal.SIGKILL)
        assert ended["again"].startswith("eventmill run wallet:service --store=postgresql://")
        assert [cluster.deposit("a", id, 1) for id in accounts] == [6] * 12
        cluster.process.terminate()
        assert cluster.process.wait(SECONDS) == 0
    assert alive(data) == []
    with RunningCluster(data, "wallet:service") as cluster:
        assert cluster.deposit("b", "a0", 1) == 7, "what was stored is still there"
        listed = ["entities", "list", "account", "--data", cluster.node("b")["data"]]
        assert run(listed) == 0
        second = RunningCluster(data, "wallet:service")
        assert second.process.wait(SECONDS) == 1, "the directory is in use"
        assert second.process.stderr is not None
        assert "in use by process" in second.process.stderr.read()
        second.process.stderr.close()
        cluster.process.kill()
        cluster.process.wait(SECONDS)
        give_up = time.monotonic() + SECONDS
        while (left := alive(data)) and time.monotonic() < give_up:
            time.sleep(0.05)
        assert left == [], "nobody outlives a killed parent"


def test_a_node_that_cannot_start_is_told_and_ends_it_all(data: Path) -> None:
    started = RunningCluster(data, "refusing:service", nodes=1)
    assert started.process.wait(2 * SECONDS) == 1
    assert started.process.stderr is not None
    said = started.process.stderr.read()
    started.process.stderr.close()
    assert "refused to be imported in a node" in said
    assert "a node did not start" in said
    assert alive(data) == []


def test_without_the_wheels_it_says_what_to_install(data: Path) -> None:
    hidden = (
        "import sys, shutil\n"
        "sys.executable, shutil.which = '/nowhere/python', lambda name: None\n"
        "from eventmill.cli.main import run\n"
        f"sys.exit(run(['dev', 'cluster', 'wallet:service', '--data', {str(data)!r}]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", hidden],
        cwd=PROJECT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 1
    assert "pip install 'eventmill[dev-cluster]'" in done.stderr
    assert not data.exists()
