"""Replication: replicated entities on one node, put together over the store.

Place on the road: beside the turns of other entities. `before` leads the commands and queries of
replicated entities to the replicas of this node; all others go on as they would without them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

from eventmill.model.commit import Commit
from eventmill.model.definition import Consistency, EntityDefinition
from eventmill.model.entry import DELTAS
from eventmill.model.envelope import Envelope
from eventmill.runtime.dispatch.tails import Tails
from eventmill.runtime.replicated.actors import Actor
from eventmill.runtime.replicated.compactor import Compactor
from eventmill.runtime.replicated.log import NAME, Log
from eventmill.runtime.replicated.replicas import Replicas
from eventmill.runtime.replicated.spreading import DOOR, Spreading
from eventmill.runtime.turns.guards import Guards

if TYPE_CHECKING:
    from eventmill.runtime.cluster.peers import Membership, Peers
    from eventmill.runtime.runtime import Runtime

Execute = Callable[[Envelope], Awaitable[bytes]]


def replication_of(runtime: Runtime, membership: Membership | None) -> Replication | None:
    """Make what a node needs for its replicated entities; None if it has none."""
    if all(one.replicated is None for one in runtime.service.entities.values()):
        return None
    return Replication(runtime, None if membership is None else membership.node)


class Replication:
    """All that replicated entities need on a node. Parameter: `node` is its name, None if it has the
    store for itself."""

    def __init__(self, runtime: Runtime, node: str | None) -> None:
        entities = runtime.service.entities.items()
        self.definitions = {id: one for id, one in entities if one.replicated is not None}
        self.topics = [DELTAS]
        """What the store has to have shards for."""
        self._runtime = runtime
        self._shared = node is not None
        store, committer, clock = runtime.store, runtime.committer, runtime.clock
        self._tails: Tails = runtime.tails if runtime.streams is None else runtime.streams.outbox
        self.log = Log(store, self._tails, clock, shared=self._shared)
        self.actor = Actor(node, store, committer, clock, self._others, self.log.catch_up)
        guards = Guards(enabled=runtime.guarded)
        self.replicas = Replicas(
            self.definitions, store, committer, clock, guards, runtime.room, self.log, self.actor
        )
        self.compactor = Compactor(self.definitions, store, clock)
        self.replicas.on_purge.append(self.compactor.forget)
        self.spreading = Spreading(self.log, clock)
        committer.on_commit.append(self._committed)

    def __repr__(self) -> str:
        return f"<Replication [{', '.join(self.definitions)}]>"

    def before(self, execute: Execute) -> Execute:
        """Return what runs a command or query: here if it is a replicated entity's."""
        ways = {id: self._way(definition) for id, definition in self.definitions.items()}

        def execute_any(envelope: Envelope) -> Awaitable[bytes]:
            return ways.get(envelope.component, execute)(envelope)

        return execute_any

    async def start(self, peers: Peers | None) -> None:
        """Begin. The node is a member of its cluster by now."""
        supervisor = self._runtime.supervisor
        await self.log.start()
        if peers is not None:
            await peers.open(DOOR, self.spreading.answer)
            peers.cluster.on_look.append(lambda: self.spreading.meet(peers))
            self.spreading.meet(peers)
        supervisor.start("replicas: place", self.actor.run())
        if self._shared:
            supervisor.start("replicas: log", self.log.run())
        subscription = await self._runtime.roster.subscribe(NAME, self.compactor, tails=self._tails)
        self.log.compacted = lambda shard: subscription.positions.get(shard, 0)
        trimming = self.compactor.trim_on(lambda: subscription.positions, shared=self._shared)
        supervisor.start("replicas: trim", trimming)

    async def close(self) -> None:
        """Tell the others nothing any more."""
        await self.spreading.close()

    def _way(self, definition: EntityDefinition) -> Execute:
        assert definition.replicated is not None
        consistency = definition.replicated.consistency
        if consistency == "local" or not self._shared:
            return self.replicas.execute
        return partial(self._execute_and_spread, definition, consistency)

    async def _execute_and_spread(
        self, definition: EntityDefinition, consistency: Consistency, envelope: Envelope
    ) -> bytes:
        """Answer a command when enough other nodes have what it changed."""
        reply = await self.replicas.execute(envelope)
        if definition.handlers[envelope.name].writes:
            shard = self._runtime.store.placement.message(DELTAS, envelope.id)
            position = self._tails.end(shard)  # what was just committed is before it
            await self.spreading.reached(shard, position, consistency)
        return reply

    def _committed(self, commit: Commit) -> None:
        self.log.committed(commit)
        self.spreading.committed(commit)

    async def _others(self) -> set[str]:
        peers = self._runtime.peers
        return set() if peers is None else set(await peers.members())
