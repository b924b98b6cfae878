"""Peers: what makes a node one of several. Puts cluster, router and forwarding together.

Place on the road: routing and dispatch. Commands for shards of other nodes leave here and come in
here; what this node appends to shards that others read is told to them, and they tell this one.

Invariant: what is told is a hint. Every node looks for itself now and then, so a lost word costs
time, nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import structlog

from eventmill.errors import ConfigurationError, Conflict, Unavailable
from eventmill.model.commit import Commit
from eventmill.ports.cluster import ALONE, Claim, Leases, Member
from eventmill.ports.directory import Directory
from eventmill.ports.transport import Handler, Transport
from eventmill.runtime import description
from eventmill.runtime.cluster.cluster import LEASE_SECONDS, Cluster
from eventmill.runtime.cluster.forwarding import Forwarder, Reception
from eventmill.runtime.cluster.router import Router
from eventmill.runtime.cluster.services import ServiceReception, Services, check_owner
from eventmill.runtime.committer import Batch

if TYPE_CHECKING:
    from eventmill.runtime.runtime import Runtime

log = structlog.get_logger()

APPENDED: Final = b"appended"
FACTS: Final = b"facts"
MOVED: Final = b""
"""Words on the channel of news."""

CONTROL: Final = "control"
"""Where a node is asked what operators want to know or to be done."""

LOOK_SECONDS: Final = 0.1
"""How often a node looks for itself what others have appended."""


@dataclass(frozen=True)
class Membership:
    """What a node needs to be one of several: its name, and how it meets the others."""

    node: str
    address: str
    leases: Leases
    transport: Transport
    directory: Directory
    meets_others: bool = True
    """Whether the transport reaches other nodes; if not, there must be none."""


class Peers:
    """This node's side of the cluster."""

    def __init__(self, runtime: Runtime, membership: Membership) -> None:
        store, entities, clock = runtime.store, runtime.entities, runtime.clock
        self._runtime = runtime
        self._leases = membership.leases
        self._transport = membership.transport
        self._meets_others = membership.meets_others
        self._news = f"{runtime.service.name}/news"
        """Channel on which nodes tell that there is something to read, or that shards have moved."""
        self.cluster = Cluster(
            membership.node, membership.address, membership.leases, store, runtime, clock
        )
        entities.lease = self.cluster
        lookup = entities.addressed
        forwarder = Forwarder(membership.transport, lookup, clock)
        self.cluster.on_move.append(
            lambda: forwarder.moved(
                lambda id: self.cluster.addresses.get(store.placement.entity(id))
            )
        )
        router = Router(store, entities, runtime.held, self.cluster, forwarder, clock)
        self.execute = runtime.executing(router.execute)
        """Runs a command or query, wherever its entity lives."""
        self._reception = Reception(entities.execute, lookup, clock)
        views = runtime.service.views, runtime.views
        self.services = Services(
            runtime.service,
            membership.transport,
            membership.directory,
            self._shares,
            ServiceReception(self.execute, lookup, clock, *views),
            forwarder,
            clock,
            topics_in=description.STORE if runtime.streams is None else description.BROKER,
            meets_in="on the same broker as this one",
        )
        self._told = asyncio.Event()
        self._to_tell = asyncio.Event()
        self._words: set[bytes] = set()
        """What is to be told."""
        runtime.committer.on_commit.append(self._committed)
        runtime.committer.on_failure.append(self._failed)
        runtime.facts.on_change.append(lambda: self._say(FACTS))
        self.cluster.on_change.append(lambda: self._say(MOVED))

    def __repr__(self) -> str:
        return f"<Peers of {self.cluster!r}>"

    async def start(self) -> None:
        """Meet the others, take shards, begin to serve.

        Raises `Unreachable`, `ConfigurationError` for a name that is taken, `StoreUnavailable`.
        """
        await self._leases.open()
        await self._meet()
        await self._transport.open()
        runtime = self._runtime
        await check_owner(runtime.store, runtime.committer, runtime.service.name)
        await self.services.start(await self._leases.cluster())
        await self._transport.listen(self._news, self._hear)
        await self._transport.serve(self.cluster.address, self._reception.receive)
        await self.open(CONTROL, self._runtime.control.answer)
        await self.cluster.start()
        supervisor = runtime.supervisor
        supervisor.start("cluster", self.cluster.run())
        supervisor.start("taking", self.cluster.take())
        supervisor.start("following", self.cluster.follow())
        supervisor.start("giving", self.cluster.give())
        supervisor.start("news", self._look())
        supervisor.start("telling", self._tell())
        self._say(APPENDED)
        self._say(MOVED)  # somebody has come

    async def members(self) -> dict[str, str]:
        """Addresses of the other nodes that are alive, by name."""
        members = await self._leases.members()
        return {m.node: m.address for m in members if m.node != self.cluster.node}

    def alive(self) -> dict[str, str]:
        """The same, as they were at the last look."""
        members = self.cluster.members
        return {node: at for node, at in members.items() if node != self.cluster.node}

    async def open(self, door: str, handler: Handler) -> None:
        """Answer what other nodes ask at a door from now on."""
        await self._transport.serve(_door(self.cluster.address, door), handler)

    async def tell(self, address: str, door: str, payload: bytes, seconds: float) -> bytes:
        """Ask another node at one of its doors."""
        return await self._transport.request(_door(address, door), payload, seconds)

    def owners(self, homes: Iterable[int]) -> dict[str, set[int]]:
        """Home shards by the address of who held them at the last look; "" for this node."""
        found: dict[str, set[int]] = {}
        for home in homes:
            address = self.cluster.addresses.get(home)
            if home in self._runtime.roster.followed:
                address = ""
            elif address is None or address == self.cluster.address:
                continue  # nobody has it now
            found.setdefault(address, set()).add(home)
        return found

    async def moved(self, seconds: float) -> None:
        """Return when shards were seen to move, or after so long."""
        await self.cluster.moved(seconds)

    async def ask(self, address: str, question: bytes, seconds: float) -> bytes:
        """Ask the control of another node."""
        return await self.tell(address, CONTROL, question, seconds)

    async def _shares(self) -> tuple[list[Member], list[Claim]]:
        return await self._leases.members(), await self._leases.claims()

    async def _meet(self) -> None:
        """Wait for a node that cannot be met and ended without a word.

        Raises `ConfigurationError` if it lives.
        """
        give_up = self._runtime.clock.monotonic() + LEASE_SECONDS + 1
        is_told = False
        while others := await self._unmet():
            if self._runtime.clock.monotonic() > give_up:
                raise ConfigurationError(
                    f"node {others[0].node!r} works on this store already; several nodes have to "
                    "reach each other: give all of them --broker nats://…"
                )
            if not is_told:
                log.info("waiting for the lease of another node to end", node=others[0].node)
                is_told = True
            await self._runtime.clock.sleep(1.0)

    async def _unmet(self) -> list[Member]:
        """Nodes that are alive and that this one can never reach."""
        members = await self._leases.members()
        return [m for m in members if not self._meets_others or m.address.startswith(ALONE)]

    async def stop(self) -> None:
        """Give everything to the others."""
        await self.services.stop()
        await self._runtime.supervisor.stop("taking", "following", "giving")
        await self.cluster.stop()
        await self._runtime.supervisor.stop("cluster")
        await self._transport.broadcast(self._news, MOVED)
        await self._transport.close()
        await self._leases.close()

    async def announce(self, facts: dict[str, Any]) -> None:
        """Let other services, and people, find this node."""
        cluster = self.cluster
        await self.services.announce(cluster.address, {"node": cluster.node, **facts})

    def _committed(self, commit: Commit) -> None:
        held, home = self._runtime.held, self._runtime.store.placement.home
        if any(home(entry.shard) not in held for entry in commit.entries):
            self._say(APPENDED)

    def _failed(self, batch: Batch) -> None:
        self.cluster.look()  # perhaps because this node does not hold what it thought it did

    def _hear(self, payload: bytes) -> None:
        self._told.set()
        if payload == MOVED:
            self.cluster.look()
        elif payload == FACTS:
            self._runtime.facts.wake()

    def _say(self, word: bytes) -> None:
        self._words.add(word)
        self._to_tell.set()

    async def _tell(self) -> None:
        """Tell the others, once for all that was appended or changed since the last word."""
        while True:
            await self._to_tell.wait()
            self._to_tell.clear()
            words, self._words = self._words, set()
            for word in words:
                await self._transport.broadcast(self._news, word)

    async def _look(self) -> None:
        is_failing = False
        while True:
            await self._runtime.clock.wait(self._told, LOOK_SECONDS)
            self._told.clear()
            try:
                await self._runtime.look()
                is_failing = False
            except (Unavailable, Conflict) as error:
                if not is_failing:  # it is tried ten times a second
                    log.warning("ends of shards not read", error=str(error))
                is_failing = True


def _door(address: str, door: str) -> str:
    """Where a part of a node is reached."""
    return f"{address}.{door}"
