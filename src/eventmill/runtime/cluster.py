"""The cluster: this node among the others. It joins, takes and gives shards, knows who has the rest.

Place on the road: routing. Every node compares what should be (`engine.assignment`) with what is
claimed in the store, and takes the steps that are its own; nobody commands. Claims are changed by
compare-and-set, and each raises its shard's epoch, which every commit checks: so this loop decides
where work is done, never whether it is right.

Invariants: a shard is written under its epoch from its claim to its release; a planned move ends
the work before it releases; a node whose lease may have ended stops serving before anybody else can
claim (at `SERVE_SHARE` of the lease, by its own monotonic clock).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping
from typing import Final, Protocol

import structlog

from eventmill.engine.assignment import steps
from eventmill.errors import Conflict, Unavailable
from eventmill.ports.clock import Clock
from eventmill.ports.cluster import Claim, Leases
from eventmill.ports.store import Store

log = structlog.get_logger()

LEASE_SECONDS: Final = 10.0
"""A node that has not renewed for so long is dead to the others."""

RENEW_SECONDS: Final = 3.0

SERVE_SHARE: Final = 0.6
"""Share of the lease after which a node that could not renew it stops serving."""

GIVEN_AT_ONCE: Final = 2
"""Shards given up in one round: the others are served meanwhile."""


class Host(Protocol):
    """What of the runtime is needed here."""

    async def take(self, home: int) -> None: ...
    async def leave(self, home: int) -> None: ...


class Cluster:
    """Membership of one node.

    Parameters: `node` is its name, `address` where others reach it; `host` does a shard's work.
    """

    def __init__(
        self, node: str, address: str, leases: Leases, store: Store, host: Host, clock: Clock
    ) -> None:
        self.node = node
        self.address = address
        self._leases = leases
        self._store = store
        self._host = host
        self._clock = clock
        self._epochs: dict[int, int] = {}
        """Of the shards that are held here."""
        self.addresses: dict[int, str] = {}
        """Where each shard was held at the last look."""
        self._news = asyncio.Event()
        self._moved = asyncio.Event()
        """Set, and replaced, when shards were seen to move."""
        self._renewed = 0.0

    def __repr__(self) -> str:
        return f"<Cluster {self.node} [{len(self._epochs)} shards held]>"

    async def start(self) -> None:
        """Join, and take the shards that nobody has.

        A node that comes back sooner than its last life's lease ends waits for that. Raises
        `Conflict` if another node of that name is alive.
        """
        give_up = self._clock.monotonic() + LEASE_SECONDS + 1
        while True:
            try:
                await self._join()
                break
            except Conflict:
                if self._clock.monotonic() > give_up:
                    raise
                log.info("waiting for the lease of this node's last life to end", node=self.node)
                await self._clock.sleep(1.0)
        await self._round()

    async def run(self) -> None:
        """Renew, take and give until cancelled."""
        while True:
            await self._clock.wait(self._news, RENEW_SECONDS)
            self._news.clear()
            try:
                await self._renew()
                while await self._round():
                    pass
            except (Unavailable, Conflict) as error:
                log.warning("the cluster cannot be seen", node=self.node, error=str(error))
                await self._give_up_in_time()

    async def stop(self) -> None:
        """End the work here and give every shard to whoever is there."""
        with contextlib.suppress(Unavailable, Conflict):
            for shard in list(self._epochs):
                await self._give(shard)
            await self._leases.leave(self.node)

    def look(self) -> None:
        """Look soon: something may have moved."""
        self._news.set()

    async def moved(self, seconds: float) -> None:
        """Return when shards were seen to move, or after so long."""
        self.look()
        await self._clock.wait(self._moved, seconds)

    async def _join(self) -> None:
        self._renewed = self._clock.monotonic()
        await self._leases.join(self.node, self.address, seconds=LEASE_SECONDS)

    async def _renew(self) -> None:
        asked = self._clock.monotonic()
        if await self._leases.renew(self.node, seconds=LEASE_SECONDS):
            self._renewed = asked
            return
        log.warning("this node's lease has ended", node=self.node)
        await self._drop(list(self._epochs))
        await self._join()

    async def _give_up_in_time(self) -> None:
        if self._clock.monotonic() - self._renewed > SERVE_SHARE * LEASE_SECONDS:
            await self._drop(list(self._epochs))

    async def _round(self) -> bool:
        """Look, and do what is this node's to do; return whether there is more."""
        members = {member.node: member.address for member in await self._leases.members()}
        claims = {claim.shard: claim for claim in await self._leases.claims()}
        await self._drop(
            shard for shard, epoch in self._epochs.items() if claims[shard].epoch != epoch
        )
        await self._release_lost(claims)
        self._note(claims, members)
        owners = {shard: claim.owner or "" for shard, claim in claims.items()}
        todo = steps(self.node, len(claims), members.keys(), owners)
        for shard in todo.take:
            await self._take(claims[shard])
        for shard in todo.give[:GIVEN_AT_ONCE]:
            await self._give(shard)
        return len(todo.give) > GIVEN_AT_ONCE

    async def _release_lost(self, claims: dict[int, Claim]) -> None:
        """Release what is claimed under this node's name and not held here: in an earlier life, or
        by a claim whose answer was lost. Nobody else may take it as long as this node lives."""
        for shard, claim in claims.items():
            if claim.owner == self.node and shard not in self._epochs:
                await self._leases.release(shard, self.node, claim.epoch)
                claims[shard] = claim._replace(owner=None)

    def _note(self, claims: Mapping[int, Claim], members: Mapping[str, str]) -> None:
        found = {s: members[c.owner] for s, c in claims.items() if c.owner and c.owner in members}
        if found == self.addresses:
            return
        self.addresses = found
        self._moved.set()
        self._moved = asyncio.Event()

    async def _take(self, claim: Claim) -> None:
        epoch = await self._leases.claim(claim.shard, self.node, claim.epoch)
        if epoch is None:
            return  # somebody was faster
        self._store.hold(claim.shard, epoch)
        self._epochs[claim.shard] = epoch
        await self._host.take(claim.shard)
        self.addresses[claim.shard] = self.address
        log.info("shard taken", node=self.node, shard=claim.shard, epoch=epoch)

    async def _give(self, shard: int) -> None:
        await self._host.leave(shard)
        self._store.let_go(shard)
        await self._leases.release(shard, self.node, self._epochs.pop(shard))
        log.info("shard given", node=self.node, shard=shard)

    async def _drop(self, shards: Iterable[int]) -> None:
        """Stop work on shards that are somebody else's, or may be."""
        for shard in list(shards):
            log.warning("shard lost", node=self.node, shard=shard)
            del self._epochs[shard]
            self._store.let_go(shard)
            with contextlib.suppress(Unavailable, Conflict):
                await self._host.leave(shard)
