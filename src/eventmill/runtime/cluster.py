"""The cluster: this node among the others. It joins, takes and gives shards, knows who has the rest.

Place on the road: routing. Every node compares what should be (`engine.assignment`) with what is
claimed in the store, and takes the steps that are its own; nobody commands. Claims are changed by
compare-and-set, and each raises its shard's epoch, which every commit checks: so this loop decides
where work is done, never whether it is right.

Two loops: one renews and looks and never waits for anybody's work, the other takes and gives as was
seen last, and may have to wait for a batch that is under way, which may wait for a shard to move.

Invariants: a shard is written under its epoch from its claim to its release; a planned move ends
the work before it releases; a node whose lease may have ended stops serving before anybody else can
claim (at `SERVE_SHARE` of the lease, by its own monotonic clock); work of a shard is begun and ended
by the moving loop alone.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterable, Mapping
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

RENEW_SECONDS: Final = 1.0
"""How often a node renews its lease and looks: so long a shard that was given up, or whose node is
dead to the others, may wait for its next node."""

SERVE_SHARE: Final = 0.6
"""Share of the lease after which a node that could not renew it stops serving."""

GIVEN_AT_ONCE: Final = 2
"""Shards given up in one round: the others are served meanwhile."""


class Host(Protocol):
    """What of the runtime is needed here."""

    async def take(self, homes: Collection[int]) -> None: ...
    async def leave(self, home: int) -> None: ...
    def withdraw(self, home: int) -> None: ...


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
        self.on_move: list[Callable[[], None]] = []
        """Called when shards were seen to move."""
        self._news = asyncio.Event()
        self._moved = asyncio.Event()
        """Set, and replaced, when shards were seen to move."""
        self._members: dict[str, str] = {}
        """Addresses of the nodes that live, at the last look."""
        self._claims: dict[int, Claim] = {}
        self._seen = asyncio.Event()
        """There may be something to take, to give or to end."""
        self._lost: set[int] = set()
        """Shards that are somebody else's, whose work here is still to be ended."""
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
        await self._look()
        await self._step()

    async def run(self) -> None:
        """Renew and look until cancelled."""
        while True:
            await self._clock.wait(self._news, RENEW_SECONDS)
            self._news.clear()
            try:
                await self._renew()
                await self._look()
            except (Unavailable, Conflict) as error:
                log.warning("the cluster cannot be seen", node=self.node, error=str(error))
                self._give_up_in_time()

    async def move(self) -> None:
        """Take and give until cancelled."""
        while True:
            await self._seen.wait()
            self._seen.clear()
            try:
                if await self._step():
                    self.look()
            except (Unavailable, Conflict) as error:
                log.warning("shards cannot be moved", node=self.node, error=str(error))

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
        self._lose(list(self._epochs))
        await self._join()

    def _give_up_in_time(self) -> None:
        if self._clock.monotonic() - self._renewed > SERVE_SHARE * LEASE_SECONDS:
            self._lose(list(self._epochs))

    async def _look(self) -> None:
        """Find out who lives and who has what; stop serving what was lost."""
        self._members = {member.node: member.address for member in await self._leases.members()}
        self._claims = {claim.shard: claim for claim in await self._leases.claims()}
        # What was claimed since this was read has a higher epoch here.
        self._lose([s for s, epoch in self._epochs.items() if self._claims[s].epoch > epoch])
        self._note(self._claims, self._members)
        self._seen.set()

    async def _step(self) -> bool:
        """Do what is this node's to do; return whether anything moved."""
        await self._leave_lost()
        claims = self._claims
        moved = await self._release_unheld(claims.values())
        owners = {shard: claim.owner or "" for shard, claim in claims.items()}
        todo = steps(self.node, len(claims), self._members.keys(), owners)
        moved |= await self._take([claims[shard] for shard in todo.take])
        for shard in todo.give[:GIVEN_AT_ONCE]:
            moved |= await self._give(shard)
        return moved

    def _note(self, claims: Mapping[int, Claim], members: Mapping[str, str]) -> None:
        found = {s: members[c.owner] for s, c in claims.items() if c.owner and c.owner in members}
        if found == self.addresses:
            return
        self.addresses = found
        for told in self.on_move:
            told()
        self._moved.set()
        self._moved = asyncio.Event()

    async def _take(self, claims: Iterable[Claim]) -> bool:
        taken: list[int] = []
        try:
            for claim in claims:
                if await self._claim(claim):
                    taken.append(claim.shard)  # noqa: PERF401 - one may fail, the others are taken
            if taken:
                await self._host.take(taken)
        except (Unavailable, Conflict):
            self._lose([shard for shard in taken if shard in self._epochs])
            raise
        for shard in taken:
            self.addresses[shard] = self.address
            log.info("shard taken", node=self.node, shard=shard, epoch=self._epochs.get(shard))
        return bool(taken)

    async def _claim(self, claim: Claim) -> bool:
        if claim.shard in self._lost:
            return False  # its work of before ends first
        epoch = await self._leases.claim(claim.shard, self.node, claim.epoch)
        if epoch is None:
            return False  # somebody was faster
        self._store.hold(claim.shard, epoch)
        self._epochs[claim.shard] = epoch
        return True

    async def _give(self, shard: int) -> bool:
        epoch = self._epochs.get(shard)
        if epoch is None:
            return False
        await self._host.leave(shard)
        self._store.let_go(shard)
        self._epochs.pop(shard, None)  # it may have been lost meanwhile
        await self._leases.release(shard, self.node, epoch)
        log.info("shard given", node=self.node, shard=shard)
        return True

    async def _release_unheld(self, claims: Iterable[Claim]) -> bool:
        """Release what is claimed under this name and was lost here, or by an earlier life: as long
        as this node lives nobody else may claim it."""
        released = False
        for shard, owner, epoch in claims:
            if owner == self.node and shard not in self._epochs:
                released |= await self._leases.release(shard, owner, epoch)
        return released

    def _lose(self, shards: Collection[int]) -> None:
        """Serve shards no more that are somebody else's, or may be; their work ends soon."""
        for shard in shards:
            log.warning("shard lost", node=self.node, shard=shard)
            del self._epochs[shard]
            self._store.let_go(shard)
            self._host.withdraw(shard)
        self._lost.update(shards)
        self._seen.set()

    async def _leave_lost(self) -> None:
        for shard in list(self._lost):
            with contextlib.suppress(Unavailable, Conflict):
                await self._host.leave(shard)
            self._lost.discard(shard)
