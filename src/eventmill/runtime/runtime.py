"""The runtime: one node's loops put together over a store, and the doors that lead into it.

Place on the road: all of it but the outside protocols. HTTP, admin, the client in process and the
test kit come in through the methods here; `start` and `stop` say in which order things live.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any, ParamSpec, TypeVar

import structlog

from eventmill.engine import outgoing
from eventmill.engine.causation import caused_by
from eventmill.engine.views.definition import compile_view
from eventmill.errors import NotFound, NotOwner, Unavailable, UnknownHandler, Unreachable
from eventmill.model import limits
from eventmill.model.definition import ServiceDefinition
from eventmill.model.effect import Outgoing
from eventmill.model.entry import Entry
from eventmill.model.envelope import Envelope
from eventmill.model.handler import Handler, Texts
from eventmill.model.topic import Topic
from eventmill.ports.broker import Broker
from eventmill.ports.clock import Clock
from eventmill.ports.sender import Sender
from eventmill.ports.store import Store
from eventmill.runtime.cluster.beside import Beside, Neighbourhood
from eventmill.runtime.cluster.peers import Membership, Peers
from eventmill.runtime.cluster.services import Services
from eventmill.runtime.committer import Committer
from eventmill.runtime.control.control import Control
from eventmill.runtime.control.replays import Replays
from eventmill.runtime.dispatch import courier
from eventmill.runtime.dispatch.action import ActionReaction
from eventmill.runtime.dispatch.changes import Changes
from eventmill.runtime.dispatch.consumer import ConsumerReaction
from eventmill.runtime.dispatch.roster import Roster
from eventmill.runtime.dispatch.subscription import Subscription
from eventmill.runtime.dispatch.tails import Tails
from eventmill.runtime.facts import Facts
from eventmill.runtime.keeping import check_in_store
from eventmill.runtime.pushing.pushes import Pushes
from eventmill.runtime.replicated.replication import Execute, replication_of
from eventmill.runtime.room import Room, RoomMaker
from eventmill.runtime.scheduler import Scheduler
from eventmill.runtime.schedules import Schedules
from eventmill.runtime.supervisor import Supervisor
from eventmill.runtime.topics import relay, streams
from eventmill.runtime.topics.foreign import ForeignTopics, check_reachable
from eventmill.runtime.topics.publisher import Publisher
from eventmill.runtime.topics.readers import Readers
from eventmill.runtime.topics.retention import Retention
from eventmill.runtime.topics.streams import Streams
from eventmill.runtime.transforms import starting as transforms
from eventmill.runtime.turns import past
from eventmill.runtime.turns.guards import Guards
from eventmill.runtime.turns.turn import Entities
from eventmill.runtime.views.opening import Surroundings
from eventmill.runtime.views.views import Answer, Views
from eventmill.runtime.workflows import waiting
from eventmill.runtime.workflows.attempts import Attempts
from eventmill.runtime.workflows.runner import Runner
from eventmill.sdk.context import Request

log = structlog.get_logger()

P = ParamSpec("P")
R = TypeVar("R")


class Runtime:
    """One service on one node.

    Parameters: `guards` turns the checks of development and tests on; `cache_entities` and
    `cache_bytes` bound the entities held in memory; `luck` is uniform in [0, 1), for jitter;
    `sender` carries pushed subscriptions; `membership` makes it one of several nodes of a shared
    store, `neighbourhood` one of several services in a process; with a `broker`, topics live there,
    `replicas` times, and in the store is only their outbox.
    """

    def __init__(
        self,
        service: ServiceDefinition,
        store: Store,
        clock: Clock,
        luck: Callable[[], float],
        *,
        membership: Membership | None = None,
        neighbourhood: Neighbourhood | None = None,
        sender: Sender | None = None,
        broker: Broker | None = None,
        replicas: int = 1,
        guards: bool = False,
        cache_entities: int = limits.CACHE_ENTITIES,
        cache_bytes: int = limits.CACHE_BYTES,
    ) -> None:
        self.service = service
        self.store = store
        self.clock = clock
        self.guarded = guards
        self.supervisor = Supervisor()
        self.committer = Committer(store)
        self.held: set[int] = set()
        """Home shards whose turns run here, now. Subscriptions follow fewer for a moment, when shards come
        or go: `roster.followed`."""
        self.room = Room()
        self.entities = Entities(
            service.entities,
            store,
            self.committer,
            clock,
            Guards(enabled=guards),
            self.held,
            self.room,
            cache_entities=cache_entities,
            cache_bytes=cache_bytes,
        )
        self.publisher = Publisher(store, self.committer, clock, self.room)
        self.tails = Tails(store.journal)
        self.changes = Changes(frozenset(service.entities), store, self.tails, clock)
        self.facts = Facts(store, self.committer, clock, shared=membership is not None)
        self.roster = Roster(
            store, self.tails, self.committer, self.facts, self.supervisor, clock, luck
        )
        self.subscriptions = self.roster.subscriptions
        self.schedules, self.scheduler = self._timers()
        self.readers = Readers(
            store, clock, self.subscriptions, self.in_use_elsewhere, self._read_beside
        )
        self.retention = Retention(
            service.topics, store, clock, self.held, self.subscriptions, self.readers, broker
        )
        self.committer.on_commit.append(self.tails.extend)
        self.committer.on_failure.append(lambda batch: self.tails.doubt())
        self.streams = Streams(self, broker, replicas) if broker else None
        """Its topics, if they live in a broker."""
        self.replication = replication_of(self, membership)
        self.views = Views(
            {id: (view, compile_view(view)) for id, view in service.views.items()},
            self._surroundings(shared=membership is not None),
        )
        self.pushes = Pushes(self, sender, luck)
        self.replays = Replays(self)
        self.peers = Peers(self, membership) if membership is not None else None
        self.beside = Beside(self, neighbourhood) if neighbourhood is not None else None

        self.control = Control(self, self.peers)
        alone = self.executing(self.entities.execute)
        self.execute = alone if self.peers is None else self.peers.execute
        """Runs a command or query of an entity, wherever it lives."""
        self.workflows = self._runner(luck)
        """Runs the steps of workflows, if the service has any."""
        self.ready = False

    def __repr__(self) -> str:
        return f"<Runtime {self.service.name} [{'ready' if self.ready else 'not ready'}]>"

    @property
    def services(self) -> Services | None:
        """The door to other services, if any can be met."""
        meeting = self.peers or self.beside
        return None if meeting is None else meeting.services

    @property
    def foreign(self) -> ForeignTopics | None:
        """Topics of other services, if any can be read."""
        place = self.streams or self.beside
        return None if place is None else place.foreign

    async def start(self) -> None:
        """Open the store and start every loop; ready when it returns.

        Raises `ConfigurationError` when the store cannot be taken; nothing is left running then.
        """
        await self.open()
        await self.begin()

    async def open(self) -> None:
        """Take the store, run commands and queries, and let neighbours come in; nothing happens by
        itself yet: others of the process may still be opening.

        Raises as `start`.
        """
        await self.store.open()
        async with self._stopped_on_error():
            await self._open()

    async def begin(self) -> None:
        """Start what happens by itself: reactions, timers, retention.

        Raises as `start`.
        """
        async with self._stopped_on_error():
            await self._begin()
        self.ready = True

    @asynccontextmanager
    async def _stopped_on_error(self) -> AsyncIterator[None]:
        try:
            yield
        except BaseException:
            await self.stop()
            raise

    async def _open(self) -> None:
        if self.streams is None:
            names = self.beside.names if self.beside is not None else ()
            check_reachable(self.service.foreign, names)
            is_alone = self.peers is None and self.store.placement.shards == 1
            check_in_store(self.service.topics.values(), is_alone=is_alone)
        topics = [*self.service.topics, *self.service.foreign]
        if self.replication is not None:
            topics += self.replication.topics
        placement = await self.store.place(topics)
        self.supervisor.start("committer", self.committer.run())
        await streams.settle_place(self.store, self.committer, in_broker=self.streams is not None)
        if self.streams is None:
            foreign = {shard for id in self.service.foreign for shard in placement.of_topic(id)}
            await self.tails.start([s for s in placement.all() if s not in foreign])
        else:
            await self.streams.start()
        if self.peers is None:
            await self.serve(range(placement.shards))
            await self.follow(range(placement.shards))
        else:
            await self.peers.start()
        if self.beside is not None:
            await self.beside.open()
        # Not sooner: others take a member's word for what it runs.
        await self.facts.start()
        await self.roster.start()

    async def _begin(self) -> None:
        if self.foreign is not None:
            await self.foreign.start()
        subscribe = self.roster.subscribe
        replicas = None
        if self.replication is not None:
            await self.replication.start(self.peers)
            replicas = self.replication.replicas
        actions = self.service.actions
        deliver = courier.Courier(self.entities, self.execute, self.store, actions, replicas)
        await subscribe(courier.NAME, deliver)
        if self.streams is not None:
            await subscribe(relay.NAME, self.streams.relay, tails=self.streams.outbox)
        for consumer in self.service.consumers.values():
            reaction = ConsumerReaction(
                consumer, self, self.store, self.clock, self.room, guarded=self.guarded
            )
            await subscribe(consumer.subscription, reaction, consumer.start)
        for id, action in self.service.actions.items():
            reaction = ActionReaction(
                action, self, self.store, self.clock, self.room, guarded=self.guarded
            )
            await subscribe(id, reaction)
        await self.views.start()
        await transforms.start(self)
        await self.pushes.start()
        await self.replays.start()
        self.supervisor.start("facts", self.facts.run())
        if self.workflows is not None:
            await waiting.subscribe(self)
            self.supervisor.start("workflows", self.workflows.run())
            self.supervisor.start("holding", self.workflows.holding.run())
        self.supervisor.start("changes", self.changes.run())
        self.supervisor.start("scheduler", self.scheduler.run())
        self.supervisor.start("sweeper", self.scheduler.run_sweeps())
        if self.retention.topics:
            self.supervisor.start("retention", self.retention.run())
        place = self.retention.shelf if self.streams is None else self.streams.place
        if place.bounds:
            self.supervisor.start("room", RoomMaker(self, place).run())

    async def stop(self) -> None:
        """Finish what was accepted, store the offsets, give the store back."""
        await self.quiet()
        await self.close()

    async def quiet(self) -> None:
        """End what happens by itself. Commands are run as before: neighbours may wait for some."""
        self.ready = False
        if self.replication is not None:
            await self.replication.close()
        if self.peers is not None:
            await self.peers.stop()
        loops = [name for name in self.supervisor.names() if name != "committer"]
        await self.supervisor.stop(*loops)

    async def close(self) -> None:
        """Be there for nobody any more, store the offsets, give the store back."""
        if self.beside is not None:
            await self.beside.close()
        try:
            for subscription in self.subscriptions.values():
                await subscription.flush()
        except Unavailable as error:
            # Offsets that were not stored are only read again: their effects are in the commits.
            log.warning("offsets not stored", error=str(error))
        finally:
            self.committer.stop()
            await self.supervisor.join("committer")
            await self.pushes.stop()
            if self.streams is not None:
                await self.streams.close()
            await self.store.close()

    def executing(self, execute: Execute) -> Execute:
        """Return what runs commands and queries, those of replicated entities on this very node."""
        return execute if self.replication is None else self.replication.before(execute)

    async def serve(self, homes: Collection[int]) -> None:
        """Begin the turns of home shards, which this node holds in the store from now on."""
        await self.look()
        for home in homes:
            self.entities.cells.leave(home)
        self.held.update(homes)

    async def follow(self, homes: Collection[int]) -> None:
        """Begin the rest of their work. Nobody waits for that: it may have to read much before."""
        if self.streams is not None:
            await self.streams.follow(shard for home in homes for shard in self._messages_of(home))
        await self.roster.take(homes)
        self.scheduler.wake()
        if self.workflows is not None:
            self.workflows.look()

    def withdraw(self, homes: Collection[int]) -> None:
        """Begin no more turns of home shards."""
        self.held.difference_update(homes)

    async def leave(self, homes: Collection[int]) -> None:
        """End the work of home shards: what is under way is finished, then nothing is held.

        Reactions end first, while turns go on: a batch may take long, and may wait for an entity of
        these shards. What turns append meanwhile is read by the next node, from the offsets stored
        here. So a shard is without turns for one commit only, however long its consumers took.
        """
        await self.roster.leave(homes)
        self.withdraw(homes)
        if self.workflows is not None:
            await self.workflows.leave(homes)
        await self.committer.drained()  # no turn of the shards begins any more
        for home in homes:
            if self.streams is not None:
                self.streams.leave(self._messages_of(home))
            self.entities.cells.leave(home)

    async def look(self) -> None:
        """Find out what is new in the store."""
        await self.tails.look()
        if self.streams is not None:
            await self.streams.outbox.look()

    async def in_use_elsewhere(self) -> set[str]:
        """Subscriptions and versions of views that other nodes have."""
        return await self.control.in_use_elsewhere()

    async def _read_beside(self) -> Mapping[str, int]:
        return {} if self.beside is None else await self.beside.read()

    def _surroundings(self, *, shared: bool) -> Surroundings:
        return Surroundings(
            self.store,
            self.tails,
            self.clock,
            self.supervisor,
            self.facts,
            self.roster,
            self.in_use_elsewhere,
            shared=shared,
        )

    def _timers(self) -> tuple[Schedules, Scheduler]:
        store, committer, clock, held = self.store, self.committer, self.clock, self.held
        schedules = Schedules(self.service.actions, store, committer, clock, self.facts, held)
        return schedules, Scheduler(store, committer, clock, held, self.subscriptions, schedules)

    def _runner(self, luck: Callable[[], float]) -> Runner | None:
        if not any(entity.workflow for entity in self.service.entities.values()):
            return None
        attempts = Attempts(self, self.clock, luck, guarded=self.guarded)
        store, committer = self.store, self.committer
        runner = Runner(self.entities, store, committer, self.clock, attempts, self.held)
        self.scheduler.on_due = runner.due
        return runner

    def _messages_of(self, home: int) -> list[int]:
        return self.store.placement.read_by(home, [*self.service.topics, *self.service.foreign])

    def subscription(self, name: str) -> Subscription:
        """Return a running subscription.

        Raises `NotFound`.
        """
        return self.roster.subscription(name)

    async def call(
        self,
        handler: Handler[P, R],
        id: str,
        arguments: tuple[Any, ...],
        idempotency_key: str | None = None,
        cause: Entry | None = None,
    ) -> R:
        """Run a command or query of an entity; return its decoded reply."""
        metadata = caused_by(cause) if cause is not None else None
        envelope = Envelope(
            handler.component,
            id,
            handler.name,
            arguments,
            idempotency_key,
            metadata=metadata,
            keeps_rejection=cause is None,
        )
        reply: R = handler.decode_reply(await self.execute(envelope))
        return reply

    async def ask_past(
        self,
        handler: Handler[Any, Any],
        id: str,
        arguments: tuple[Any, ...],
        *,
        sequence: int | None,
        time: int | None,
    ) -> bytes:
        """Run a query on an entity as it was; return its encoded answer. See `turns.past`."""
        definition = self.entities.definition(handler.component)
        return await past.query(
            self.store.journal, definition, handler, id, arguments, sequence=sequence, time=time
        )

    async def ask(self, request: Request) -> bytes:
        """Let another service run a command or query; return its encoded reply.

        Raises `Unreachable` with the code `unavailable.service` if there is none of that name.
        """
        if self.services is None:
            raise Unreachable(
                f"service {request.service!r} cannot be called: this node meets no others",
                code="unavailable.service",
            )
        return await self.services.ask(request)

    async def announce(self, facts: dict[str, Any]) -> None:
        """Let other services, and people, find this node."""
        if (meeting := self.peers or self.beside) is not None:
            await meeting.announce(facts)

    async def publish(
        self, topic: Topic[Any], events: tuple[Any, ...], key: str | None = None
    ) -> None:
        """Append events to a topic.

        Raises `HandlerFailed` for a topic that is not the service's.
        """
        outgoing.check_topic(topic, self.service.topics)
        await self.publisher.events(topic, events, dedupe=key)

    async def set_timer(self, change: Outgoing, cause: Entry | None) -> None:
        """Set or remove a timer. Without a cause it belongs to any shard of this node.

        Raises `NotOwner` if this node has none.
        """
        placement = self.store.placement
        home = next(iter(self.held), None) if cause is None else placement.home(cause.shard)
        if home is None:
            raise NotOwner("this node holds no shards now, so it can set no timer")
        metadata = caused_by(cause) if cause is not None else None
        author = outgoing.Author("ctx.schedule", self.service.topics, placement, home)
        changed = outgoing.expand((change,), self.clock.now(), metadata, author)
        await self.committer.write(changed.add_to)

    async def query(self, handler: Handler[P, R], arguments: tuple[Any, ...]) -> R:
        """Run a view's query; return its typed result."""
        result: R = await self.views.query(handler.component, handler.name, arguments)
        return result

    async def query_view(self, view: str, query: str, texts: Texts) -> Answer[bytes]:
        """Run a view's query with arguments given as texts; return JSON."""
        arguments = self._view_query(view, query).parse_arguments(texts)
        return await self.views.reply(view, query, arguments)

    async def stream_view(self, view: str, query: str, texts: Texts) -> Answer[list[bytes]]:
        """The same, JSON by row."""
        arguments = self._view_query(view, query).parse_arguments(texts)
        return await self.views.items(view, query, arguments)

    def watch_view(self, view: str, query: str, texts: Texts) -> AsyncIterator[list[bytes]]:
        """Follow a view's query; yields lists of rows as JSON."""
        arguments = self._view_query(view, query).parse_arguments(texts)
        return self.views.watch(view, query, arguments)

    def _view_query(self, view: str, query: str) -> Handler[Any, Any]:
        definition = self.service.views.get(view)
        if definition is None:
            known = ", ".join(self.service.views) or "none"
            raise NotFound(f"no view {view!r}; there is {known}")
        found = definition.queries.get(query)
        if found is None:
            known = ", ".join(definition.queries) or "none"
            raise UnknownHandler(f"view {view!r} has no query {query!r}; there is {known}")
        return found.handler

    @asynccontextmanager
    async def following(self, topic: str) -> AsyncIterator[None]:
        """Keep the ends of all shards of a topic up to date meanwhile, whoever holds them."""
        shards = list(self.store.placement.of_topic(topic))
        if self.streams is not None:
            await self.streams.follow(shards)
        try:
            yield
        finally:
            if self.streams is not None:
                self.streams.leave(shards)

    def topic(self, id: str) -> Topic[Any]:
        """Return a topic of the service.

        Raises `NotFound`.
        """
        topic = self.service.topics.get(id)
        if topic is None:
            known = ", ".join(self.service.topics) or "none"
            raise NotFound(f"no topic {id!r}; there is {known}")
        return topic
