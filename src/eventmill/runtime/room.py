"""Room: topics that may take so many bytes and no more.

Place on the road: before the commit, where something is published; and behind everybody who reads,
where room is made.

Invariants: nothing is removed that a subscription has still to read, what goes is the oldest;
publishers are told to come again before a topic is full, so what is accepted finds room in the
broker sooner or later: in between, it waits in the outbox.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from math import ceil
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from eventmill.errors import Conflict, TopicFull, Unavailable
from eventmill.model.effect import Outgoing, Publication
from eventmill.ports.broker import Broker, Size

if TYPE_CHECKING:
    from eventmill.runtime.runtime import Runtime

log = structlog.get_logger()

LOOK_SECONDS: Final = 1.0
"""How often a node looks how large topics are: what is published meanwhile may be too much."""

SPACIOUS: Final = 0.7
CROWDED: Final = 0.8
FULL: Final = 0.9
"""Shares of a topic's bound: room is made from `CROWDED` down to `SPACIOUS`; from `FULL` on nothing
more is accepted. What is left takes what comes between two looks."""


class Room:
    """Which topics are full, as this node knows."""

    def __init__(self) -> None:
        self.full: dict[str, str] = {}
        """Why, by topic; mostly empty."""

    def __repr__(self) -> str:
        return f"<Room [full: {', '.join(self.full) or 'nothing'}]>"

    def check(self, topics: Iterable[str]) -> None:
        """Raise `TopicFull` if one of the topics is."""
        for topic in topics:
            if topic in self.full:
                raise TopicFull(self.full[topic], retry_after_seconds=5 * LOOK_SECONDS)

    def check_effects(self, effects: Sequence[Outgoing]) -> None:
        """The same for what effects publish to."""
        if self.full:
            self.check(e.topic.id for e in effects if isinstance(e, Publication))

    def note(self, topic: str, size: int, bound: int) -> None:
        """Note how large a topic is."""
        is_full = size >= FULL * bound
        if is_full and topic not in self.full:
            log.warning("topic is full", topic=topic, bytes=size, bytes_max=bound)
            self.full[topic] = (
                f"topic {topic!r} is full: it has {size:,} of {bound:,} bytes (bytes_max), and its "
                "oldest messages are still to be read. See who is behind (eventmill consumers "
                "list), or raise bytes_max, and the stream's max_bytes if it is in a broker; publish "
                "again later"
            )
        elif not is_full and self.full.pop(topic, ""):
            log.info("topic has room again", topic=topic, bytes=size, bytes_max=bound)


class Place(Protocol):
    """Where topics are."""

    @property
    def bounds(self) -> Mapping[str, int]:
        """Topics that have a bound, and which."""
        ...

    async def size(self, topic: str) -> Size:
        """Return how large a topic is."""
        ...

    async def trim(self, topic: str, shard: int, position: int) -> None:
        """Remove a topic's messages in a shard up to a position."""
        ...


class InBroker:
    """Topics in a broker, whose layouts say what their bounds are."""

    def __init__(self, topics: Collection[str], broker: Broker) -> None:
        self._topics = topics
        self._broker = broker

    def __repr__(self) -> str:
        return f"<InBroker {self.bounds}>"

    @property
    def bounds(self) -> dict[str, int]:
        layouts = {topic: self._broker.layouts[topic] for topic in self._topics}
        return {topic: layout.bytes for topic, layout in layouts.items() if layout.bytes}

    async def size(self, topic: str) -> Size:
        return await self._broker.size(topic)

    async def trim(self, topic: str, shard: int, position: int) -> None:
        await self._broker.trim(shard, position)


class RoomMaker:
    """Owns the loop that looks how large topics are, and removes what may go."""

    def __init__(self, runtime: Runtime, place: Place) -> None:
        self._place = place
        self._store = runtime.store
        self._clock = runtime.clock
        self._held = runtime.held
        self._readers = runtime.readers
        self._room = runtime.room
        self._cut: dict[str, int] = {}
        """Up to where a crowded topic is to be removed, as far as it was read."""
        self._trimmed: dict[tuple[str, int], int] = {}

    def __repr__(self) -> str:
        return f"<RoomMaker {self._cut}>"

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            for topic, bound in self._place.bounds.items():
                try:
                    await self._readers.look()
                    await self._look(topic, bound)
                except (Unavailable, Conflict) as error:
                    log.warning("room not looked for", topic=topic, error=str(error))
            await self._clock.sleep(LOOK_SECONDS)

    async def _look(self, topic: str, bound: int) -> None:
        size = await self._place.size(topic)
        if size.bytes > CROWDED * bound:
            await self._make(topic, size, bound)
            size = await self._place.size(topic)
        else:
            self._cut.pop(topic, None)
        self._room.note(topic, size.bytes, bound)

    async def _make(self, topic: str, size: Size, bound: int) -> None:
        """Remove what is too much, oldest first: of each shard what everybody has read, up to a
        position that moves on as long as that is not enough."""
        begin = max(size.first - 1, self._cut.get(topic, 0))
        share = 1 - SPACIOUS * bound / size.bytes
        cut = self._cut[topic] = begin + ceil((size.last - begin) * share)
        for home in sorted(self._held):
            for shard in self._store.placement.read_by(home, [topic]):
                read = self._readers.read(topic, shard)
                until = cut if read is None else min(cut, read)
                if until > self._trimmed.get((topic, shard), 0):
                    await self._place.trim(topic, shard, until)
                    self._trimmed[topic, shard] = until
