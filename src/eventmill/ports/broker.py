"""The broker port: topics' messages outside the store, in shards of their own.

Place on the road: after the commit (a relay appends what was committed), before dispatch (consumers
read). A topic has as many partitions as the store has shards; its message shard is
`number * shards + partition`, and the partition of a key is told by `partition_of`.

Invariants every adapter keeps (tested by `eventmill.testing.contract.BrokerContract`):
- What `append` returned for is durable, and stored once: an entry's id in the outbox is its
  message id, which is remembered for `limits.DUPLICATES_SECONDS`. Entries read carry it as
  `origin`, so that a reader's high-water mark tells repetitions apart for ever.
- Entries of one partition are stored in the order in which they were given; if one cannot be, none
  behind it is. After an error, give the same entries again, in the same order.
- Positions of a shard grow, with gaps.
- Of topics of other services nothing is changed, they are only read.
- What plain clients published is read as well: CloudEvents become entries like our own; what is no
  valid event becomes an entry of type `engine.messages.MALFORMED`, with the original bytes in its payload.
Driver errors never leave an adapter; a lost connection is made again by itself, for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from eventmill.model.cloudevents import CloudEvent
from eventmill.model.entry import Entry
from eventmill.ports.store import Scan

Complete = Callable[[CloudEvent], CloudEvent]
"""Adds to an event what its sender left to the topic to say; returns the same one if that is nothing."""


def as_it_is(event: CloudEvent) -> CloudEvent:
    """Add nothing to an event."""
    return event


class TopicLayout(msgspec.Struct, frozen=True):
    """How a topic's messages are kept."""

    number: int
    """From 1, never changed and never used again: message shards are counted by it."""
    replicas: int = 1
    """Servers that hold a copy."""
    age_seconds: float = 0.0
    """Messages older than this are removed; 0: none."""
    bytes: int = 0
    """Beyond this many bytes nothing more is taken until something was removed; 0: no bound.
    Never does the broker remove messages to make room: somebody might not have read them."""
    when_read: bool = False
    """What the service's own subscriptions have read is removed by its nodes (`trim`), so nobody
    else can rely on finding it."""


class Past(NamedTuple):
    """What a store knows of a topic from before: its positions are those of one stream alone."""

    made: str = ""
    """What tells the stream from any other; empty: there was none yet."""
    read: int = 0
    """The furthest position that somebody has read."""


class Neighbour(msgspec.Struct, frozen=True, omit_defaults=True):
    """A topic of another service, as it lies in the broker. Two that are equal have the same
    positions."""

    store: str
    """Identity of that service's store."""
    shards: int
    number: int
    """Of the topic in that store."""
    made: str = ""
    """When it was made there."""
    when_read: bool = False
    """That service removes what its own subscriptions have read: nobody else can follow it."""


class Receipt(NamedTuple):
    """Where an entry was stored."""

    position: int
    """In the shard of its key."""
    duplicate: bool
    """It had been stored before; nothing was stored now."""


class Size(NamedTuple):
    """How much of a topic is there."""

    bytes: int
    """As the broker counts them, against `TopicLayout.bytes`."""
    first: int
    """Position of the first message, of all shards; one above `last` if there is none."""
    last: int


class Broker(Protocol):
    """Topics' messages: append, read, remove."""

    @property
    def layouts(self) -> Mapping[str, TopicLayout]:
        """How the topics are kept, whatever the settings say; known while it is open."""
        ...

    @property
    def made(self) -> Mapping[str, str]:
        """What tells the stream of each topic from one that was made anew; known while it is open."""
        ...

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
        """Connect, make what is missing, return how the rest differs from `topics`, as sentences.

        `owner` is the identity of the store whose topics they are. What is there is never changed:
        a difference that loses no messages is told; one that would (other shards, another number,
        another owner) raises `ConfigurationError`, and so does what is not there any more, or not as
        far as `past` tells: what is stored from then on would be taken for read. `on_news` is called
        with a shard that has something new: for shards that have been read, and, for messages that
        wait to be admitted, with the topic's first shard. Raises `BrokerUnavailable`.
        """
        ...

    async def attach(self, number: int, service: str, topic: str) -> Neighbour | None:
        """Find a topic of another service; None if it has no such topic in this broker.

        From then on its messages are read here as the message shards of `number`, one per home
        shard of this store: in each are those whose keys live there (`model.placement`), however
        many shards the other store has. Their source is `service/topic`; `engine.adopting` says
        how they are called. Raises `BrokerUnavailable`.
        """
        ...

    async def close(self) -> None:
        """Disconnect; what was stored stays."""
        ...

    async def append(self, entries: Sequence[Entry]) -> list[Receipt]:
        """Store entries of the outbox in the partitions of their keys; return when it is durable.

        Many calls may be under way. Raises `BrokerUnavailable` (some may be stored: append the same
        again), `Overloaded`, and `TooLarge` before anything was stored.
        """
        ...

    async def read(self, shard: int, after: int, *, limit: int, until: int = 0) -> Scan:
        """Return entries above a position, in order; `Scan.position` is where to go on.

        Messages are fetched ahead: what was stored a moment ago may only be told by `on_news`.
        `until` is a position that somebody has seen: an empty scan means that nothing is left up to
        there, and goes on behind it. Raises `BrokerUnavailable`.
        """
        ...

    async def end(self, shard: int) -> int:
        """Return a position not below the last message and not above the next one."""
        ...

    async def position_at(self, shard: int, time: int) -> int:
        """Return a position before the first message stored at `time` (microseconds) or later."""
        ...

    async def trim(self, shard: int, position: int) -> None:
        """Remove messages up to a position."""
        ...

    async def size(self, topic: str) -> Size:
        """Return how large a topic is. Raises `BrokerUnavailable`."""
        ...

    async def admit(self, topic: str, complete: Complete = as_it_is) -> int:
        """Move messages that plain clients sent to the topic into the partitions of their keys.

        `complete` tells what they lack: the key becomes an event's subject.
        Returns how many were moved: each exactly once, whoever else does it at the same time. Call
        it until it moves none, and again at news of the topic's first shard.
        """
        ...
