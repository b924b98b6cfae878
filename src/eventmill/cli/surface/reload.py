"""`run --reload`: runs the node in a child process and starts it anew when a file changes.

The child must not outlive this process, not even when it is killed: it has the read end of a pipe
whose write end only this process has, and stops at its end.
"""

from __future__ import annotations

import os
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
    """Run until Ctrl-C, SIGTERM or SIGHUP; a child that cannot start waits for the next change."""
    watched, _held = os.pipe()  # the write end stays open as long as this process lives
    line = [sys.executable, "-m", "eventmill.cli", "run", target, *options]
    line.append(f"--parent-pipe={watched}")
    stopping = _stop_signal()
    here = Path.cwd()
    child = _start(line, watched)
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
            child = _start(line, watched)
    finally:
        _stop(child)


def stop_with_parent(pipe: int) -> None:
    """Stop this process, by SIGTERM as its parent would, when the parent is gone."""

    def wait() -> None:
        os.read(pipe, 1)
        os.kill(os.getpid(), signal.SIGTERM)
        ended.wait(STOP_SECONDS)  # nobody sets it: the process ends before, or is ended
        os._exit(1)

    ended = threading.Event()
    threading.Thread(target=wait, name="parent", daemon=True).start()


def _stop_signal() -> threading.Event:
    stopping = threading.Event()
    signals = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as `nohup` leaves it
        signals.append(signal.SIGHUP)
    for number in signals:
        signal.signal(number, lambda *_: stopping.set())
    return stopping


def _start(line: list[str], watched: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(line, pass_fds=[watched])


def _stop(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
