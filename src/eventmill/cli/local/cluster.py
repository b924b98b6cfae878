"""The life of a local cluster: servers, then nodes; at the end nodes, drained, then servers.

A node that ends stays down, so that people can see what the others do without it.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from string import ascii_lowercase
from typing import Any, Final, Protocol

from eventmill.cli.local.child import Child
from eventmill.cli.surface.exits import Failure
from eventmill.node.servers.development import DevelopmentServers

STOP_SECONDS: Final = 40.0
"""Longer than a node takes to drain; after this it is killed."""

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Watcher(Protocol):
    """Is told what happens."""

    def said(self, child: Child, line: str) -> None: ...
    def ended(self, child: Child, code: int) -> None: ...
    def stopping(self) -> None: ...


class LocalCluster:
    """Nodes of one or several services on the servers of one directory.

    Parameters: `targets` are the services' names and where each is found; each gets `nodes` nodes
    and a database of its own.
    """

    def __init__(
        self, targets: Mapping[str, str], nodes: int, directory: Path, watcher: Watcher
    ) -> None:
        self.servers = DevelopmentServers(directory, targets)
        self.children: list[Child] = []
        self._targets = dict(targets)
        self._names = list(ascii_lowercase[:nodes])
        self._directory = directory
        self._watcher = watcher
        self._stopping = asyncio.Event()
        self._pipe, self._held = os.pipe()

    def __repr__(self) -> str:
        living = sum(child.lives for child in self.children)
        return f"<LocalCluster {', '.join(self._targets)} [{living} nodes]>"

    async def run(self, when_ready: Callable[[], None]) -> None:
        """Run until a signal comes, or no node is left.

        Raises `Failure` when a node does not start or all have ended, `ConfigurationError` when a
        server does not start.
        """
        self._hear_signals()
        try:
            await self.servers.start()
            if not self._stopping.is_set():
                await self._run_nodes(when_ready)
        finally:
            self._kill_nodes()  # whatever went wrong here: in order they have ended by now
            self.servers.stop()
            os.close(self._pipe)
            os.close(self._held)

    async def _run_nodes(self, when_ready: Callable[[], None]) -> None:
        async with asyncio.TaskGroup() as group:
            lives = [group.create_task(self._live(child)) for child in self._make()]
            if await self._all_ready():
                when_ready()
            stopping = group.create_task(self._stopping.wait())
            ended: asyncio.Future[Any] = asyncio.gather(*lives)
            await asyncio.wait([stopping, ended], return_when=asyncio.FIRST_COMPLETED)
            asked = self._stopping.is_set()
            self._stopping.set()
            await self._stop_nodes(ended)
        if asked:
            return
        if all(child.facts for child in self.children):
            raise Failure("no node is left")
        raise Failure("a node did not start; what it said is above")

    def _hear_signals(self) -> None:
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as `nohup` leaves SIGHUP
                asyncio.get_running_loop().add_signal_handler(number, self._stop)

    def _make(self) -> list[Child]:
        for service, target in self._targets.items():
            options = {"store": self.servers.store(service), "broker": self.servers.broker}
            for node in self._names:
                data = self._directory / service / node
                self.children.append(Child(target, service, node, data, options))
        return self.children

    async def _live(self, child: Child) -> None:
        await child.start(self._pipe)
        code = await child.follow(self._watcher.said)
        if not self._stopping.is_set():
            self._watcher.ended(child, code)

    async def _all_ready(self) -> bool:
        """Wait for all nodes; False: one could not start, or this was stopped meanwhile."""
        for child in self.children:
            await child.ready.wait()
            if not child.facts:
                for other in self.children:
                    other.ask_to_stop()
                return False
        return not self._stopping.is_set()

    async def _stop_nodes(self, ended: asyncio.Future[Any]) -> None:
        for child in self.children:
            child.ask_to_stop()
        await asyncio.wait([ended], timeout=STOP_SECONDS)
        self._kill_nodes()

    def _kill_nodes(self) -> None:
        for child in self.children:
            child.kill()

    def _stop(self) -> None:
        if self._stopping.is_set():  # asked twice
            self._kill_nodes()
            return
        self._watcher.stopping()
        self._stopping.set()
        for child in self.children:
            child.ask_to_stop()
