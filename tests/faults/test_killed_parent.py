"""A test run, or a bench, that is killed leaves no process running."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends them")

SECONDS = 60.0
ROOT = Path(__file__).parents[2]

PARENT = f"""
import asyncio, json, os, signal, sys, threading
from pathlib import Path
from bench.processes import running
from eventmill.testing.nats_server import NatsServer
from eventmill.testing.postgres import Server
from tests.forking import Fork

def start():
    server, nats = Server(), NatsServer(Path("nats").resolve())
    asyncio.run(nats.start())
    pause = [sys.executable, "-c", "import signal; signal.pause()"]
    bench = running(pause, lambda: True, log=Path("log"))
    run = ["run", "tests.faults.ledger:service", "--data", str(Path("data").resolve()), "--port", "0"]
    fork = Fork(*run, cwd={str(ROOT)!r}, env=os.environ, stderr=sys.stderr)
    started.extend((server, nats, bench, fork))
    processes.extend((server.process.pid, nats.pid, bench.__enter__(), fork.pid))

started, processes = [], []
thread = threading.Thread(target=start)  # its end is not that of the process
thread.start()
thread.join()
asyncio.run(started[0].execute("SELECT 1"))  # which a server that is ending refuses
print(json.dumps([str(started[0].directory), processes]), flush=True)
signal.pause()
"""


def test_a_killed_parent_takes_its_servers_along(tmp_path: Path) -> None:
    with ExitStack() as stack:
        parent = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-c", PARENT],
                cwd=tmp_path,
                env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
                stdout=subprocess.PIPE,
            )
        )
        stack.callback(parent.kill)
        assert parent.stdout is not None
        directory, processes = json.loads(parent.stdout.readline())
        stack.callback(shutil.rmtree, directory)
        ends = [os.pidfd_open(process) for process in processes]
        for end in ends:
            stack.callback(os.close, end)
            stack.callback(kill, end)
        assert select.select(ends, [], [], 0)[0] == [], "they outlive the thread that started them"
        parent.kill()
        assert [end for end in ends if not select.select([end], [], [], SECONDS)[0]] == []


def kill(end: int) -> None:
    """Kill a process, unless it has ended."""
    if not select.select([end], [], [], 0)[0]:
        signal.pidfd_send_signal(end, signal.SIGKILL)
