"""Processes of `eventmill` that start in a tenth of the time: forks of one that has imported it.

Each is a process as any other: with a command line, a folder, an environment and files of its own,
killed by its id. It lacks only the second that Python takes to read the code. What a process that
starts from nothing does is shown by those that tests start with `python -m eventmill.cli`.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from pkgutil import walk_packages
from threading import Event, Thread
from typing import IO, Any

import eventmill
from eventmill.node.servers.parent import ended_with_parent

ROOT = Path(__file__).parents[1]
REQUEST_BYTES_MAX = 1 << 20
NUMBER_BYTES = 4
"""A process id, or an exit code, on the way to whoever waits for it."""


class Fork:
    """A running `eventmill` with these arguments; speaks as `subprocess.Popen` does."""

    def __init__(
        self,
        *arguments: str,
        cwd: Path,
        env: Mapping[str, str],
        stdin: IO[bytes] | None = None,
        stdout: IO[bytes] | None = None,
        stderr: IO[bytes],
    ) -> None:
        self.returncode: int | None = None
        says, told = os.pipe()
        request = {"arguments": arguments, "cwd": str(cwd), "env": dict(env)}
        with open(os.devnull, "r+b") as nothing, os.fdopen(told, "wb") as end:
            files = [file.fileno() for file in (end, stdin or nothing, stdout or nothing, stderr)]
            socket.send_fds(_server(), [json.dumps(request).encode() + b"\n"], files)
        self.pid = _number(says)
        self._ended = Event()
        Thread(target=self._see_its_end, args=(says,), daemon=True).start()

    def poll(self) -> int | None:
        """Return its exit code if it has ended."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit code when it has ended."""
        if not self._ended.wait(timeout):
            raise subprocess.TimeoutExpired("eventmill", timeout or 0)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _see_its_end(self, says: int) -> None:
        try:
            self.returncode = _number(says)
        finally:
            os.close(says)
            self._ended.set()


def _number(says: int) -> int:
    said = os.read(says, NUMBER_BYTES)
    assert said, "the process that forks has ended"
    return int.from_bytes(said, "big", signed=True)


@cache
def _server() -> socket.socket:
    """Start the process that forks; it ends with this one. Return where it takes requests."""
    ours, theirs = socket.socketpair()
    program = f"from tests.forking import serve; serve({theirs.fileno()})"
    line = [sys.executable, "-c", program]
    with theirs:
        process = subprocess.Popen(line, cwd=ROOT, pass_fds=[theirs.fileno()])
    atexit.register(process.wait)
    atexit.register(ours.close)  # which is done first
    return ours


def serve(number: int) -> None:
    """Fork for each request."""
    _import_everything()
    channel = socket.socket(fileno=number)
    bound = ended_with_parent(signal.SIGKILL)
    while True:
        said, files, *_ = socket.recv_fds(channel, REQUEST_BYTES_MAX, 4)
        if not said:
            return
        while not said.endswith(b"\n"):
            said += channel.recv(REQUEST_BYTES_MAX)
        _forget_ended()
        if os.fork() == 0:
            bound()
            channel.close()
            _run(json.loads(said), *files)
            os._exit(0)
        for file in files:
            os.close(file)


def _import_everything() -> None:
    for module in walk_packages(eventmill.__path__, "eventmill."):
        if not module.name.startswith("eventmill.testing") and not module.name.endswith("__main__"):
            import_module(module.name)
    sys.dont_write_bytecode = True  # tests change code faster than it takes notice by the second
    gc.freeze()  # what is here stays, in all of them, and is copied for none


def hear_signals() -> None:
    """Hear Ctrl-C and a terminal's end, also where tests run in the background and ignore them."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def _forget_ended() -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _run(request: dict[str, Any], told: int, *standard: int) -> None:
    """Run the process that is asked for; tell its id, and how it ended.

    It ends as forks of `multiprocessing` do: its threads and what is to be done at its end are
    waited for, but not every object is taken apart.
    """

    bound = ended_with_parent(signal.SIGKILL)

    def main() -> None:
        bound()
        hear_signals()
        os.close(told)
        for number, file in enumerate(standard):
            os.dup2(file, number)
            os.close(file)
        sys.stdin = os.fdopen(0, closefd=False)  # `multiprocessing` has closed it
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["env"])
        sys.argv = ["eventmill", *request["arguments"]]
        import_module("eventmill.cli.main").main()

    process = get_context("fork").Process(target=main)
    process.start()
    assert process.pid is not None
    os.write(told, process.pid.to_bytes(NUMBER_BYTES, "big"))
    process.join()
    assert process.exitcode is not None
    os.write(told, process.exitcode.to_bytes(NUMBER_BYTES, "big", signed=True))
