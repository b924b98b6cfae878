"""`run --reload`: runs the node in a child process, starts it anew when a file changes or it was
killed, and says why it ended.

The child must not outlive this process, not even when it is killed: it has the read end of a pipe
whose write end only this process has, and stops at its end.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click
from watchfiles import PythonFilter, watch

STOP_SECONDS: Final = 10.0
"""After this the child is killed: in development, waiting longer helps nobody."""

LOOK_SECONDS: Final = 0.2
"""How often it is looked whether the child still runs."""

SOON_SECONDS: Final = 10.0
"""A child that was started anew and ends so soon again has to wait, a second at first."""

WAIT_SECONDS_MAX: Final = 30.0
"""The waits double up to this."""


def run_reloading(targets: Sequence[str], options: list[str]) -> None:
    """Run until Ctrl-C, SIGTERM or SIGHUP; a child that cannot start waits for the next change."""
    watched, _held = os.pipe()  # the write end stays open as long as this process lives
    line = [sys.executable, "-m", "eventmill.cli", "run", *targets, *options]
    child = _Child([*line, f"--parent-pipe={watched}"], watched)
    stopping = _stop_signal()
    here = Path.cwd()
    child.start()
    try:
        for changes in watch(
            here,
            watch_filter=PythonFilter(extra_extensions=[".sql", ".toml"]),
            stop_event=stopping,
            rust_timeout=round(LOOK_SECONDS * 1_000),
            yield_on_timeout=True,
            raise_interrupt=False,
        ):
            if changes:
                names = sorted({str(Path(path).relative_to(here)) for _, path in changes})
                click.echo(f"Changed: {', '.join(names)}; starting anew …", err=True)
                child.stop()
                child.start()
            elif not stopping.is_set():
                child.look()
    finally:
        child.stop()


class _Child:
    """The node's process, and when it is to be started anew."""

    def __init__(self, line: list[str], watched: int) -> None:
        self._line = line
        self._watched = watched
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._wait = 0.0
        """Before the next start; grows with each end that comes soon."""
        self._due: float | None = None

    def start(self) -> None:
        self._due = None
        self._started = time.monotonic()
        self._process = subprocess.Popen(self._line, pass_fds=[self._watched])

    def look(self) -> None:
        """Notice that it has ended, and say so; start it anew when that is due."""
        now = time.monotonic()
        if self._process is not None and (code := self._process.poll()) is not None:
            self._process = None
            self._ended(code, now)
        if self._due is not None and self._due <= now:
            self.start()

    def stop(self) -> None:
        process, self._process, self._wait = self._process, None, 0.0
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _ended(self, code: int, now: float) -> None:
        if code >= 0:  # by itself: it has said why, and would do so again
            click.echo(
                f"The node has ended (exit code {code}); waiting for a change of a file …", err=True
            )
            return
        if now - self._started > SOON_SECONDS:
            self._wait = 0.0
        when = f"in {self._wait:.0f} s" if self._wait else "at once"
        self._due = now + self._wait
        self._wait = min(max(1.0, self._wait * 2), WAIT_SECONDS_MAX)
        name = signal.Signals(-code).name
        click.echo(
            f"The node was ended by signal {-code} ({name}); starting anew {when} …", err=True
        )


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
