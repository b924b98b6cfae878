"""One node: adapters, runtime and servers, wired in one readable place.

Start: store → loops → HTTP → admin → `node.json`. Stop: the other way round: no new requests, those
under way end, loops end, offsets are stored, the last commit is finished, the store is given back.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server

from eventmill.adapters.clock import SystemClock
from eventmill.adapters.luck import system_luck
from eventmill.adapters.sqlite.store import Store as SqliteStore
from eventmill.admin.app import admin_app
from eventmill.errors import ConfigurationError
from eventmill.http.app import App
from eventmill.http.routes import routes
from eventmill.model.definition import ServiceDefinition
from eventmill.node.config import NodeConfig
from eventmill.runtime.runtime import Runtime
from eventmill.sdk.service import Service

BACKLOG = 1_024


def checked(service: Service) -> ServiceDefinition:
    """Read a service.

    Raises `ConfigurationError` that lists every problem, each with its place.
    """
    definition, problems = service.define()
    if problems:
        lines = "\n".join(f"  - {problem}" for problem in problems)
        raise ConfigurationError(f"service {service.name!r} has {len(problems)} problem(s):\n{lines}")
    return definition


class Node:
    """Runs a service on the embedded engine."""

    def __init__(self, service: Service, config: NodeConfig) -> None:
        self.config = config
        self.runtime = Runtime(
            checked(service),
            SqliteStore(config.data, synchronous=config.synchronous),
            SystemClock(),
            system_luck,
            guards=config.guards,
            cache_entities=config.cache_entities,
            cache_bytes=config.cache_bytes,
        )
        self.url = ""
        self.admin_url = ""
        self._servers: list[tuple[Server, asyncio.Task[None]]] = []

    async def start(self) -> None:
        """Start everything; requests are answered when it returns.

        Raises `ConfigurationError` when the store or a port cannot be taken.
        """
        config = self.config
        await self.runtime.start()
        try:
            app = App(self.runtime, routes(self.runtime))
            self.url = await self._serve(app, config.host, config.port)
            self.admin_url = await self._serve(
                admin_app(self.runtime), config.admin_host, config.admin_port
            )
            self._announce()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop in order; nothing that was accepted is lost."""
        self.runtime.ready = False
        with contextlib.suppress(FileNotFoundError):
            (self.config.data / "node.json").unlink()
        for server, _ in self._servers:
            server.stop()
        if self._servers:
            tasks = [task for _, task in self._servers]
            await asyncio.wait(tasks, timeout=self.config.drain_seconds)
        await self.runtime.stop()

    async def run(self, stopping: asyncio.Event) -> None:
        """Run until `stopping` is set or a loop fails; then stop.

        Raises `InternalError` when a loop failed.
        """
        await self.start()
        waits = [
            asyncio.ensure_future(stopping.wait()),
            asyncio.ensure_future(self.runtime.supervisor.failed.wait()),
        ]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        await self.stop()

    async def _serve(
        self, app: Callable[..., Awaitable[Any]], host: str, port: int
    ) -> str:
        port = port or free_port(host)
        _check_free(host, port)
        server = Server(
            app,
            address=host,
            port=port,
            interface=Interfaces.ASGINL,
            http=HTTPModes.http1,
            http1_settings=HTTP1Settings(header_read_timeout=10_000),
            websockets=False,
            log_enabled=False,
            backlog=BACKLOG,
        )
        task = asyncio.get_running_loop().create_task(server.serve())
        self._servers.append((server, task))
        await _listening(host, port, task)
        return f"http://{host}:{port}"

    def _announce(self) -> None:
        facts = {"process": os.getpid(), "url": self.url, "admin_url": self.admin_url}
        (self.config.data / "node.json").write_bytes(msgspec.json.encode(facts))


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _check_free(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigurationError(
                f"port {port} on {host} cannot be taken ({error.strerror}); choose another with "
                "--port, or 0 for a free one"
            ) from error


async def _listening(host: str, port: int, task: asyncio.Task[None]) -> None:
    """Wait until the server accepts connections."""
    while True:
        if task.done():
            raise ConfigurationError(f"the HTTP server on {host}:{port} did not start")
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError:
            await asyncio.sleep(0.005)
        else:
            writer.close()
            return
