"""The router: runs a command where its entity lives, here or on another node.

Place on the road: routing. The shard of an entity follows from its id alone; who holds the shard
is what the cluster saw last. A wrong guess is answered with `NotOwner`, before anything happened,
and costs another look and another try.

Invariant: an envelope is sent again only if it had no effect, or a second one is none: a query, or a
command whose first answer is stored under its key.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from eventmill.errors import NotOwner, Unreachable
from eventmill.model import limits
from eventmill.model.envelope import Envelope
from eventmill.ports.clock import Clock
from eventmill.ports.store import Store
from eventmill.runtime.cluster.cluster import Cluster
from eventmill.runtime.cluster.forwarding import Forwarder
from eventmill.runtime.turns.turn import Entities

ROUTE_SECONDS: Final = 15.0
"""How long a command without a deadline waits for a shard that moves: a lease and a half."""

DELIVERY_SECONDS: Final = 1.0
"""How long a sent command waits: the courier comes again, and shards cannot be taken meanwhile."""

LOOK_SECONDS: Final = 0.05
"""Pause before a shard is looked for again, if nothing was seen to move."""


class Router:
    """Finds the node of each entity.

    Parameters: `held` are the home shards whose work is done here, now.
    """

    def __init__(
        self,
        store: Store,
        entities: Entities,
        held: Collection[int],
        cluster: Cluster,
        forwarder: Forwarder,
        clock: Clock,
    ) -> None:
        self._store = store
        self._entities = entities
        self._held = held
        self._cluster = cluster
        self._forwarder = forwarder
        self._clock = clock
        self._waiting = 0
        """Requests for shards that nobody serves now."""

    async def execute(self, envelope: Envelope) -> bytes:
        """Run one command or query; return its encoded reply when all it caused is durable.

        Raises what `Entities.execute` raises, and `NotOwner` or `Unreachable` when its shard was
        nowhere to be found in time.
        """
        shard = self._store.placement.entity(envelope.id)
        patience = ROUTE_SECONDS if envelope.origin is None else DELIVERY_SECONDS
        give_up = self._clock.monotonic() + patience
        if envelope.deadline is not None:
            give_up = min(give_up, envelope.deadline)
        try:
            return await self._once(shard, envelope)
        except (NotOwner, Unreachable):
            if self._waiting >= limits.ROUTED_WAITING_MAX:
                raise
        self._waiting += 1
        try:
            return await self._again(shard, envelope, give_up)
        finally:
            self._waiting -= 1

    async def _again(self, shard: int, envelope: Envelope, give_up: float) -> bytes:
        """Look for the shard's node until it is time to give up."""
        while True:
            await self._cluster.moved(LOOK_SECONDS)
            try:
                return await self._once(shard, envelope)
            except (NotOwner, Unreachable):
                if self._clock.monotonic() + LOOK_SECONDS >= give_up:
                    raise

    async def _once(self, shard: int, envelope: Envelope) -> bytes:
        if shard in self._held:
            return await self._entities.execute(envelope)
        address = self._cluster.addresses.get(shard)
        if address is None or address == self._cluster.address:
            raise NotOwner(f"nobody holds shard {shard} now; try again")
        return await self._forwarder.execute(address, envelope)
