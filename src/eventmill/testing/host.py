"""A service in process, on a memory store, with guards on and the clock in the test's hand.

    async with Host(service) as host:
        orders_out = host.probe(orders)
        await host.call(Cart.add_item, "c1", sku="x", quantity=1)
        await host.call(Cart.check_out, "c1")
        placed = await orders_out.expect_one(OrderPlaced)

It is the same runtime that a node runs; only the front doors are missing. Time moves only by
`advance` (and by `settle`, when the node waits for nothing but the clock). Retries wait without
jitter, so their times are exact.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from eventmill.adapters.memory.directory import Directory
from eventmill.adapters.memory.store import Store as MemoryStore
from eventmill.adapters.memory.transport import Network, Transport
from eventmill.engine import outgoing
from eventmill.errors import ConfigurationError
from eventmill.http.app import App
from eventmill.http.routes import front
from eventmill.model import limits
from eventmill.model.commit import Letter
from eventmill.model.handler import Handler
from eventmill.model.topic import Topic
from eventmill.ports.broker import Broker
from eventmill.ports.clock import Clock
from eventmill.ports.store import Store
from eventmill.runtime.cluster.beside import Neighbourhood
from eventmill.runtime.dispatch.subscription import Subscription
from eventmill.runtime.operating.operations import Operations
from eventmill.runtime.runtime import Runtime
from eventmill.runtime.topics.neighbours import Neighbours
from eventmill.sdk.handlers import SqlQuery
from eventmill.sdk.service import Service
from eventmill.testing.clock import VirtualClock
from eventmill.testing.faults import FaultyStore
from eventmill.testing.probe import TopicProbe
from eventmill.testing.watched import WatchedStore
from eventmill.testing.web import Web

E = TypeVar("E")
P = ParamSpec("P")
R = TypeVar("R")

STEADY_ROUNDS = 3
"""Turns of the loop in which nothing may have happened before the node counts as settled."""

PATIENT_ROUNDS = 20
"""Turns of the loop without work before what is missing counts as waiting for the clock."""

SOON_MICROSECONDS = 10_000
"""Waits of the dispatch itself, which `settle` goes through."""

STEPS_MAX = 10
"""Stops of one `advance` at most; loops that wake more often wake together."""

NO_JITTER = 0.5


class Host:
    """Runs a service inside a test. Topics of other services are the test's to `publish`, unless
    these run beside it.

    Parameters: `beside` are services that run in the same process, or hosts of them, to be started
    and stopped by this one; `store` keeps the data (default: in memory, gone with the host);
    `clock` is the time; `guards` notices what production code must never do; `cache_entities` and `cache_bytes` bound the entities
    held in memory; `broker` makes a node's way to the broker that has the topics, at each start;
    `patience` is how many real seconds `settle` waits for handlers that await the
    outside world.
    """

    def __init__(
        self,
        service: Service,
        *,
        beside: Sequence[Service | Host] = (),
        store: Store | None = None,
        clock: VirtualClock | None = None,
        broker: Callable[[Clock], Broker] | None = None,
        guards: bool = True,
        cache_entities: int = limits.CACHE_ENTITIES,
        cache_bytes: int = limits.CACHE_BYTES,
        patience: float = 10.0,
    ) -> None:
        self.service = service
        self.store = (
            store if isinstance(store, WatchedStore) else WatchedStore(store or MemoryStore())
        )
        self.clock = clock or VirtualClock()
        self.guards = guards
        self.cache_entities = cache_entities
        self.cache_bytes = cache_bytes
        self.patience = patience
        self._new_broker = store.broker if isinstance(store, FaultyStore) else broker
        self._runtime: Runtime | None = None
        self._front: App | None = None
        self._timer_seen: tuple[int, int | None] | None = None
        """After how many commits the first timer was looked up, and when it is due."""
        others = [one if isinstance(one, Host) else Host(one, guards=guards) for one in beside]
        self.beside = {one.service.name: one for one in others}
        """Hosts of the services that run beside this one, by name."""
        self._all = [self, *others]
        for one in others:
            one.clock, one._all = self.clock, self._all

    def __repr__(self) -> str:
        return f"<Host {self._runtime or self.service!r}>"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self._runtime is None:
            return
        supervisors = [host.runtime.supervisor for host in self._all]
        await self.stop()
        failures = [item for one in supervisors for item in one.failures.items()]
        if error is None and failures:
            name, failure = failures[0]
            raise AssertionError(f"loop {name!r} of the node ended by an error") from failure

    @property
    def runtime(self) -> Runtime:
        """The running node's inside."""
        assert self._runtime is not None, "the host is not running: use `async with Host(…)`"
        return self._runtime

    @property
    def web(self) -> Web:
        """Everything that the node answers over HTTP, without a socket."""
        if self._front is None:
            self._front = front(self.runtime)
        return Web(self._front)

    @property
    def operations(self) -> Operations:
        """What an operator may do: pause, resume, reset, letters, redrive, discard."""
        return Operations(self.runtime)

    async def start(self) -> None:
        """Start the service.

        Raises `ConfigurationError` that lists everything that is wrong with it.
        """
        network, neighbours = Network(self.clock), Neighbours([h.service.name for h in self._all])
        runtimes = [host._new(network, neighbours) for host in self._all]
        opened: list[Runtime] = []
        try:
            for runtime in runtimes:
                await runtime.open()
                opened.append(runtime)
            for runtime in runtimes:
                await runtime.begin()
        except BaseException:
            for runtime in opened:
                await runtime.stop()
            raise

        for host, runtime in zip(self._all, runtimes, strict=True):
            host._runtime, host._front, host._timer_seen = runtime, None, None

    def _new(self, network: Network, neighbours: Neighbours) -> Runtime:
        definition, problems = self.service.define()
        if problems:
            raise ConfigurationError("\n".join(problems))
        # What services publish that are not there, the test does.
        foreign = definition.foreign
        definition.foreign = {
            id: topic for id, topic in foreign.items() if topic.service in neighbours.names
        }
        absent = {id: topic for id, topic in foreign.items() if id not in definition.foreign}
        definition.topics = {**definition.topics, **absent}
        transport = Transport(network, definition.name)
        neighbourhood = Neighbourhood(transport, Directory(transport), neighbours)
        return Runtime(
            definition,
            self.store,
            self.clock,
            lambda: NO_JITTER,
            neighbourhood=neighbourhood if len(self._all) > 1 else None,
            broker=self._new_broker(self.clock) if self._new_broker else None,
            guards=self.guards,
            cache_entities=self.cache_entities,
            cache_bytes=self.cache_bytes,
        )

    async def stop(self) -> None:
        """Stop as a process does: what was accepted is finished, offsets are stored."""
        for host in self._all:
            if host._front is not None:
                host._front.stop()
        for host in self._all:
            await host.runtime.quiet()
        for host in self._all:
            await host.runtime.close()
            host._runtime = None

    async def restart(self, *, crash: bool = False) -> None:
        """Stop and start again on the same store; after a crash nothing is finished first."""
        if crash:
            for host in self._all:
                await host._crash()
        else:
            await self.stop()
        await self.start()

    async def _crash(self) -> None:
        runtime = self.runtime
        self._runtime = None
        await runtime.supervisor.stop(*runtime.supervisor.names())
        if runtime.streams is not None:
            await runtime.streams.close()
        await self.store.close()

    async def call(
        self, handler: Handler[P, R], id: str, /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run a command or query of an entity; return its reply.

        Raises `Rejected` and whatever else the caller of a node would get.
        """
        return await self.runtime.call(handler, id, handler.arguments(args, kwargs))

    async def call_once(
        self, key: str, handler: Handler[P, R], id: str, /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run a command under an idempotency key: a repetition gets the first outcome."""
        return await self.runtime.call(handler, id, handler.arguments(args, kwargs), key)

    async def query(self, handler: Handler[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a view's query, after the views have caught up."""
        if not isinstance(handler, SqlQuery):
            raise ConfigurationError(
                f"host.query() takes a view's query itself, as OpenCarts.larger_than, "
                f"not {handler!r}; an entity's goes through host.call(Cart.content, id)"
            )
        await self.settle()
        return await self.runtime.query(handler, handler.arguments(args, kwargs))

    async def publish(self, topic: Topic[E], *events: E, key: str | None = None) -> None:
        """Append events to a topic, as an outside publisher; under `key`, if the topic does not
        make it, as in a stream of another service."""
        outgoing.check_topic(topic, self.runtime.service.topics)
        await self.runtime.publisher.events(topic, events, key=key)

    def probe(self, topic: Topic[Any]) -> TopicProbe:
        """Watch a topic from now on."""
        return TopicProbe(topic, lambda: self.runtime, self.settle)

    async def letters(self, subscription: str | None = None) -> list[Letter]:
        """Return the parked letters, after everything has settled."""
        await self.settle()
        return await self.operations.letters(subscription, limit=1_000)

    async def settle(self, *, retries: bool = False) -> None:
        """Wait until every running subscription has caught up and nothing is due.

        Retries and timers of the future stay there, unless `retries`: then the clock moves
        through the waits of retries, until each letter is handled or dead.

        Raises `AssertionError` that says what does not come to an end.
        """
        loop = asyncio.get_running_loop()
        give_up = loop.time() + self.patience
        steady = waiting = 0
        while steady < STEADY_ROUNDS:
            if loop.time() > give_up:
                raise AssertionError(f"not settled in {self.patience:g} s: {self._unsettled()}")
            await asyncio.sleep(0)
            if self._are_working():
                steady = waiting = 0
                await self._give_way(loop)
            elif await self._are_settled(retries):
                steady, waiting = steady + 1, 0
            else:
                steady, waiting = 0, waiting + 1
                if waiting > PATIENT_ROUNDS:
                    waiting = 0
                    self._jump()

    async def advance(self, by: timedelta) -> None:
        """Move the clock on; timers and retries on the way happen at their own times."""
        target = self.clock.now() + round(by.total_seconds() * 1e6)
        step = (target - self.clock.now()) // STEPS_MAX
        await self.settle()
        while (now := self.clock.now()) < target:
            stops = [at for host in self._all for at in await host._appointments() if at > now]
            wake = self.clock.next_wake
            if wake is not None:
                stops.append(max(wake, now + step))
            self.clock.move_to(min([*stops, target]))
            await self.settle()

    def _are_working(self) -> bool:
        return any(host._is_working() for host in self._all)

    def _is_working(self) -> bool:
        runtime = self.runtime
        return (
            self.store.under_way > 0
            or runtime.facts.working
            or not runtime.committer.idle
            or (runtime.workflows is not None and runtime.workflows.working)
            or any(subscription.working for subscription in runtime.subscriptions.values())
            or (runtime.streams is not None and runtime.streams.working)
        )

    async def _give_way(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let the loop turn; if that does not end the work, a thread or the outside has it."""
        for _ in range(PATIENT_ROUNDS):
            await asyncio.sleep(0)
            if not self._are_working():
                return
        await asyncio.sleep(0.001)

    async def _are_settled(self, retries: bool) -> bool:
        for host in self._all:
            if not await host._is_settled(retries):
                return False
        return True

    async def _is_settled(self, retries: bool) -> bool:
        horizon = self.clock.now() + SOON_MICROSECONDS
        for subscription in self._running():
            due = [at for at in subscription.blocked.values() if at is not None]
            if subscription.lag or (due if retries else min(due, default=horizon) < horizon):
                return False
        if self.runtime.workflows is not None and self.runtime.workflows.resting:
            return False
        due_at = await self._next_timer()
        return due_at is None or due_at > self.clock.now()

    async def _next_timer(self) -> int | None:
        """When the first timer is due; the store is asked again when that can have changed."""
        written = self.store.written
        if self._timer_seen is None or self._timer_seen[0] != written:
            timers = await self.store.due_timers(2**62, self.runtime.held, limit=1)
            self._timer_seen = (written, timers[0].due if timers else None)
        return self._timer_seen[1]

    def _running(self) -> list[Subscription]:
        return [s for s in self.runtime.subscriptions.values() if not s.paused]

    def _jump(self) -> None:
        wake = self.clock.next_wake
        if wake is not None:
            self.clock.move_to(max(wake, self.clock.now()))

    async def _appointments(self) -> list[int]:
        timer = await self._next_timer()
        return ([] if timer is None else [timer]) + [
            at
            for subscription in self._running()
            for at in subscription.blocked.values()
            if at is not None
        ]

    def _unsettled(self) -> str:
        running = [s for host in self._all for s in host._running()]
        behind = [repr(s) for s in running if s.lag or s.working or s.blocked]
        return ", ".join([*(repr(host.runtime.committer) for host in self._all), *behind])
