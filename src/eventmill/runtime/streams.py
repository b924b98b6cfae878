"""Streams: topics that live in the broker, as this node reads them.

Place on the road: between the broker and dispatch. Each message shard that this node holds, or that
somebody reads here now, is followed by one reader, which fills the shard's tail in memory;
subscriptions at its end read there, those that are behind read the broker until they have caught
up. What plain clients sent is brought into its shards by the holder of the topics' first shards.

Invariants: of a tail, everything above `_floor` up to `position` is in memory, in order; an end
never moves back.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import structlog

from eventmill.errors import ConfigurationError, Unavailable
from eventmill.model import limits
from eventmill.model.entry import Entry
from eventmill.model.placement import Placement
from eventmill.model.topic import Topic
from eventmill.ports.broker import Broker, Receipt, TopicLayout
from eventmill.ports.clock import Clock
from eventmill.ports.store import Scan, Store
from eventmill.runtime.committer import Committer
from eventmill.runtime.relay import Relay
from eventmill.runtime.tails import Tails, portion

log = structlog.get_logger()

RETRY_SECONDS: Final = 0.5
"""Pause when the broker cannot be read."""

ADMIT_SECONDS: Final = 5.0
"""How often the holder looks for messages of plain clients, whatever it is told."""


FACT: Final = "topics"
"""The durable fact that a store's topics live in a broker."""


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
    if any(end for shard, end in ends.items() if shard >= store.placement.shards):
        raise ConfigurationError(
            "there are messages in this store already, so its topics stay there: start with "
            "--topics store, or with a new store",
            code="configuration.topics",
        )
    await committer.write(lambda commit: commit.registry.update({FACT: b"broker"}))


class Streams:
    """The broker's side of one node.

    Parameters: `tails` read from here what is in the broker; `held` are the home shards whose work
    is done here; `replicas` is how many of the broker's servers hold a message.
    """

    def __init__(
        self,
        broker: Broker,
        topics: Mapping[str, Topic[Any]],
        tails: Tails,
        held: Collection[int],
        clock: Clock,
        *,
        replicas: int = 1,
    ) -> None:
        self._broker = broker
        self._topics = topics
        self._tails = tails
        self._held = held
        self._clock = clock
        self._replicas = replicas
        self.relay = Relay(topics, broker, self._expect)
        self._streams: dict[int, StreamTail] = {}
        self._first: dict[int, str] = {}
        """Topics by their first shard."""
        self._followers: Counter[int] = Counter()
        self._following = asyncio.Lock()
        self._due: set[int] = set()
        """Shards that may have something to read."""
        self._wake = asyncio.Event()
        self._is_reading = False
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

    async def open(self, placement: Placement) -> None:
        """Connect, make the streams that are missing, tell how others differ.

        Raises `ConfigurationError`, `BrokerUnavailable`.
        """
        if self._topics and not placement.topics:
            raise ConfigurationError(
                "this store keeps messages among its other entries, not in shards of their own: "
                "topics in a broker need a shared store, --store postgresql://…"
            )
        layouts = {id: self._layout(topic, placement) for id, topic in self._topics.items()}
        self._first = {placement.of_topic(id)[0]: id for id in layouts}
        drift = await self._broker.open(
            placement.shards, layouts, placement.entity, self._hear, owner=placement.store
        )
        for difference in drift:
            log.warning("stream differs from the settings", difference=difference)
        shards = [shard for id in layouts for shard in placement.of_topic(id)]
        for shard in shards:
            self._streams[shard] = StreamTail(self._broker, shard, share=1 / len(shards))
            self._tails.add(shard, self._streams[shard])

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
            begun = await asyncio.gather(
                *[self._streams[shard].begin() for shard in new], return_exceptions=True
            )
            for error in begun:
                if isinstance(error, Unavailable):
                    log.warning("end of a topic not found yet", error=str(error))
                elif error is not None:
                    raise error
            self._read_soon(*new)

    def leave(self, shards: Iterable[int]) -> None:
        """Follow them no more, unless somebody else wants it."""
        for shard in shards:
            if self._followers[shard]:
                self._followers[shard] -= 1
                self._streams[shard].is_begun &= self._followers[shard] > 0

    async def run(self) -> None:
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
                except Unavailable as error:
                    log.warning("topic not read", shard=shard, error=str(error))
                    failed.add(shard)
            self._is_reading = False
            if failed:
                await self._clock.sleep(RETRY_SECONDS)
                self._read_soon(*failed)

    async def run_admission(self) -> None:
        """Bring messages of plain clients into their shards until cancelled."""
        while True:
            self._arrived.clear()
            if 0 in self._held:
                for topic in self._topics:
                    await self._admit(topic)
            await self._clock.wait(self._arrived, ADMIT_SECONDS)

    def look(self) -> None:
        """A home shard was taken: there may be something to admit."""
        self._arrived.set()

    def _hear(self, shard: int) -> None:
        if shard in self._first:
            self._arrived.set()
        self._read_soon(shard)

    def _read_soon(self, *shards: int) -> None:
        self._due.update(shard for shard in shards if self._followers[shard])
        self._wake.set()

    def _expect(self, entries: Sequence[Entry], receipts: Sequence[Receipt]) -> None:
        for entry, receipt in zip(entries, receipts, strict=True):
            self._streams[entry.shard].expected = receipt.position

    async def _read(self, shard: int) -> None:
        stream = self._streams[shard]
        if not stream.is_begun:
            await stream.begin()
        while self._followers[shard]:
            scan = await self._broker.read(shard, stream.position, limit=limits.DISPATCH_BATCH)
            if not scan.entries:
                return
            stream.take(scan.entries)
            self._tails.wake()
            await asyncio.sleep(0)  # a long way to the end must not hold up the node's work

    async def _admit(self, topic: str) -> None:
        try:
            while await self._broker.admit(topic):
                pass
        except Unavailable as error:
            log.warning("messages of plain clients not taken", topic=topic, error=str(error))

    def _layout(self, topic: Topic[Any], placement: Placement) -> TopicLayout:
        age = topic.retention.total_seconds() if topic.retention is not None else 0.0
        return TopicLayout(placement.topics[topic.id], replicas=self._replicas, age_seconds=age)


class StreamTail:
    """End of one message shard in the broker; as `tails.Tail`, but positions have gaps.

    Parameter: `share` of what all tails together may keep in memory.
    """

    def __init__(self, broker: Broker, shard: int, *, share: float) -> None:
        self._broker = broker
        self.shard = shard
        self.position = 0
        self.expected = 0
        """Of what this node stored itself, the last position."""
        self._entries: list[Entry] = []
        self._positions: list[int] = []
        """Of these entries."""
        self._floor = 0
        self.is_begun = False
        """Whether the end was found, and what follows it is taken."""
        self._bytes = 0
        self._entries_max = limits.TAIL_RECORDS * share
        self._bytes_max = limits.TAIL_BYTES * share

    def __repr__(self) -> str:
        return f"<StreamTail {self.shard} [position {self.position}, {len(self._entries)} kept]>"

    async def begin(self) -> None:
        """Find the end and go on there: what lies before is read from the broker.

        Raises `BrokerUnavailable`.
        """
        end = await self.find_end()
        self.is_begun = True
        if end > self.position:
            self._entries, self._positions, self._bytes = [], [], 0
            self.position = self._floor = end

    def take(self, entries: Sequence[Entry]) -> None:
        """Take what follows."""
        new = [entry for entry in entries if entry.position > self.position]
        if not new:
            return
        self._entries += new
        self._positions += [entry.position for entry in new]
        self.position = new[-1].position
        self._bytes += sum(len(entry.payload) for entry in new)
        if len(self._entries) > 2 * self._entries_max or self._bytes > 2 * self._bytes_max:
            self._trim(len(self._entries) // 2)

    async def read(self, after: int, *, limit: int, sources: frozenset[str]) -> Scan:
        if after < self._floor:
            scan = await self._broker.read(self.shard, after, limit=limit, until=self._floor)
            return portion(scan.entries, scan.position)
        first = bisect_right(self._positions, after)
        found = self._entries[first : first + limit]
        return portion(found, found[-1].position if found else after)

    async def between(self, low: int, high: int, sources: frozenset[str]) -> Scan:
        scan = await self._broker.read(self.shard, low, limit=limits.SCAN_ROWS, until=high)
        found = [entry for entry in scan.entries if entry.position <= high]
        is_all = len(found) < len(scan.entries) or not found
        return Scan(found, high if is_all else found[-1].position)

    async def find_end(self) -> int:
        return await self._broker.end(self.shard)

    async def position_at(self, time: int) -> int:
        return await self._broker.position_at(self.shard, time)

    def _trim(self, count: int) -> None:
        self._floor = self._positions[count - 1] if count else self._floor
        self._bytes -= sum(len(entry.payload) for entry in self._entries[:count])
        del self._entries[:count], self._positions[:count]
