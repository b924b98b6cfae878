"""The runtime: one node's loops put together over a store.

Place on the road: all of it but the outside protocols. What comes in comes through its doors
(`runtime.doors`); `start` and `stop` say in which order things live.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any, ParamSpec, TypeVar

import structlog

from eventmill.errors import Unavailable
from eventmill.model import limits
from eventmill.model.definition import ServiceDefinition
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
from eventmill.runtime.dispatch import starting as dispatch
from eventmill.runtime.dispatch.changes import Changes
from eventmill.runtime.dispatch.roster import Roster
from eventmill.runtime.dispatch.subscription import Subscription
from eventmill.runtime.dispatch.tails import Tails
from eventmill.runtime.doors import Doors
from eventmill.runtime.facts import Facts
from eventmill.runtime.histories import Histories
from eventmill.runtime.keeping import check_in_store
from eventmill.runtime.pushing.pushes import Pushes
from eventmill.runtime.replicated.replication import Execute, replication_of
from eventmill.runtime.room import Room, RoomMaker
from eventmill.runtime.scheduler import Scheduler
from eventmill.runtime.schedules import Schedules
from eventmill.runtime.supervisor import Supervisor
from eventmill.runtime.topics import streams
from eventmill.runtime.topics.foreign import ForeignTopics, check_reachable
from eventmill.runtime.topics.publisher import Publisher
from eventmill.runtime.topics.readers import Readers
from eventmill.runtime.topics.retention import Retention
from eventmill.runtime.topics.streams import Streams
from eventmill.runtime.transforms import starting as transforms
from eventmill.runtime.turns.guards import Guards
from eventmill.runtime.turns.turn import Entities
from eventmill.runtime.views.opening import Surroundings
from eventmill.runtime.views.views import Views
from eventmill.runtime.workflows import starting as workflows

log = structlog.get_logger()

P = ParamSpec("P")
R = TypeVar("R")


class Runtime(Doors):
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
        self.service, self.store, self.clock = service, store, clock
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
        self.readers = Readers(self)
        self.retention = Retention(self, broker)
        self.histories = Histories(service.entities, store, self.committer, clock, self.held)
        self.tails.follow(self.committer)
        self.streams = Streams(self, broker, replicas) if broker else None
        """Its topics, if they live in a broker."""
        self.replication = replication_of(self, membership)
        self.views = Views(service.views, Surroundings.of(self, shared=membership is not None))
        self.pushes = Pushes(self, sender, luck)
        self.replays = Replays(self)
        self.peers = Peers(self, membership) if membership is not None else None
        self.beside = Beside(self, neighbourhood) if neighbourhood is not None else None
        self.control = Control(self, self.peers)
        self.execute = self.peers.execute if self.peers else self.executing(self.entities.execute)
        self.workflows = workflows.runner_of(self, luck)
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
        if self.streams is None:  # first: who is refused leaves no store, which others would meet
            names = self.beside.names if self.beside is not None else ()
            check_reachable(self.service.foreign, names)
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
        if self.replication is not None:
            await self.replication.start(self.peers)
        if self.streams is not None:
            await self.streams.begin()
        await dispatch.start(self)
        await self.views.start()
        await transforms.start(self)
        await self.pushes.start()
        await self.replays.start()
        if self.workflows is not None:
            await workflows.start(self, self.workflows)
        self._start_loops()

    def _start_loops(self) -> None:
        self.supervisor.start("facts", self.facts.run())
        self.supervisor.start("changes", self.changes.run())
        self.supervisor.start("scheduler", self.scheduler.run())
        self.supervisor.start("sweeper", self.scheduler.run_sweeps())
        if self.histories.sources:
            self.supervisor.start("histories", self.histories.run())
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

    async def read_beside(self) -> Mapping[str, int]:
        """Up to where services of the same process have read topics."""
        return {} if self.beside is None else await self.beside.read()

    def _timers(self) -> tuple[Schedules, Scheduler]:
        store, committer, clock, held = self.store, self.committer, self.clock, self.held
        schedules = Schedules(self.service.actions, store, committer, clock, self.facts, held)
        return schedules, Scheduler(store, committer, clock, held, self.subscriptions, schedules)

    def _messages_of(self, home: int) -> list[int]:
        return self.store.placement.read_by(home, [*self.service.topics, *self.service.foreign])

    def subscription(self, name: str) -> Subscription:
        """Return a running subscription.

        Raises `NotFound`.
        """
        return self.roster.subscription(name)

    async def announce(self, facts: dict[str, Any]) -> None:
        """Let other services, and people, find this node."""
        if (meeting := self.peers or self.beside) is not None:
            await meeting.announce(facts)

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
