"""Several nodes in one process: one memory store, one network, one clock in the test's hand, and one
broker if topics shall live there."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

from eventmill import Service
from eventmill.adapters.memory.broker import Broker, Topics
from eventmill.adapters.memory.directory import Directory
from eventmill.adapters.memory.leases import Leases
from eventmill.adapters.memory.store import Store
from eventmill.adapters.memory.transport import Network, Transport
from eventmill.http.app import App
from eventmill.http.routes import front
from eventmill.model.handler import Handler
from eventmill.ports.cluster import ALONE
from eventmill.ports.sender import Sender
from eventmill.runtime.cluster.peers import Membership
from eventmill.runtime.operating.operations import Operations
from eventmill.runtime.runtime import Runtime
from eventmill.testing.clock import VirtualClock
from eventmill.testing.faults import FaultyStore

SHARDS = 16
ROUNDS = 40
"""Turns of the loop after each step of the clock."""


class Nodes:
    """Nodes that come and go.

    Parameters: `beside` are those of another service, on one network and, if both have one, at one
    broker; `shards` is how many home shards the store has.
    """

    def __init__(
        self,
        service: Service,
        sender: Sender | None = None,
        *,
        beside: Nodes | None = None,
        broker: bool = False,
        shards: int = SHARDS,
    ) -> None:
        self.clock = beside.clock if beside else VirtualClock()
        others = beside.topics if beside else None
        self.topics = Topics(self.clock, service.name, beside=others) if broker else None
        self.stores: dict[str, FaultyStore] = {}
        self.store = Store(shards)
        self.leases = Leases(self.store, self.clock)
        self.network = beside.network if beside else Network(self.clock)
        self.service = service
        """What nodes are started with from now on."""
        self.sender = sender
        self.running: dict[str, Runtime] = {}
        self._lives = itertools.count(1)

    async def start(self, *names: str, settle: float = 10, alone: bool = False) -> None:
        """Start nodes one after the other, and let them settle for so many seconds. Parameter:
        `alone` is how a node without a broker to meet others at starts."""
        for name in names:
            transport = Transport(self.network, self.place(name))
            membership = Membership(
                name,
                f"{ALONE if alone else self.service.name + '/'}{name}-{next(self._lives)}",
                self.leases,
                transport,
                Directory(transport),
                not alone,
            )
            definition, problems = self.service.define()
            assert problems == []
            self.stores[name] = FaultyStore(Store(beside=self.store))
            runtime = Runtime(
                definition,
                self.stores[name],
                self.clock,
                lambda: 0.5,
                guards=True,
                membership=membership,
                sender=self.sender,
                broker=Broker(self.topics) if self.topics else None,
            )
            await self.while_time_passes(runtime.start())
            self.running[name] = runtime
            assert runtime.peers is not None
            await runtime.peers.announce({"version": "1", "url": f"http://{name}"})
        await self.advance(settle)

    def place(self, name: str) -> str:
        """Name of a node in the network."""
        return f"{self.service.name}-{name}"

    def part(self, *groups: set[str]) -> None:
        """Let only nodes of the same group reach each other, until `network.heal`."""
        self.network.part(*({self.place(name) for name in group} for group in groups))

    def pause(self, name: str) -> None:
        """Stop a node's sending and receiving."""
        self.network.pause(self.place(name))

    def resume(self, name: str) -> None:
        """Let it go on."""
        self.network.resume(self.place(name))

    async def stop(self, name: str) -> None:
        """Stop a node as an operator does."""
        await self.while_time_passes(self.running.pop(name).stop())

    async def freeze(self, name: str) -> Runtime:
        """Stop everything that a node does by itself, as SIGSTOP does; return it."""
        runtime = self.running.pop(name)
        loops = ("cluster", "taking", "following", "giving", "news", "telling")
        await runtime.supervisor.stop(*loops)
        return runtime

    async def thaw(self, frozen: Runtime) -> None:
        """Let a frozen node go on, as SIGCONT does, beside those that run."""
        assert frozen.peers is not None
        cluster = frozen.peers.cluster
        for name, loop in (
            ("cluster", cluster.run),
            ("taking", cluster.take),
            ("following", cluster.follow),
            ("giving", cluster.give),
        ):
            frozen.supervisor.start(name, loop())

    async def crash(self, name: str) -> None:
        """End a node without a word."""
        runtime = self.running.pop(name)
        await runtime.supervisor.stop(*runtime.supervisor.names())
        await self.network.nodes[self.place(name)].close()

    async def close(self) -> None:
        for name in list(self.running):
            await self.stop(name)

    async def call(self, node: str, handler: Handler[Any, Any], id: str, *args: Any) -> Any:
        """Call an entity through a node."""
        arguments = handler.arguments(args, {})
        return await self.while_time_passes(self.running[node].call(handler, id, arguments))

    def front(self, node: str) -> App:
        """What a node answers over HTTP."""
        return front(self.running[node])

    def operations(self, node: str) -> Operations:
        """What an operator may do on a node."""
        return Operations(self.running[node])

    async def until(self, condition: Callable[[], bool], seconds: float = 30) -> None:
        """Let time pass until something is so."""
        for _ in range(round(seconds / 0.05)):
            if condition():
                return
            await self._step(0.05)
        raise AssertionError(f"it did not become so within {seconds:g} s")

    async def while_time_passes(self, work: Any) -> Any:
        """Do something that may wait for the clock."""
        task = asyncio.ensure_future(work)
        for _ in range(2_000):
            if task.done():
                return await task
            await self._step(0.05)
        task.cancel()
        raise AssertionError("it does not come to an end")

    async def advance(self, seconds: float, step: float = 0.05) -> None:
        """Let time pass."""
        for _ in range(round(seconds / step)):
            await self._step(step)

    async def _step(self, seconds: float) -> None:
        await self._turn()
        self.clock.move_to(self.clock.now() + round(seconds * 1e6))
        await self._turn()

    async def _turn(self) -> None:
        """Let everybody work who can: until nobody has anything to do, or so many rounds.

        What a thread does is not seen: a test that needs it waits while the clock stands.
        """
        ready = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]
        for _ in range(ROUNDS):
            await asyncio.sleep(0)
            if not ready:
                return

    def id_at(self, name: str) -> str:
        """An id whose shard a node has."""
        held = self.running[name].held
        return next(id for n in range(100) if self.store.placement.entity(id := f"c{n}") in held)

    def held(self) -> dict[str, set[int]]:
        """Which node does the work of which shards."""
        return {name: set(runtime.held) for name, runtime in self.running.items()}
