"""Start a server, wait until it answers, stop it by its own process id; run a loop in a process."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import msgspec

from bench.environments import CannotMeasure, run
from bench.figures import Sample
from eventmill.node.servers.parent import start_bound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 20.0
POLL_SECONDS = 0.05


@contextlib.contextmanager
def running(
    command: Sequence[str],
    ready: Callable[[], bool],
    *,
    log: Path,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[int]:
    """Run a server for the length of a `with` block and yield its process id.

    Raises:
        CannotMeasure: it ended, or did not become ready in time; the end of its log is the text.
    """
    with log.open("wb") as out:
        process = start_bound(
            command,
            signal.SIGTERM,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, **(environment or {})},
        )
    try:
        until = time.monotonic() + START_SECONDS_MAX
        while not ready():
            if process.poll() is not None or time.monotonic() > until:
                raise CannotMeasure(f"{command[0]} did not start: {log.read_text()[-2000:]}")
            time.sleep(POLL_SECONDS)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answers(url: str, body: bytes | None = None) -> Callable[[], bool]:
    """Return a readiness test: the URL answers with a status below 400."""

    def ready() -> bool:
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(url, data=body, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=5) as response:
                return bool(response.status < 400)
        except (urllib.error.URLError, OSError):
            return False

    return ready


def free_port() -> int:
    """Return a loopback port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process in MB."""
    with open(f"/proc/{pid}/status") as status:
        line = next(line for line in status if line.startswith("VmRSS"))
    return round(int(line.split()[1]) / 1024, 1)


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process and its children, living or ended, have used."""
    children: dict[int, list[int]] = {}
    used: dict[int, float] = {}
    for entry in os.listdir("/proc"):
        if not entry.isdecimal():
            continue
        with contextlib.suppress(OSError), open(f"/proc/{entry}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
            children.setdefault(int(fields[1]), []).append(int(entry))
            ticks = sum(map(int, fields[11:15]))  # its own, and of children that it waited for
            used[int(entry)] = ticks / os.sysconf("SC_CLK_TCK")
    family = [pid]
    for member in family:
        family += children.get(member, [])
    return sum(used.get(member, 0.0) for member in family)


def isolated(function: str, **arguments: Any) -> Sample:
    """Call `module:function` in a fresh process of the project's interpreter.

    So that no measurement inherits the heap, caches or threads of the one before.
    """
    encoded = msgspec.json.encode(arguments).decode()
    return sample_of(run([sys.executable, "-m", "bench.child", function, encoded]))


def sample_of(printed: str) -> Sample:
    """Read the sample that a program printed as its last line."""
    return msgspec.json.decode(printed.strip().rpartition("\n")[2], type=Sample)
