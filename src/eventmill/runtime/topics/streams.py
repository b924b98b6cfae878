"""Streams: topics that live in the broker, as this node reads them.

Place on the road: between the broker and dispatch. Each message shard that this node holds, or that
somebody reads here now, is followed by one reader, which fills the shard's tail in memory;
subscriptions at its end read there, those that are behind read the broker until they have caught
up. Topics of other services are read in the same way (`runtime.topics.foreign`). What plain clients sent is brought into its shards by the holder of the topics' first shards.

Invariant: a shard is followed as long as somebody wants it to be, and its tail has no gap.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from eventmill.engine import cloudevent
from eventmill.errors import ConfigurationError, Conflict, Unavailable
from eventmill.model import limits
from eventmill.model.commit import Commit
from eventmill.model.entry import DELTAS, Entry
from eventmill.model.placement import Placement
from eventmill.ports.broker import Broker, Neighbour, Past, Receipt
from eventmill.ports.store import Store
from eventmill.runtime.committer import Committer
from eventmill.runtime.dispatch.marks import SUFFIX
from eventmill.runtime.dispatch.tails import Tails
from eventmill.runtime.keeping import layout_of
from eventmill.runtime.room import InBroker
from eventmill.runtime.topics.foreign import ForeignTopics
from eventmill.runtime.topics.relay import NAME, Relay
from eventmill.runtime.topics.stream_tail import StreamTail

if TYPE_CHECKING:
    from eventmill.runtime.runtime import Runtime

log = structlog.get_logger()

RETRY_SECONDS: Final = 0.5
"""Pause when the broker cannot be read."""

ADMIT_SECONDS: Final = 5.0
"""How often the holder looks for messages of plain clients, whatever it is told."""


FACT: Final = "topics"
"""The durable fact that a store's topics live in a broker."""

MADE: Final = f"{FACT}/"
"""Begins the durable fact which stream a topic is; the topic's id follows. Positions say nothing
about another."""


async def settle_place(store: Store, committer: Committer, *, in_broker: bool) -> None:
    """Find out where the topics of a store live; decide it if that is still open.

    Raises `ConfigurationError` when they live elsewhere: positions in the store and in the broker
    are different numbers, so nobody would go on where he left off.
    """
    if FACT in await store.registry():
        if not in_broker:
            raise ConfigurationError(
                "the topics of this store live in a broker: start with --broker nats://… and "
                "without --topics store",
                code="configuration.topics",
            )
        return
    if not in_broker:
        return
    ends = await store.journal.ends()
    of_users = set(ends) - set(range(store.placement.shards)) - set(_deltas(store.placement))
    if any(ends[shard] for shard in of_users):
        raise ConfigurationError(
            "there are messages in this store already, so its topics stay there: start with "
            "--topics store, or with a new store",
            code="configuration.topics",
        )
    await committer.write(lambda commit: commit.registry.update({FACT: b"broker"}))


def _deltas(placement: Placement) -> range:
    """Shards of what replicated entities change: these are in the store wherever topics are."""
    return placement.of_topic(DELTAS) if DELTAS in placement.topics else range(0)


class Streams:
    """The broker's side of one node. Parameter: `replicas` is how many of its servers hold a message."""

    def __init__(self, runtime: Runtime, broker: Broker, replicas: int) -> None:
        self._runtime = runtime
        self._broker = broker
        self._replicas = replicas
        self._topics = runtime.service.topics
        self._tails = runtime.tails
        self._clock = runtime.clock
        self.foreign = ForeignTopics(runtime, self)
        self.place = InBroker(self._topics, broker)
        self.relay = Relay(self._topics, broker, self._expect)
        self.outbox = Tails(runtime.store.journal)
        """Where messages are before they are in the broker."""
        self.outbox.follow(runtime.committer)
        self._streams: dict[int, StreamTail] = {}
        self._first: dict[int, str] = {}
        """Topics by their first shard."""
        self._followers: Counter[int] = Counter()
        self._following = asyncio.Lock()
        self._due: set[int] = set()
        """Shards that may have something to read."""
        self._wake = asyncio.Event()
        self._is_reading = False
        self._is_away = False
        """The broker did not answer the last time."""
        self._arrived = asyncio.Event()
        """Set when a plain client may have sent something."""

    def __repr__(self) -> str:
        return f"<Streams [{len(+self._followers)} shards followed]>"

    @property
    def working(self) -> bool:
        """Whether something is known to be in the broker that is not in the tails yet."""
        return (
            bool(self._due)
            or self._is_reading
            or self._arrived.is_set()
            or any(s.expected > s.position for n, s in self._streams.items() if self._followers[n])
        )

    async def start(self) -> None:
        """Connect, make the streams that are missing, tell how others differ; begin to read.

        Raises `ConfigurationError`, `BrokerUnavailable`.
        """
        placement = self._runtime.store.placement
        await self._tails.start(range(placement.shards))
        await self.outbox.start(placement.all()[placement.shards :])
        await self._open(placement)
        self._runtime.supervisor.start("streams", self._read_on())
        self._runtime.supervisor.start("admission", self._admit_on())

    async def begin(self) -> None:
        """Carry on from the outbox into the broker."""
        await self._runtime.roster.subscribe(NAME, self.relay, tails=self.outbox)

    async def _open(self, placement: Placement) -> None:
        foreign = self._runtime.service.foreign
        if (self._topics or foreign) and not placement.topics:
            raise ConfigurationError(
                "this store keeps messages among its other entries, not in shards of their own: "
                "topics in a broker need a shared store, --store postgresql://…"
            )
        layouts = {
            id: layout_of(topic, placement.topics[id], self._replicas)
            for id, topic in self._topics.items()
        }
        self._first = {placement.of_topic(id)[0]: id for id in layouts}
        drift = await self._broker.open(
            placement.shards,
            layouts,
            placement.entity,
            self._hear,
            owner=placement.store,
            past=await self._past(placement),
        )
        await self._remember()
        for difference in drift:
            log.warning("stream differs from the settings", difference=difference)
        shards = [shard for id in (*layouts, *foreign) for shard in placement.of_topic(id)]
        for shard in shards:
            self._streams[shard] = StreamTail(
                self._broker, shard, self._read_soon, share=1 / len(shards)
            )
            self._tails.add(shard, self._streams[shard])
        for stream in self._of_topics(foreign):
            stream.is_there = False
        await self.foreign.attach()

    async def attach(self, number: int, service: str, topic: str) -> Neighbour | None:
        """Find a topic of another service; see `Broker.attach`."""
        return await self._broker.attach(number, service, topic)

    async def _past(self, placement: Placement) -> dict[str, Past]:
        """What is known of the topics' streams from before."""
        store = self._runtime.store
        facts, offsets = await store.registry(), await store.offsets()
        return {
            id: Past(facts.get(MADE + id, b"").decode(), _furthest(offsets, placement.of_topic(id)))
            for id in self._topics
        }

    async def _remember(self) -> None:
        """Note which streams these are, unless that is known.

        Raises `ConfigurationError` if another node, at another broker, was faster.
        """
        store = self._runtime.store
        made = {MADE + id: self._broker.made[id].encode() for id in self._topics}
        new = made.items() - (await store.registry()).items()
        for name, value in new:
            first = Commit(registry={name: value}, expected={name: None})
            with suppress(Conflict):  # another node was faster
                await self._runtime.committer.submit_alone(first)
        if new - (await store.registry()).items():
            raise ConfigurationError(
                "another node of this store has its topics at another broker: give all of them the "
                "same --broker",
                code="configuration.stream",
            )

    def let_in(self, topic: str) -> bool:
        """Let a topic be read from now on; return whether it was not before."""
        new = [stream for stream in self._of_topics([topic]) if not stream.is_there]
        for stream in new:
            stream.is_there = True
            self._read_soon(stream.shard)
        return bool(new)

    def shut(self, topic: str) -> None:
        """Let a topic be read no more: it is not there."""
        for stream in self._of_topics([topic]):
            stream.forget()

    def _of_topics(self, topics: Iterable[str]) -> list[StreamTail]:
        of_topic = self._runtime.store.placement.of_topic
        return [self._streams[shard] for topic in topics for shard in of_topic(topic)]

    async def close(self) -> None:
        """Disconnect."""
        await self._broker.close()

    async def follow(self, shards: Iterable[int]) -> None:
        """Keep the tails of shards up to date from now on; shards of the store are left out.

        Their ends are known when it returns, if the broker tells them: what else is done in a shard
        must not wait for it.
        """
        async with self._following:
            mine = [shard for shard in shards if shard in self._streams]
            new = [shard for shard in mine if not self._followers[shard]]
            self._followers.update(mine)
            self._arrived.set()  # there may be something to admit
            if not self._is_away:
                await self._begin([s for shard in new if (s := self._streams[shard]).is_there])
            self._read_soon(*new)

    def leave(self, shards: Iterable[int]) -> None:
        """Follow them no more, unless somebody else wants it."""
        for shard in shards:
            if self._followers[shard]:
                self._followers[shard] -= 1
                self._streams[shard].is_begun &= self._followers[shard] > 0

    async def _read_on(self) -> None:
        """Read what is new until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._is_reading = True
            failed: set[int] = set()
            while self._due:
                shard = self._due.pop()
                try:
                    await self._read(shard)
                    self._is_away = False
                except Unavailable as error:
                    self._is_away = True
                    log.warning("topic not read", shard=shard, error=str(error))
                    failed.add(shard)
            self._is_reading = False
            if failed:
                await self._clock.sleep(RETRY_SECONDS)
                self._read_soon(*failed)

    async def _admit_on(self) -> None:
        """Bring messages of plain clients into their shards until cancelled."""
        while True:
            self._arrived.clear()
            if 0 in self._runtime.held:
                for topic in self._topics:
                    await self._admit(topic)
            await self._clock.wait(self._arrived, ADMIT_SECONDS)

    def _hear(self, shard: int) -> None:
        if shard in self._first:
            self._arrived.set()
        self._read_soon(shard)

    def _read_soon(self, *shards: int) -> None:
        self._due.update(
            shard for shard in shards if self._followers[shard] and self._streams[shard].is_there
        )
        self._wake.set()

    def _expect(self, entries: Sequence[Entry], receipts: Sequence[Receipt]) -> None:
        for entry, receipt in zip(entries, receipts, strict=True):
            self._streams[entry.shard].expected = receipt.position

    async def _begin(self, streams: Sequence[StreamTail]) -> None:
        try:
            await asyncio.gather(*[stream.begin() for stream in streams])
        except Unavailable as error:
            self._is_away = True  # the next ones do not wait for it
            log.warning("ends of topics not found yet", error=str(error))

    async def _read(self, shard: int) -> None:
        stream = self._streams[shard]
        if not stream.is_begun:
            await stream.begin()
            self._tails.wake()  # there may be something to read before it
        while self._followers[shard] and stream.is_there:
            scan = await self._broker.read(
                shard, stream.position, limit=limits.DISPATCH_BATCH, until=stream.seen
            )
            if not stream.is_there or (not stream.take(scan) and not scan.entries):
                return
            self._tails.wake()
            await asyncio.sleep(0)  # a long way to the end must not hold up the node's work

    async def _admit(self, topic: str) -> None:
        complete = partial(cloudevent.completed, topic=self._topics[topic])
        try:
            while await self._broker.admit(topic, complete):
                pass
        except Unavailable as error:
            log.warning("messages of plain clients not taken", topic=topic, error=str(error))


def _furthest(offsets: Mapping[tuple[str, int], int], shards: Collection[int]) -> int:
    """Return up to where somebody has read in shards; the relay and marks count in the outbox."""
    read = [
        at
        for (name, shard), at in offsets.items()
        if shard in shards and name != NAME and SUFFIX not in name
    ]
    return max(read, default=0)
