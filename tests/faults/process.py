"""A node as an operator runs it: its own process, spoken to over HTTP, killed without warning."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import aiohttp
import msgspec

from eventmill.node.servers.parent import start_bound
from tests.forking import Fork

READY_SECONDS = 90.0
"""On a machine with much else to do."""
ROOT = Path(__file__).parents[2]


class NodeProcess:
    """`eventmill run` on a data directory, on a fixed port."""

    def __init__(self, target: str, data: Path, port: int, options: Sequence[str] = ()) -> None:
        self.target = target
        self.options = options
        self.data = data
        self.url = f"http://127.0.0.1:{port}"
        self.log = data.with_name("node.log")
        """What it prints, for people who look at a failed test."""
        self._port = port
        self._process: Fork | subprocess.Popen[bytes] | None = None

    @classmethod
    def free(cls, target: str, data: Path, *options: str) -> Self:
        """On a port that nobody listens on, and that no outgoing connection is given while the
        node is down (those come from above 32767)."""
        while True:
            port = random.randrange(20_000, 32_000)
            with socket.socket() as probe, contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return cls(target, data, port, options)

    @property
    def process(self) -> Fork | subprocess.Popen[bytes]:
        assert self._process is not None, "not started"
        return self._process

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    async def start(self) -> None:
        """Start the process; see `ready`."""
        line = ("run", self.target, "--data", str(self.data), "--port", str(self._port))
        with self.log.open("ab") as log:
            self._process = Fork(
                *line, *self.options, cwd=ROOT, env=os.environ, stdout=log, stderr=log
            )

    def start_from_nothing(self) -> None:
        """Start it as `start` does, in a process that has to read the code first."""
        command = "from eventmill.cli.main import main; main()"
        line = ("run", self.target, "--data", str(self.data), "--port", str(self._port))
        with self.log.open("ab") as log:
            self._process = start_bound(
                [sys.executable, "-c", command, *line, *self.options],
                signal.SIGKILL,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
                stdout=log,
                stderr=log,
            )

    async def ready(self, http: aiohttp.ClientSession) -> None:
        """Wait until it answers that it is ready."""
        async with asyncio.timeout(READY_SECONDS):
            while True:
                assert self.running, "the node ended while it was starting"
                try:
                    async with http.get(f"{self.url}/health/ready") as response:
                        if response.status == 200:
                            return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.002)

    @property
    def seconds_used(self) -> float:
        """Processor time that it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def announced(self) -> None:
        """Wait until it has told the CLI where it is, the last step of its start."""
        async with asyncio.timeout(READY_SECONDS):
            while not (self.data / "node.json").exists():  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.002)

    async def kill(self) -> None:
        """`kill -9`."""
        self.process.kill()
        code = await self.ended()
        assert code == -signal.SIGKILL, f"it was not the kill that ended it: {code}"

    async def stop(self) -> None:
        """Stop it as an operator does; it must end well."""
        self.process.terminate()
        code = await self.ended()
        assert code == 0, f"a graceful stop ended with {code}"

    async def ended(self) -> int:
        """Wait until it has ended; return its exit code."""
        return await asyncio.to_thread(self.process.wait, READY_SECONDS)

    async def discard(self) -> None:
        """Whatever happened, leave no process behind."""
        if self.running:
            self.process.kill()
            await self.ended()


async def command(
    http: aiohttp.ClientSession,
    url: str,
    path: str,
    arguments: Mapping[str, object],
    key: str | None = None,
) -> tuple[int, Any]:
    """POST a command; return status and decoded body."""
    headers = {"content-type": "application/json"}
    if key is not None:
        headers["idempotency-key"] = key
    body = msgspec.json.encode(arguments)
    async with http.post(f"{url}/components/{path}", data=body, headers=headers) as response:
        return response.status, msgspec.json.decode(await response.read())
