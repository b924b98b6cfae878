"""One node: adapters, runtime and servers, wired in one readable place.

Start: ports → store → loops → HTTP → admin → `node.json`. Stop: the other way round: no new
requests, those under way end, loops end, offsets are stored, the last commit is finished, the store
is given back.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, Final

import msgspec
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server

from eventmill.adapters.clock import SystemClock
from eventmill.adapters.http_sender import HttpSender
from eventmill.adapters.luck import system_luck
from eventmill.adapters.sqlite import lock
from eventmill.admin.app import admin_app
from eventmill.errors import InternalError, StoreFull
from eventmill.http.problems import document
from eventmill.http.routes import front
from eventmill.model import limits
from eventmill.node import sockets
from eventmill.node.checking import checked
from eventmill.node.config import NodeConfig
from eventmill.node.engine import Surroundings, broker_of, membership_of, store_of
from eventmill.runtime.operating import orphans
from eventmill.runtime.runtime import Runtime
from eventmill.sdk.service import Service

ANNOUNCEMENT: Final = "node.json"
"""File in the data directory that tells the CLI where a running node is."""


def _nothing() -> None:
    pass


class Node:
    """Runs a service on the engine that its settings name."""

    def __init__(
        self, service: Service, config: NodeConfig, around: Surroundings | None = None
    ) -> None:
        self.config = config
        self.clock = SystemClock()
        store, definition = store_of(config), checked(service)
        around = around or Surroundings([definition.name], self.clock)
        self.runtime = Runtime(
            definition,
            store,
            self.clock,
            system_luck,
            membership=membership_of(config, definition.name, store, self.clock),
            neighbourhood=None if config.store else around.of(definition.name),
            sender=HttpSender(self.clock, private=_push_private(config)),
            broker=broker_of(config, self.clock, definition.name),
            replicas=config.replicas,
            guards=config.guards,
            cache_entities=config.cache_entities,
            cache_bytes=config.cache_bytes,
        )
        self._front = front(self.runtime)
        self.url = ""
        self.admin_url = ""
        self._servers: list[tuple[Server, asyncio.Task[None]]] = []
        self._announced = False
        self._held: IO[str] | None = None
        """The data directory, if no store in it holds it."""
        self._started = 0

    def __repr__(self) -> str:
        return f"<Node {self.runtime.service.name} [{self.url or 'not started'}]>"

    async def start(self) -> None:
        """Start everything; requests are answered when it returns.

        Raises `ConfigurationError` when the store or a port cannot be taken.
        """
        self.check()
        try:
            await self.open()
            await self.begin()
            await self.listen(sockets.connections_possible())
        except BaseException:
            await self.stop()
            raise

    def check(self) -> None:
        """See whether it can start here.

        Raises `ConfigurationError` if somebody has its data directory or a port.
        """
        config = self.config
        self._check_unused()  # first: whoever starts a node twice meets its ports as well
        sockets.try_port(config.host, config.port, "--port")
        sockets.try_port(config.admin_host, config.admin_port, "--admin-port")

    async def open(self) -> None:
        """Take the store and let neighbours come in; first of the three steps of a start. Whatever
        comes of them, the node must be stopped.

        Raises as `start`.
        """
        self._started = self.clock.now()
        with _space_told(self.config.data):
            if self.config.store:
                self._held = lock.take(self.config.data)
            await self.runtime.open()

    async def begin(self) -> None:
        """Start what happens by itself. Raises as `open`."""
        with _space_told(self.config.data):
            await self.runtime.begin()
            await orphans.tell(self.runtime)

    async def listen(self, connections: int) -> None:
        """Answer requests, on so many connections; tell where. Raises as `open`."""
        config = self.config
        self.runtime.supervisor.start("slow clients", self._front.watch())
        self.url = await self._serve(
            self._front,
            config.host,
            config.port,
            connections,
            websockets=self.runtime.service.endpoints.has_sockets,
        )
        admin = admin_app(
            self.runtime,
            self.facts,
            host=config.admin_host,
            problem=document,
            read=self._front.bodies.read,
        )
        self.admin_url = await self._serve(
            admin, config.admin_host, config.admin_port, limits.ADMIN_CONNECTIONS_MAX
        )
        with _space_told(config.data):
            self._announce()
        await self.runtime.announce(self._addresses())

    async def stop(self, drained: Callable[[], None] = _nothing) -> None:
        """Stop in order; nothing that was accepted is lost.

        Parameters: `drained` is called when the requests under way have been answered, or have had
        their time.
        """
        await self.drain()
        drained()
        await self.quiet()
        await self.close()

    async def drain(self) -> None:
        """Take no more requests, and answer those under way, or give them their time."""
        self.runtime.ready = False
        self._front.stop()
        # Whoever waits for news from this node need not wait any longer.
        self.runtime.tails.wake()
        self.runtime.changes.wake()
        if self._announced:
            with contextlib.suppress(FileNotFoundError):
                self._announcement.unlink()
        if self._servers:  # which break off what they serve when they are told to stop
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limits.STREAMS_END_SECONDS):
                    await self._front.streams_ended()
        for server, _ in self._servers:
            server.stop()  # type: ignore[no-untyped-call]
        if self._servers:
            tasks = [task for _, task in self._servers]
            await asyncio.wait(tasks, timeout=self.config.drain_seconds)

    async def quiet(self) -> None:
        """End what happens by itself; neighbours can still come in."""
        await self.runtime.quiet()

    async def close(self) -> None:
        """Give everything back."""
        await self.runtime.close()
        if self._held is not None:
            self._held.close()

    async def run(self, stopping: asyncio.Event, drained: Callable[[], None] = _nothing) -> None:
        """Run a started node until `stopping` is set or a loop fails; then stop it, as `stop` does.

        Raises `InternalError` when a loop failed.
        """
        await first_of(stopping, self.failed)
        await self.stop(drained)
        self.check_loops()

    @property
    def failed(self) -> asyncio.Event:
        """Set when one of its loops has ended by an error: it cannot go on."""
        return self.runtime.supervisor.failed

    def check_loops(self) -> None:
        """Raise `InternalError` if a loop has ended by an error."""
        if failures := self.runtime.supervisor.failures:
            names = ", ".join(f"{n} ({e!r})" for n, e in failures.items())
            raise InternalError(f"the node stopped because a loop ended by an error: {names}")

    def facts(self) -> dict[str, Any]:
        """What this node is and how it is doing, for people."""
        runtime = self.runtime
        started = datetime.fromtimestamp(self._started / 1e6, UTC)
        return {
            "service": runtime.service.name,
            "version": version("eventmill"),
            "process": os.getpid(),
            "url": self.url,
            "admin_url": self.admin_url,
            "data": str(self.config.data.resolve()),
            "started": started.isoformat(timespec="seconds"),
            "ready": runtime.ready,
            "position": runtime.tails.total,
            "commits": runtime.committer.commits,
            "failures": {n: repr(e) for n, e in runtime.supervisor.failures.items()},
        }

    def _check_unused(self) -> None:
        """Raise `ConfigurationError` that names the node which has the data directory."""
        who = lock.holder(self.config.data)
        if not who:
            return
        with contextlib.suppress(OSError, msgspec.DecodeError, KeyError):
            url = msgspec.json.decode(self._announcement.read_bytes())["url"]
            who += f" (a node runs at {url})"
        raise lock.in_use(self.config.data, who)

    @property
    def _announcement(self) -> Path:
        return self.config.data / ANNOUNCEMENT

    def _addresses(self) -> dict[str, Any]:
        facts = self.facts()
        names = ("service", "version", "process", "url", "admin_url", "started")
        return {name: facts[name] for name in names}

    def _announce(self) -> None:
        self.config.data.mkdir(parents=True, exist_ok=True)
        unfinished = self._announcement.with_suffix(".new")
        unfinished.write_bytes(msgspec.json.encode(self._addresses()))
        unfinished.replace(self._announcement)
        self._announced = True

    async def _serve(
        self,
        app: Callable[..., Awaitable[Any]],
        host: str,
        port: int,
        connections: int,
        *,
        websockets: bool = False,
    ) -> str:
        # Chosen at the last moment: the server shares a port with whoever took it in between.
        port = port or sockets.free_port(host)
        server = Server(
            app,
            address=host,
            port=port,
            interface=Interfaces.ASGINL,
            http=HTTPModes.http1,
            http1_settings=HTTP1Settings(
                header_read_timeout=round(limits.HEADER_SECONDS * 1000),
                max_buffer_size=limits.HEADER_BYTES_MAX,
            ),
            websockets=websockets,
            log_enabled=False,
            backlog=limits.CONNECTIONS_WAITING_MAX,
            backpressure=connections,
        )
        task = asyncio.get_running_loop().create_task(server.serve())
        self._servers.append((server, task))
        await sockets.listening(host, port, task)
        sockets.close_dead(port)
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def first_of(*events: asyncio.Event) -> None:
    """Return when one of them is set."""
    async with asyncio.TaskGroup() as group:
        waits = [group.create_task(event.wait()) for event in events]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()


@contextlib.contextmanager
def _space_told(data: Path) -> Iterator[None]:
    """Say what to do if the disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise StoreFull(
            f"there is no space left for the data directory {data}: free some on its disk, then "
            "start the node again; nothing is lost"
        ) from error


def _push_private(config: NodeConfig) -> bool:
    if config.push_private is not None:
        return config.push_private
    return config.host in ("localhost", "::1") or config.host.startswith("127.")
