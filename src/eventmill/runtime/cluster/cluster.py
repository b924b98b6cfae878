"""The cluster: this node among the others. It joins, takes and gives shards, knows who has the rest.

Place on the road: routing. Every node compares what should be (`engine.assignment`) with what is
claimed in the store, and takes the steps that are its own; nobody commands. Claims are changed by
compare-and-set, and each raises its shard's epoch, which every commit checks: so this loop decides
where work is done, never whether it is right.

Four loops: one renews and looks and waits for nobody's work; one takes what was seen to be free and
serves it at once; one lets the reactions follow, which may take its time; one gives, and ends the
work of what was lost: it waits for batches that are under way, and these may wait for a shard that
this node has to take.

A shard that moves on purpose is served until its reactions have ended (`Runtime.leave`), and the
others are told at once when it is free, and when it is taken: callers wait for one commit and two
looks. A node that stops leaves the members when all its shards are ready to go: as long as it is one
of them, they are assigned to it.

Invariants: a shard is written under its epoch from its claim to its release; a planned move ends
the work before it releases; a node whose lease may have ended stops serving before anybody else can
claim (at `SERVE_SHARE` of the lease, by its own monotonic clock); a shard's work is ended by the
giving loop alone, and not before it has been begun.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterable
from typing import Final, Protocol

import structlog

from eventmill.engine.assignment import Steps, steps
from eventmill.errors import ConfigurationError, Conflict, Unavailable
from eventmill.ports.clock import Clock
from eventmill.ports.cluster import Claim, Leases
from eventmill.ports.store import Store

log = structlog.get_logger()

LEASE_SECONDS: Final = 10.0
"""A node that has not renewed for so long is dead to the others."""

RENEW_SECONDS: Final = 1.0
"""How often a node renews its lease and looks for itself: so long a shard whose node is dead to the
others may wait for its next node, and one that was given if the word of it got lost."""

LOOK_PAUSE_SECONDS: Final = 0.02
"""Between two looks, however much moves and whoever waits for it: each costs two small queries."""

SERVE_SHARE: Final = 0.6
"""Share of the lease after which a node that could not renew it stops serving."""

GIVEN_AT_ONCE: Final = 2
"""Shards given up in one round: the others are served meanwhile."""


class Host(Protocol):
    """What of the runtime is needed here."""

    async def serve(self, homes: Collection[int]) -> None: ...
    async def follow(self, homes: Collection[int]) -> None: ...
    async def leave(self, homes: Collection[int]) -> None: ...
    def withdraw(self, homes: Collection[int]) -> None: ...


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
        self.members: dict[str, str] = {}
        """Addresses of the nodes that were alive at the last look, by name."""
        self.on_look: list[Callable[[], None]] = []
        """Called after each look."""
        self.on_change: list[Callable[[], None]] = []
        """Called when this node has taken or given shards: the others want to know."""
        self._news = asyncio.Event()
        self._moved = asyncio.Event()
        """Set, and replaced, when shards were seen to move."""
        self._claims: dict[int, Claim] = {}
        self._todo = Steps([], [])
        """What follows from them."""
        self._may_take = asyncio.Event()
        self._may_give = asyncio.Event()
        """There may be something to give or to end."""
        self._lost: set[int] = set()
        """Shards that are somebody else's, whose work here is still to be ended."""
        self._coming: set[int] = set()
        """Shards whose work is being begun."""
        self._served: set[int] = set()
        """Those of them whose turns run, but reactions do not follow yet."""
        self._may_follow = asyncio.Event()
        self._renewed = 0.0
        self._leaving = False

    def __repr__(self) -> str:
        return f"<Cluster {self.node} [{len(self._epochs)} shards held]>"

    async def start(self) -> None:
        """Join, and take the shards that nobody has.

        A node that comes back sooner than its last life's lease ends waits for that. Raises
        `ConfigurationError` if another node of that name is alive.
        """
        give_up = self._clock.monotonic() + LEASE_SECONDS + 1
        has_joined = await self._may_join()
        if not has_joined:
            log.info("waiting for the lease of this node's last life to end", node=self.node)
        while not has_joined:
            if self._clock.monotonic() > give_up:
                raise ConfigurationError(
                    f"another node {self.node!r} works on this store: give each a --node of its own"
                )
            await self._clock.sleep(1.0)
            has_joined = await self._may_join()
        await self._look()
        await self._take_free()
        await self._follow_served()

    async def run(self) -> None:
        """Renew and look until cancelled; to the end of `stop`, which may take longer than a lease."""
        while True:
            await self._clock.wait(self._news, RENEW_SECONDS)
            self._news.clear()
            try:
                await self._renew()
                await self._look()
            except (Unavailable, Conflict) as error:
                log.warning("the cluster cannot be seen", node=self.node, error=str(error))
                self._give_up_in_time()
            await self._clock.sleep(LOOK_PAUSE_SECONDS)

    async def take(self) -> None:
        """Take what is free until cancelled."""
        while True:
            await self._may_take.wait()
            self._may_take.clear()
            try:
                if await self._take_free():
                    self.look()
            except (Unavailable, Conflict) as error:
                log.warning("shards cannot be taken", node=self.node, error=str(error))

    async def follow(self) -> None:
        """Let reactions follow what is served until cancelled."""
        while True:
            await self._may_follow.wait()
            self._may_follow.clear()
            try:
                await self._follow_served()
            except (Unavailable, Conflict) as error:
                log.warning("shards cannot be followed", node=self.node, error=str(error))

    async def give(self) -> None:
        """Give what is others', and end the work of what was lost, until cancelled."""
        while True:
            await self._may_give.wait()
            self._may_give.clear()
            try:
                await self._leave_lost()
                if await self._give_others():
                    self.look()
            except (Unavailable, Conflict) as error:
                log.warning("shards cannot be given", node=self.node, error=str(error))

    async def stop(self) -> None:
        """End the work here and give every shard to whoever is there; the loops but `run` have ended."""
        epochs = await self._end_work(list(self._epochs))
        self._leaving = True
        with contextlib.suppress(Unavailable, Conflict):
            await self._leases.leave(self.node, self.address)  # whatever it held may be claimed now
            self._tell()
            for shard, epoch in epochs.items():
                await self._leases.release(shard, self.node, epoch)

    def look(self) -> None:
        """Look soon: something may have moved."""
        self._news.set()

    async def moved(self, seconds: float) -> None:
        """Return when shards were seen to move, or after so long."""
        self.look()
        await self._clock.wait(self._moved, seconds)

    async def _may_join(self) -> bool:
        """Join, if the name is free."""
        try:
            await self._join()
        except Conflict:
            return False
        return True

    async def _join(self) -> None:
        asked = self._clock.monotonic()
        await self._leases.join(self.node, self.address, seconds=LEASE_SECONDS)
        self._renewed = asked

    async def _renew(self) -> None:
        asked = self._clock.monotonic()
        if self._leaving or asked - self._renewed < RENEW_SECONDS:
            return
        if await self._leases.renew(self.node, self.address, seconds=LEASE_SECONDS):
            self._renewed = asked
        else:
            await self._join_again()

    async def _join_again(self) -> None:
        if self._leaving:
            return  # this is why there is no lease any more
        log.warning("this node's lease has ended", node=self.node)
        self._lose(list(self._epochs))
        await self._join()  # refused as long as another process has this name by now

    def has_expired(self) -> bool:
        """Whether others may hold by now what this node believes to hold. Asked at every turn: a node
        that stood still, or waits for its database, hears of it in no other way."""
        return self._clock.monotonic() - self._renewed > SERVE_SHARE * LEASE_SECONDS

    def _give_up_in_time(self) -> None:
        if self.has_expired():
            self._lose(list(self._epochs))

    async def _look(self) -> None:
        """Find out who lives and who has what; stop serving what was lost."""
        members = {member.node: member.address for member in await self._leases.members()}
        claims = {claim.shard: claim for claim in await self._leases.claims()}
        # What was claimed since this was read has a higher epoch here.
        self._lose([s for s, epoch in self._epochs.items() if claims[s].epoch > epoch])
        owners = {shard: claim.owner or "" for shard, claim in claims.items()}
        self.members = members
        for told in self.on_look:
            told()
        self._note({s: members[node] for s, node in owners.items() if node in members})
        self._claims, self._todo = claims, steps(self.node, len(claims), members.keys(), owners)
        self._may_take.set()
        self._may_give.set()

    def _note(self, addresses: dict[int, str]) -> None:
        if addresses == self.addresses:
            return
        self.addresses = addresses
        for told in self.on_move:
            told()
        self._moved.set()
        self._moved = asyncio.Event()

    def _tell(self) -> None:
        for told in self.on_change:
            told()

    async def _take_free(self) -> bool:
        """Take what is this node's and nobody has; return whether anything changed."""
        claims, todo = self._claims, self._todo
        released = await self._release_unheld(claims.values())
        return await self._take([claims[shard] for shard in todo.take]) or released

    async def _take(self, claims: Iterable[Claim]) -> bool:
        answers = await asyncio.gather(*map(self._claim, claims), return_exceptions=True)
        taken = [shard for shard in answers if isinstance(shard, int)]
        try:
            for failed in (answer for answer in answers if isinstance(answer, BaseException)):
                raise failed
            if taken:
                await self._host.serve(taken)
                self._host.withdraw(self._lost)  # some may have been lost meanwhile
                self._serves(taken)
        except (Unavailable, Conflict):
            self._begun(taken, well=False)
            raise
        return bool(taken)

    def _serves(self, shards: Collection[int]) -> None:
        """Let callers know, here and elsewhere."""
        log.info("shards taken", node=self.node, shards=sorted(shards))
        self._note({**self.addresses, **dict.fromkeys(shards, self.address)})
        self._tell()
        self._served.update(shards)
        self._may_follow.set()

    async def _follow_served(self) -> None:
        shards, self._served = self._served, set()
        try:
            await self._host.follow(shards)
        except (Unavailable, Conflict):
            self._begun(shards, well=False)
            raise
        self._begun(shards, well=True)

    def _begun(self, shards: Collection[int], *, well: bool) -> None:
        """The work of taken shards has been begun, or could not be: others may try then."""
        if not well:
            self._lose([shard for shard in shards if shard in self._epochs])
        self._coming.difference_update(shards)
        self._may_give.set()  # for what was lost meanwhile

    async def _claim(self, claim: Claim) -> int | None:
        """Return the shard if it is this node's now."""
        if claim.shard in self._lost:
            return None  # its work of before ends first
        epoch = await self._leases.claim(claim.shard, self.node, claim.epoch)
        if epoch is None:
            return None  # somebody was faster
        self._store.hold(claim.shard, epoch)
        self._epochs[claim.shard] = epoch
        self._coming.add(claim.shard)
        return claim.shard

    async def _give_others(self) -> bool:
        """Give some of what another node should have; return whether there was any."""
        mine = [s for s in self._todo.give if s in self._epochs and s not in self._coming]
        epochs = await self._end_work(mine[:GIVEN_AT_ONCE])
        await asyncio.gather(*(self._leases.release(s, self.node, at) for s, at in epochs.items()))
        if epochs:
            self._tell()
        return bool(epochs)

    async def _end_work(self, shards: Collection[int]) -> dict[int, int]:
        """Let held shards be ready for their next node; return the epochs that they had here."""
        epochs = {shard: self._epochs[shard] for shard in shards}
        if epochs:
            await self._host.leave(epochs)
            log.info("shards given", node=self.node, shards=sorted(epochs))
        for shard in epochs:
            self._store.let_go(shard)
            self._epochs.pop(shard, None)  # it may have been lost meanwhile
            self._lost.discard(shard)
        return epochs

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
        if shards:
            log.warning("shards lost", node=self.node, shards=sorted(shards))
        for shard in shards:
            del self._epochs[shard]
            self._store.let_go(shard)
        self._host.withdraw(shards)
        self._lost.update(shards)
        self._may_give.set()

    async def _leave_lost(self) -> None:
        lost = self._lost - self._coming
        if not lost:
            return
        with contextlib.suppress(Unavailable, Conflict):
            await self._host.leave(lost)
        self._lost.difference_update(lost)
        self._may_take.set()
