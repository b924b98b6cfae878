"""`run --reload`: runs the node in a child process and starts it anew when a file changes."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import click
from watchfiles import PythonFilter, watch

STOP_SECONDS = 10.0
"""After this the child is killed: in development, waiting longer helps nobody."""


def run_reloading(target: str, options: list[str]) -> None:
    """Run until Ctrl-C or SIGTERM; a child that cannot start waits for the next change."""
    line = [sys.executable, "-m", "eventmill.cli", "run", target, *options]
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    signal.signal(signal.SIGINT, lambda *_: stopping.set())
    here = Path.cwd()
    child = _start(line)
    try:
        for changes in watch(
            here,
            watch_filter=PythonFilter(extra_extensions=[".sql", ".toml"]),
            stop_event=stopping,
            raise_interrupt=False,
        ):
            names = sorted({str(Path(path).relative_to(here)) for _, path in changes})
            click.echo(f"Changed: {', '.join(names)}; starting anew …", err=True)
            _stop(child)
            child = _start(line)
    finally:
        _stop(child)


def _start(line: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(line)


def _stop(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
