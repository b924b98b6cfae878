"""One process: one service, or several that find each other by name, each with a store of its own.

Start and stop go step by step through all of them: no reaction runs before every service can be
called, none is left when the first one cannot be any more.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import structlog

from eventmill.adapters.clock import SystemClock
from eventmill.adapters.sqlite.connection import FILE
from eventmill.errors import ConfigurationError, EventmillError
from eventmill.node import sockets
from eventmill.node.config import NodeConfig
from eventmill.node.engine import Surroundings
from eventmill.node.node import Node, first_of
from eventmill.sdk.service import Service

Step = Callable[[Node], Coroutine[Any, Any, None]]


class Process:
    """Runs services.

    Parameters: `config` is for one service as it is; several share its ports out (the first has
    `port`, the next one the port after it) and its caches, and have a directory each, named after
    them, in `data`.
    """

    def __init__(self, services: Sequence[Service], config: NodeConfig) -> None:
        configs = [config] if len(services) == 1 else _shared_out(services, config)
        around = Surroundings([service.name for service in services], SystemClock())
        if len(services) == 1:
            _check_alone(services[0], config)
        self.nodes = [Node(s, c, around) for s, c in zip(services, configs, strict=True)]
        self._contexts = {node: contextvars.copy_context() for node in self.nodes}
        if len(services) > 1:
            for node, context in self._contexts.items():
                context.run(structlog.contextvars.bind_contextvars, service=_name(node))

    def __repr__(self) -> str:
        return f"<Process {self.nodes}>"

    async def start(self) -> None:
        """Start all services, step by step and in their order; all of them answer when it returns.

        Raises what the start of a `Node` does, with the service's name; none is left running then.
        """
        connections = sockets.connections_possible() // len(self.nodes)
        steps: list[Step] = [Node.open, Node.begin, lambda node: node.listen(connections)]
        for node in self.nodes:
            with self._named(node):
                node.check()
        try:
            for step in steps:
                for node in self.nodes:
                    await self._do(step, node)
        except BaseException:
            await self.stop()
            raise

    async def stop(self, drained: Callable[[], None] = lambda: None) -> None:
        """Stop all services, the last one first; nothing that was accepted is lost.

        Parameter: `drained` is called when the requests under way have been answered, or have had
        their time.
        """
        await asyncio.gather(*[node.drain() for node in self.nodes])
        drained()
        failed: list[BaseException] = []
        for step in (Node.quiet, Node.close):
            for node in reversed(self.nodes):
                try:
                    await self._do(step, node)
                except Exception as error:  # the others are to be stopped all the same
                    failed.append(error)
        if failed:
            raise failed[0]

    async def run(
        self, stopping: asyncio.Event, drained: Callable[[], None] = lambda: None
    ) -> None:
        """Run until `stopping` is set or a loop of a service fails; then stop all.

        Raises `InternalError` when a loop failed.
        """
        await first_of(stopping, *[node.failed for node in self.nodes])
        await self.stop(drained)
        for node in self.nodes:
            with self._named(node):
                node.check_loops()

    async def _do(self, step: Step, node: Node) -> None:
        """Do a step for a service; what it logs, then and later, bears its name."""
        with self._named(node):
            context = self._contexts[node]
            await asyncio.get_running_loop().create_task(step(node), context=context)

    @contextmanager
    def _named(self, node: Node) -> Iterator[None]:
        """Say whose error it is."""
        try:
            yield
        except EventmillError as error:
            if len(self.nodes) == 1:
                raise
            told = f"service {_name(node)!r}: {error.message}"
            raise type(error)(told, code=error.code, details=error.details) from error


def _name(node: Node) -> str:
    return node.runtime.service.name


def _shared_out(services: Sequence[Service], config: NodeConfig) -> list[NodeConfig]:
    """Return the settings of each of several services.

    Raises `ConfigurationError` for settings that are for one, and for names that are not of their
    own.
    """
    names = [service.name for service in services]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ConfigurationError(f"several services are named {min(twice)!r}: rename all but one")
    if config.store or config.broker:
        raise ConfigurationError(
            "several services in one process have a store each, in --data: with --store or "
            "--broker start one process for each of them"
        )
    if (config.data / FILE).exists():
        raise ConfigurationError(
            f"{config.data} holds the store of one service that ran alone: move what is in it to "
            f"{config.data}/NAME, NAME being the service's, or choose another --data"
        )
    count = len(services)
    return [
        replace(
            config,
            data=config.data / name,
            port=config.port and config.port + nth,
            admin_port=config.admin_port and config.admin_port + nth,
            cache_entities=max(1, config.cache_entities // count),
            cache_bytes=config.cache_bytes // count,
        )
        for nth, name in enumerate(names)
    ]


def _check_alone(service: Service, config: NodeConfig) -> None:
    """Raise `ConfigurationError` if the service's store is where it runs with others."""
    beside = config.data / service.name
    if not config.store and (beside / FILE).exists() and not (config.data / FILE).exists():
        raise ConfigurationError(
            f"{beside} holds the store of this service, from a process of several: to run it "
            f"alone, give it --data {beside}"
        )
