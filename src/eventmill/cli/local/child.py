"""One node of a local cluster: `eventmill run` in a child process, whose log lines come here.

It must not outlive this process, however that ends: it holds the read end of a pipe (`surface.reload`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

LINE_BYTES_MAX: Final = 1 << 20
"""A longer line of a node's log is cut."""

Tell = Callable[["Child", str], None]
"""Is given each line of a node's log."""


class Child:
    """A node. Parameters: `service` and `node` are names; `options` are those of `eventmill run`."""

    def __init__(
        self, target: str, service: str, node: str, data: Path, options: dict[str, str]
    ) -> None:
        self.service = service
        self.node = node
        self.data = data
        self.facts: dict[str, Any] = {}
        """What it said of itself when it was ready; empty before."""
        self.ready = asyncio.Event()
        """Set when it is ready, or has ended."""
        self._target = target
        self._options = {**options, "node": node, "data": str(data)}
        self._process: Process | None = None

    def __repr__(self) -> str:
        state = "not started" if self._process is None else f"process {self.pid}"
        return f"<Child {self.node} of {self.service} [{state}]>"

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None, "not started"
        return self._process.pid

    @property
    def lives(self) -> bool:
        """Whether its process runs."""
        return self._process is not None and self._process.returncode is None

    @property
    def line(self) -> str:
        """The command line that starts it again."""
        options = {**self._options, "port": self.facts["url"].rpartition(":")[2]}
        return shlex.join(["eventmill", "run", self._target, *_written(options)])

    async def start(self, parent: int) -> None:
        """Start it. Parameter: `parent` is the read end of the pipe."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "eventmill.cli", "run", self._target),
            *_written({**self._options, "port": "0", "log": "json", "parent-pipe": str(parent)}),
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
            pass_fds=[parent],
            start_new_session=True,  # a Ctrl-C on the terminal is for the parent, who keeps order
            limit=LINE_BYTES_MAX,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )

    async def follow(self, tell: Tell) -> int:
        """Hand on its log; return its exit code when it has ended."""
        process = self._process
        assert process is not None, "not started"
        assert process.stdout is not None
        try:
            while line := await _line(process.stdout):
                self._notice(line)
                tell(self, line.rstrip("\n"))
            return await process.wait()
        finally:
            self.ready.set()

    def ask_to_stop(self) -> None:
        """Let it finish what it accepted, and end."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once: as a crash, which loses nothing acknowledged."""
        self._send(signal.SIGKILL)

    def _send(self, how: signal.Signals) -> None:
        if self._process is not None and self.lives:
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                self._process.send_signal(how)

    def _notice(self, line: str) -> None:
        if self.ready.is_set() or '"started"' not in line:
            return
        with contextlib.suppress(ValueError):  # whatever the service prints
            record = json.loads(line)
            if isinstance(record, dict) and "admin_url" in record:
                self.facts = record
                self.ready.set()


async def _line(stream: asyncio.StreamReader) -> str:
    """Read a line; empty at the end."""
    try:
        return (await stream.readline()).decode(errors="replace")
    except ValueError:  # the stream has thrown it away
        return f"(a line of more than {LINE_BYTES_MAX:,} bytes)\n"


def _written(options: dict[str, str]) -> list[str]:
    return [f"--{name}={value}" for name, value in options.items()]
