"""The model of a broker: what every adapter does, in plain lists and with nothing durable.

Several nodes of one process share a `Topics`; what is in it lives as long as it does.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from copy import copy

from eventmill.engine import messages
from eventmill.engine.adopting import adopter
from eventmill.errors import BrokerUnavailable, ConfigurationError, TooLarge
from eventmill.model import limits
from eventmill.model.entry import Entry
from eventmill.ports.broker import Complete, Neighbour, Past, Receipt, Size, TopicLayout, as_it_is
from eventmill.ports.clock import Clock
from eventmill.ports.store import Scan

OVERHEAD = 200
"""Bytes of a message beside its payload."""


class Topics:
    """What is stored for a service, shared by the brokers of all its nodes.

    Parameters: `service` is its name, by which those of other services find it; `beside` is another
    service's on the same server.
    """

    def __init__(
        self, clock: Clock, service: str = "shop", *, beside: Topics | None = None
    ) -> None:
        self.clock = clock
        self.services: dict[str, Topics] = beside.services if beside else {}
        self.services[service] = self
        self.failing = False
        """Set by a test: nothing can be stored or read."""
        self.shards: int | None = None
        self.owner: str | None = None
        self.layouts: dict[str, TopicLayout] = {}
        self.streams: dict[str, _Stream] = {}
        self.brokers: list[Broker] = []
        """Who is told what is new."""

    def __repr__(self) -> str:
        return f"<memory.Topics {sorted(self.streams)}>"

    def publish(self, topic: str, headers: bytes, payload: bytes) -> None:
        """Send a message to a topic as a plain client does; `headers` are lines."""
        stream = self.streams[topic]
        stream.last += 1
        now = self.clock.now()
        stream.outside.append(messages.Arrived(topic, 0, stream.last, now, headers, payload))
        self.tell(self.layouts[topic].number * (self.shards or 1))

    def expire(self) -> None:
        """Remove what is older than its topic keeps it."""
        for topic, layout in self.layouts.items():
            if layout.age_seconds:
                old = self.clock.now() - round(layout.age_seconds * 1e6)
                stream = self.streams[topic]
                stream.entries = [e for e in stream.entries if stream.stored[e.position][1] > old]

    def tell(self, shard: int) -> None:
        """Tell all nodes that a shard has something new."""
        loop = asyncio.get_running_loop()
        for topics in self.services.values():
            for broker in topics.brokers:
                loop.call_soon(broker.news, self, shard)


class Broker:
    """One node's way to the topics."""

    def __init__(self, topics: Topics) -> None:
        self._topics = topics
        self._read: set[int] = set()
        self._neighbours: dict[int, tuple[str, str]] = {}
        """Service and topic of others, by the number that they have here."""
        self._on_news: Callable[[int], None] = lambda shard: None
        self._partition_of: Callable[[str], int] = lambda key: 0

    def __repr__(self) -> str:
        return f"<memory.Broker of {self._topics!r}>"

    @property
    def layouts(self) -> Mapping[str, TopicLayout]:
        return self._topics.layouts

    @property
    def made(self) -> Mapping[str, str]:
        return {topic: stream.made for topic, stream in self._topics.streams.items()}

    async def open(
        self,
        shards: int,
        topics: Mapping[str, TopicLayout],
        partition_of: Callable[[str], int],
        on_news: Callable[[int], None],
        *,
        owner: str = "",
        past: Mapping[str, Past] = {},
    ) -> list[str]:
        self._check()
        shared = self._topics
        drift = []
        if shared.owner not in (None, owner):
            raise ConfigurationError(
                "these topics belong to another store", code="configuration.stream"
            )
        for topic, layout in topics.items():
            found = shared.layouts.get(topic)
            if found and (shared.shards, found.number) != (shards, layout.number):
                raise ConfigurationError(
                    f"topic {topic!r} has number {found.number} and {shared.shards} shards, not "
                    f"{layout.number} and {shards}",
                    code="configuration.stream",
                )
            if found and found != layout:
                drift.append(f"topic {topic!r} has {found}, the settings say {layout}")
            before, stream = past.get(topic, Past()), shared.streams.get(topic)
            if before.made and (stream is None or stream.made != before.made):
                raise ConfigurationError(
                    f"topic {topic!r}: this is not the stream that its messages were in",
                    code="configuration.stream",
                )
            if stream is not None and stream.last < before.read:
                raise ConfigurationError(
                    f"topic {topic!r}: its stream ends at {stream.last}, but its messages were read "
                    f"up to {before.read}",
                    code="configuration.stream",
                )
            shared.layouts.setdefault(topic, layout)
            shared.streams.setdefault(topic, _Stream(before.read))
        shared.shards, shared.owner = shards, owner
        self._partition_of, self._on_news = partition_of, on_news
        if self not in shared.brokers:
            shared.brokers.append(self)
        return drift

    async def attach(self, number: int, service: str, topic: str) -> Neighbour | None:
        self._check()
        theirs = self._topics.services.get(service)
        if theirs is None or topic not in theirs.streams:
            return None
        self._neighbours[number] = service, topic
        layout = theirs.layouts[topic]
        return Neighbour(
            theirs.owner or "", theirs.shards or 1, layout.number, when_read=layout.when_read
        )

    async def close(self) -> None:
        if self in self._topics.brokers:
            self._topics.brokers.remove(self)

    async def append(self, entries: Sequence[Entry]) -> list[Receipt]:
        self._check()
        for entry in entries:
            if len(entry.payload) > limits.PAYLOAD_BYTES_MAX:
                raise TooLarge(
                    f"message {entry.id} has {len(entry.payload)} bytes",
                    details={"entry": entry.id},
                )
        return [self._store(entry, entry.id) for entry in entries]

    async def read(self, shard: int, after: int, *, limit: int, until: int = 0) -> Scan:
        self._check()
        self._read.add(shard)
        _, entries = self._entries(shard)
        found = [entry for entry in entries if entry.position > after][:limit]
        end = found[-1].position if found else max(after, until)
        return Scan([copy(entry) for entry in found], end)

    async def end(self, shard: int) -> int:
        self._check()
        stream, entries = self._entries(shard)
        return entries[-1].position if entries else stream.first - 1

    async def position_at(self, shard: int, time: int) -> int:
        self._check()
        stream, _ = self._entries(shard)
        before = [p for p, (_, stored) in stream.stored.items() if stored < time]
        return max(before, default=0)

    async def trim(self, shard: int, position: int) -> None:
        self._check()
        stream, _ = self._entries(shard)
        stream.entries = [e for e in stream.entries if e.shard != shard or e.position > position]

    async def size(self, topic: str) -> Size:
        self._check()
        stream = self._topics.streams[topic]
        return Size(stream.bytes, stream.first, stream.last)

    async def admit(self, topic: str, complete: Complete = as_it_is) -> int:
        self._check()
        stream = self._topics.streams[topic]
        taken = stream.outside[: limits.BROKER_ADMITTED_MAX]
        del stream.outside[: len(taken)]
        for one in taken:
            key, arrived = messages.admitted(one, complete)
            shard = self._shard(topic, key)
            stream.last += 1
            there = messages.Arrived(
                topic, shard, stream.last, arrived.stored, arrived.headers, arrived.payload
            )
            self._put(stream, messages.entry_of(there))
        return len(taken)

    def news(self, topics: Topics, shard: int) -> None:
        """Something is new in a shard of a service."""
        if topics is not self._topics:
            for one in self._read:
                if one // self._shards in self._neighbours:
                    self._on_news(one)
        elif shard in self._read or shard % self._shards == 0:
            self._on_news(shard)

    def _store(self, entry: Entry, id: str) -> Receipt:
        stream = self._topics.streams[entry.source]
        now = self._topics.clock.now()
        known = stream.ids.get(id)
        if known and now - known[1] < limits.DUPLICATES_SECONDS * 1_000_000:
            return Receipt(known[0], True)
        bound = self._topics.layouts[entry.source].bytes
        if bound and stream.bytes + len(entry.payload) + OVERHEAD > bound:
            raise BrokerUnavailable(f"maximum bytes of topic {entry.source!r} exceeded")
        stream.last += 1
        stored = copy(entry)
        stored.shard, stored.position = self._shard(entry.source, entry.subject), stream.last
        stored.origin = id
        stream.ids[id] = (stream.last, now)
        self._put(stream, stored)
        return Receipt(stream.last, False)

    def _put(self, stream: _Stream, entry: Entry) -> None:
        stream.entries.append(entry)
        stream.stored[entry.position] = (entry.shard, self._topics.clock.now())
        self._topics.tell(entry.shard)

    def _shard(self, topic: str, key: str) -> int:
        return self._topics.layouts[topic].number * self._shards + self._partition_of(key)

    @property
    def _shards(self) -> int:
        return self._topics.shards or 1

    def _entries(self, shard: int) -> tuple[_Stream, list[Entry]]:
        """Return the stream of a shard, and what of it is in the shard."""
        number = shard // self._shards
        if number in self._neighbours:
            return self._adopted(shard, *self._neighbours[number])
        for topic, layout in self._topics.layouts.items():
            if layout.number == number:
                stream = self._topics.streams[topic]
                return stream, [entry for entry in stream.entries if entry.shard == shard]
        raise KeyError(shard)

    def _adopted(self, shard: int, service: str, topic: str) -> tuple[_Stream, list[Entry]]:
        theirs = self._topics.services[service]
        theirs.expire()
        adopt = adopter(service, shard, self._shards, theirs.shards or 1)
        stream = theirs.streams[topic]
        return stream, [own for entry in stream.entries if (own := adopt(entry))]

    def _check(self) -> None:
        if self._topics.failing:
            raise BrokerUnavailable("the test's broker is down")
        self._topics.expire()


class _Stream:
    """One topic's messages. As in JetStream, its partitions share one sequence."""

    def __init__(self, last: int = 0) -> None:
        self.made = secrets.token_hex(8)
        self.last = last
        self.entries: list[Entry] = []
        self.outside: list[messages.Arrived] = []
        self.stored: dict[int, tuple[int, int]] = {}
        """Shard and time by position, also of what was removed."""
        self.ids: dict[str, tuple[int, int]] = {}

    @property
    def bytes(self) -> int:
        """What is there, a little more a message for what is not its payload."""
        payloads = [e.payload for e in self.entries] + [a.payload for a in self.outside]
        return sum(len(payload) + OVERHEAD for payload in payloads)

    @property
    def first(self) -> int:
        """The first position that is there, or would be the next."""
        there = [entry.position for entry in self.entries[:1]]
        there += [arrived.position for arrived in self.outside[:1]]
        return min(there, default=self.last + 1)
