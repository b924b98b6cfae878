"""Beside: what makes a service of an embedded store one of those that run in its process.

Place on the road: routing, and dispatch of what neighbours publish. Calls go over a transport and a
directory that live in this process, so services meet here as they do on a broker; topics are read out
of the neighbours' stores (`runtime.topics.neighbours`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from eventmill.ports.cluster import Claim, Member
from eventmill.ports.directory import Directory
from eventmill.ports.transport import Transport
from eventmill.runtime import description
from eventmill.runtime.cluster.forwarding import Forwarder
from eventmill.runtime.cluster.services import ServiceReception, Services
from eventmill.runtime.topics.foreign import ForeignTopics
from eventmill.runtime.topics.neighbours import Neighbours, NeighbourTopics

if TYPE_CHECKING:
    from eventmill.runtime.runtime import Runtime

NODE: Final = "node"
"""Name of a node that has none, since its service has no others."""


@dataclass(frozen=True)
class Neighbourhood:
    """What a service needs to be one of several in a process: how it meets the others."""

    transport: Transport
    directory: Directory
    neighbours: Neighbours


class Beside:
    """This service's side of it."""

    def __init__(self, runtime: Runtime, given: Neighbourhood) -> None:
        self._runtime = runtime
        self._transport = given.transport
        self._neighbours = given.neighbours
        self._topics = NeighbourTopics(runtime, given.neighbours)
        self.foreign = ForeignTopics(runtime, self._topics)
        lookup, clock = runtime.entities.handler, runtime.clock
        reception = ServiceReception(
            runtime.entities.execute, lookup, clock, runtime.service.views, runtime.views
        )
        self.services = Services(
            runtime.service,
            given.transport,
            given.directory,
            _shares,
            reception,
            Forwarder(given.transport, lookup, clock),
            clock,
            topics_in=description.STORE,
            meets_in="in this process",
        )

    def __repr__(self) -> str:
        return f"<Beside {self._neighbours!r}>"

    @property
    def names(self) -> frozenset[str]:
        """The services that are to run in this process."""
        return self._neighbours.names

    async def open(self) -> None:
        """Take requests of the others, and let them read.

        Raises `ConfigurationError` when one of them has this name.
        """
        self._topics.open()
        await self._transport.open()
        await self.services.start(self._runtime.store.placement.store)
        self._neighbours.enter(self._runtime)

    async def read(self) -> dict[str, int]:
        """Return up to where the others have read the topics of this one."""
        return await self._neighbours.read(self._runtime.service.name)

    def look(self) -> None:
        """Somebody has come or gone."""
        self._topics.look()
        self.foreign.wake()

    async def announce(self, facts: dict[str, Any]) -> None:
        """Let the others, and people, find this one."""
        await self.services.announce(NODE, {"node": NODE, **facts})

    async def close(self) -> None:
        """Be found no more."""
        self._neighbours.leave(self._runtime)
        await self.services.stop()
        await self._transport.close()


async def _shares() -> tuple[list[Member], list[Claim]]:
    return [Member(NODE, "")], [Claim(0, NODE, 1)]
