"""Neighbours: the other services of this process, whose topics are read out of their stores.

Place on the road: between the tails of one service and the dispatch of another. A neighbour's topic
has a shard here, as in a broker (`runtime.topics.foreign`), and nothing lies between: what is read is
the end of the neighbour's own journal, or the journal.

Invariants: positions are those of the neighbour's journal; what is read was committed there, so it is
durable before anything follows from it here; nothing is ever written to a neighbour's store.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from eventmill.engine.adopting import adopter
from eventmill.model.entry import Entry
from eventmill.model.topic import WHEN_READ, Topic
from eventmill.ports.broker import Neighbour
from eventmill.ports.store import Scan
from eventmill.runtime.dispatch.tails import Source

if TYPE_CHECKING:
    from eventmill.runtime.runtime import Runtime

JOURNAL = 0
"""The shard of a neighbour's store, which is an embedded one."""


class Neighbours:
    """The services of one process. Parameter: `names` are those that it is to run."""

    def __init__(self, names: Collection[str]) -> None:
        self.names = frozenset(names)
        self._open: dict[str, Runtime] = {}

    def __repr__(self) -> str:
        return f"<Neighbours [{', '.join(self._open) or 'none'} of {len(self.names)}]>"

    def get(self, service: str) -> Runtime | None:
        """Return a service that is there."""
        return self._open.get(service)

    async def read(self, service: str) -> dict[str, int]:
        """Return up to where everybody has read a service's topics, those that somebody follows."""
        found: dict[str, int] = {}
        for other in self._open.values():
            offsets = await other.store.offsets()
            for name, subscription in other.subscriptions.items():
                for id in subscription.reaction.sources & other.service.foreign.keys():
                    topic = other.service.foreign[id]
                    if topic.service == service:
                        (shard,) = other.store.placement.of_topic(id)
                        at = offsets.get((name, shard), 0)
                        found[topic.name] = min(at, found.get(topic.name, at))
        return found

    def enter(self, runtime: Runtime) -> None:
        """Let the others read its topics from now on."""
        self._open[runtime.service.name] = runtime
        self._tell()

    def leave(self, runtime: Runtime) -> None:
        """Let the others read nothing of it any more."""
        if self._open.get(runtime.service.name) is runtime:
            del self._open[runtime.service.name]
            self._tell()

    def _tell(self) -> None:
        for runtime in self._open.values():
            if runtime.beside is not None:
                runtime.beside.look()


class NeighbourTopics:
    """The topics of neighbours that one service follows: what `ForeignTopics` finds them with."""

    def __init__(self, runtime: Runtime, neighbours: Neighbours) -> None:
        self._runtime = runtime
        self._neighbours = neighbours
        self._tails: dict[str, NeighbourTail] = {}

    def __repr__(self) -> str:
        return f"<NeighbourTopics {sorted(self._tails)}>"

    def open(self) -> None:
        """Give each a shard, in which nothing is found yet."""
        placement = self._runtime.store.placement
        for id, topic in self._runtime.service.foreign.items():
            (shard,) = placement.of_topic(id)
            self._tails[id] = NeighbourTail(shard, topic)
            self._runtime.tails.add(shard, self._tails[id])

    def look(self) -> None:
        """Let go at once of what is there no more."""
        for id, tail in self._tails.items():
            other = self._neighbours.get(tail.topic.service)
            if other is None or not tail.reads(other):
                self.shut(id)

    async def attach(self, number: int, service: str, topic: str) -> Neighbour | None:
        other = self._neighbours.get(service)
        declared = other.service.topics.get(topic) if other is not None else None
        if other is None or declared is None:
            return None
        store = other.store.placement.store
        return Neighbour(store, 1, JOURNAL, when_read=declared.retention is WHEN_READ)

    def let_in(self, topic: str) -> bool:
        tail = self._tails[topic]
        other = self._neighbours.get(tail.topic.service)
        if other is None or tail.reads(other):
            return False
        tail.begin(other)
        other.tails.listeners.append(self._runtime.tails.wake)
        self._runtime.tails.wake()
        return True

    def shut(self, topic: str) -> None:
        if (other := self._tails[topic].forget()) is not None:
            other.tails.listeners.remove(self._runtime.tails.wake)


class NeighbourTail:
    """End of a neighbour's journal, as far as one of its topics is in it; see `tails.Source`."""

    def __init__(self, shard: int, topic: Topic[Any]) -> None:
        self.topic = topic
        self._sources = frozenset({topic.name})
        self._adopt = adopter(topic.service, shard, 1, 1)
        self._other: Runtime | None = None
        self._journal: Source | None = None

    def __repr__(self) -> str:
        return f"<NeighbourTail {self.topic.id} [position {self.position}]>"

    def reads(self, other: Runtime) -> bool:
        """Whether it reads there now."""
        return self._other is other

    def begin(self, other: Runtime) -> None:
        """Read there from now on."""
        self._other, self._journal = other, other.tails.source(JOURNAL)

    def forget(self) -> Runtime | None:
        """Read nothing from now on; return whom it read."""
        other, self._other, self._journal = self._other, None, None
        return other

    @property
    def position(self) -> int:
        return 0 if self._journal is None else self._journal.position

    @property
    def is_there(self) -> bool:
        return self._journal is not None

    async def read(self, after: int, *, limit: int, sources: frozenset[str]) -> Scan:
        if self._journal is None:
            return Scan([], after)
        return self._own(await self._journal.read(after, limit=limit, sources=self._sources))

    async def between(self, low: int, high: int, sources: frozenset[str]) -> Scan:
        if self._journal is None:
            return Scan([], high)
        return self._own(await self._journal.between(low, high, self._sources))

    async def find_end(self) -> int:
        return self.position

    async def position_at(self, time: int, *, after: int = 0) -> int:
        return 0 if self._journal is None else await self._journal.position_at(time, after=after)

    def _own(self, scan: Scan) -> Scan:
        return Scan([own for entry in scan.entries if (own := self._adopted(entry))], scan.position)

    def _adopted(self, entry: Entry) -> Entry | None:
        own = self._adopt(entry)
        if own is not None:
            own.origin = None  # of an outbox, if it has been in a broker: here positions suffice
        return own
