"""`eventmill dev cluster` as a developer uses it: real servers, real nodes, nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from eventmill.cli.main import run
from tests.cli.clusters import RunningCluster
from tests.cli.commands import PROJECT, SECONDS, environment

pytestmark = [pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")]


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


def test_a_cluster_lives_without_a_node_goes_on_later_and_leaves_nothing(
    cluster_data: Path,
) -> None:
    with RunningCluster(cluster_data, "wallet:service") as cluster:
        accounts = [f"a{number}" for number in range(12)]
        assert [cluster.deposit("a", id, 5) for id in accounts] == [5] * 12
        assert len(alive(cluster_data)) == 5, "the command itself, two servers, two nodes"
        os.kill(cluster.node("b")["process"], signal.SIGKILL)
        ended = cluster.wait_for("node ended")
        assert (ended["node"], ended["exit_code"]) == ("b", -signal.SIGKILL)
        assert ended["again"].startswith("eventmill run wallet:service --store=postgresql://")
        assert [cluster.deposit("a", id, 1) for id in accounts] == [6] * 12
        cluster.process.terminate()
        assert cluster.process.wait(SECONDS) == 0
    assert alive(cluster_data) == []
    with RunningCluster(cluster_data, "wallet:service") as cluster:
        assert cluster.deposit("b", "a0", 1) == 7, "what was stored is still there"
        listed = ["entities", "list", "account", "--data", cluster.node("b")["data"]]
        assert run(listed) == 0
        second = RunningCluster(cluster_data, "wallet:service")
        assert second.process.wait(SECONDS) == 1, "the directory is in use"
        assert second.process.stderr is not None
        assert "in use by process" in second.process.stderr.read()
        second.process.stderr.close()
        cluster.process.kill()
        cluster.process.wait(SECONDS)
        give_up = time.monotonic() + SECONDS
        while (left := alive(cluster_data)) and time.monotonic() < give_up:
            time.sleep(0.05)
        assert left == [], "nobody outlives a killed parent"


def test_a_node_that_cannot_start_is_told_and_ends_it_all(cluster_data: Path) -> None:
    started = RunningCluster(cluster_data, "refusing:service", nodes=1)
    assert started.process.wait(2 * SECONDS) == 1
    assert started.process.stderr is not None
    said = started.process.stderr.read()
    started.process.stderr.close()
    assert "refused to be imported in a node" in said
    assert "a node did not start" in said
    assert alive(cluster_data) == []


def test_it_stops_in_order_although_nobody_reads_its_log_any_more(cluster_data: Path) -> None:
    with RunningCluster(cluster_data, "wallet:service", nodes=1) as cluster:
        assert cluster.process.stderr is not None
        cluster.process.stderr.close()
        cluster.process.terminate()
        assert cluster.process.wait(SECONDS) == 0
    assert alive(cluster_data) == []


def test_without_the_wheels_it_says_what_to_install(cluster_data: Path) -> None:
    hidden = (
        "import sys, shutil\n"
        "sys.executable, shutil.which = '/nowhere/python', lambda name: None\n"
        "from eventmill.cli.main import run\n"
        f"sys.exit(run(['dev', 'cluster', 'wallet:service', '--data', {str(cluster_data)!r}]))\n"
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
    assert not cluster_data.exists()


def test_services_of_one_process_run_unchanged_on_servers_of_their_own(cluster_data: Path) -> None:
    with RunningCluster(cluster_data, "market:shop", "market:inventory", nodes=1) as cluster:
        at = {node["service"]: node for node in cluster.facts["nodes"]}
        for number in range(4):
            order = json.dumps({"order": f"o{number}", "sku": "apple"})
            assert _ask(at["shop"], "topics", "publish", "orders", order) is not None
        taken = {f"o{number}": 1 for number in range(4)}
        stock = ("entities", "call", "stock", "apple", "reserved")
        while (found := _ask(at["inventory"], *stock)) != taken:
            assert set((found or {}).values()) <= {1}
        levels = [{"sku": "apple", "left": -4, "changes": 4}]
        while _ask(at["shop"], "views", "query", "levels", "all") != levels:
            pass
        while _ask(at["shop"], "entities", "call", "order", "o3", "times_billed") != 1:
            pass
        assert "o3" in _said(at["inventory"], "topics", "tail", "shop/orders")


def _ask(node: dict[str, Any], *arguments: str) -> Any:
    said = _said(node, *arguments, "--output", "json")
    return json.loads(said) if said else None


def _said(node: dict[str, Any], *arguments: str) -> str:
    out = StringIO()
    with redirect_stdout(out):
        run([*arguments, "--data", node["data"]])
    return out.getvalue()
