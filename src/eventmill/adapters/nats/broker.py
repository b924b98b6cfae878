"""The broker port on JetStream: `docs/adr/0014-topics-on-jetstream.md`.

Place on the road: after the commit, before dispatch. This file knows shards and topics; how
messages are stored and read is told in `appending`, `reading` and `admission`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from eventmill.adapters.nats import api, demands, reading, streams
from eventmill.adapters.nats.admission import Admission
from eventmill.adapters.nats.appending import Lane, Message
from eventmill.adapters.nats.connection import Connection
from eventmill.adapters.nats.places import (
    Place,
    find_neighbour,
    place_of_neighbour,
    place_of_own,
)
from eventmill.adapters.nats.reading import Reader
from eventmill.adapters.nats.subjects import Subjects, token
from eventmill.engine import cloudevent, messages
from eventmill.errors import BrokerUnavailable, TooLarge, Unreachable
from eventmill.model import limits
from eventmill.model.entry import Entry
from eventmill.ports.broker import Complete, Neighbour, Past, Receipt, Size, TopicLayout, as_it_is
from eventmill.ports.clock import Clock
from eventmill.ports.store import Scan

READERS_PER_SHARD: Final = 16
"""Subscriptions of a node that read one shard from places of their own; more take turns."""


class Broker:
    """Topics in JetStream.

    Parameters: `servers` are URLs; `prefix` begins all subjects and is the application's own;
    `service` is named in the CloudEvents source of what it publishes.
    """

    def __init__(
        self, servers: Sequence[str], clock: Clock, *, service: str, prefix: str = "eventmill"
    ) -> None:
        self._connection = Connection(servers, f"{service} topics")
        self._clock = clock
        self._service = service
        self._subjects = Subjects(token(prefix))
        self._shards = 1
        self._owner = ""
        self._topics: dict[str, TopicLayout] = {}
        self._made: dict[str, str] = {}
        self._names: dict[int, str] = {}
        self._lanes: dict[str, Lane] = {}
        self._readers: dict[int, list[Reader[Entry | None]]] = {}
        self._neighbours: dict[int, tuple[str, str, Neighbour]] = {}
        """Services and topics of others, by the number that they have here."""
        self._admissions: dict[str, Admission] = {}
        self._connection.on_return(self._again)

    def __repr__(self) -> str:
        return f"<nats.Broker {self._subjects.prefix} [{len(self._topics)} topics]>"

    @property
    def layouts(self) -> Mapping[str, TopicLayout]:
        return self._topics

    @property
    def made(self) -> Mapping[str, str]:
        return self._made

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
        self._shards, self._topics = shards, dict(topics)
        self._names = {layout.number: topic for topic, layout in topics.items()}
        self._partition_of, self._on_news, self._owner = partition_of, on_news, owner
        try:
            await self._connection.open()
        except Unreachable as error:
            raise BrokerUnavailable(error.message) from error
        try:
            return await self._establish(past)
        except BaseException:
            await self._connection.close()
            raise

    async def attach(self, number: int, service: str, topic: str) -> Neighbour | None:
        found = await find_neighbour(self._connection, service, topic)
        if found is None:
            return None
        before = self._neighbours.get(number)
        self._neighbours[number] = service, topic, found
        if before is not None and before[2] != found:
            first = number * self._shards
            for shard in range(first, first + self._shards):
                await asyncio.gather(*[r.close() for r in self._readers.pop(shard, [])])
        return found

    async def close(self) -> None:
        await asyncio.gather(*[lane.close() for lane in self._lanes.values()])
        await asyncio.gather(*[r.close() for readers in self._readers.values() for r in readers])
        await asyncio.gather(*[admission.close() for admission in self._admissions.values()])
        await self._connection.close()

    async def append(self, entries: Sequence[Entry]) -> list[Receipt]:
        by_topic: dict[str, list[int]] = {}
        for at, entry in enumerate(entries):
            by_topic.setdefault(entry.source, []).append(at)
        made = [self._message(entry) for entry in entries]
        calls = [
            self._lane(topic).append([made[at] for at in places])
            for topic, places in by_topic.items()
        ]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        receipts: dict[int, Receipt] = {}
        for places, outcome in zip(by_topic.values(), outcomes, strict=True):
            if isinstance(outcome, BaseException):
                raise outcome
            receipts.update(zip(places, outcome, strict=True))
        return [receipts[at] for at in range(len(entries))]

    async def read(self, shard: int, after: int, *, limit: int, until: int = 0) -> Scan:
        reader = self._reader(shard, after)
        while True:
            found = await reader.read(after, limit, until)
            entries = [entry for _, entry in found if entry is not None]
            if entries or not found:
                return Scan(entries, found[-1][0] if found else max(after, until))
            after = found[-1][0]

    async def end(self, shard: int) -> int:
        place = self._place(shard)
        ends = [await self._last(place.stream, filter) for filter in place.filters]
        if last := max(ends):
            return last
        # None is left: those there were lie below the first one that the stream still holds.
        state = (await self._call(f"STREAM.INFO.{place.stream}"))["state"]
        return max(0, int(state["first_seq"]) - 1)

    async def position_at(self, shard: int, time: int) -> int:
        place, text = self._place(shard), cloudevent.time_text(time)
        try:
            return await reading.position_at(self._connection, place.stream, place.filters, text)
        except api.JetStreamError as error:
            raise api.unavailable(error) from error

    async def trim(self, shard: int, position: int) -> None:
        number, partition = divmod(shard, self._shards)
        topic = self._names[number]
        body = {"filter": self._subjects.partition(topic, partition), "seq": position + 1}
        await self._call(f"STREAM.PURGE.{self._subjects.stream(topic)}", body)

    async def size(self, topic: str) -> Size:
        answer = await self._call(f"STREAM.INFO.{self._subjects.stream(topic)}")
        state = answer["state"]
        return Size(state["bytes"], max(1, state["first_seq"]), state["last_seq"])

    async def _last(self, stream: str, filter: str) -> int:
        """Return the position of the last message on a subject; 0 if there is none."""
        try:
            answer = await api.call(
                self._connection, f"STREAM.MSG.GET.{stream}", {"last_by_subj": filter}
            )
        except api.JetStreamError as error:
            if error.code != api.MESSAGE_NOT_FOUND:
                raise api.unavailable(error) from error
            return 0
        return int(answer["message"]["seq"])

    async def _call(self, name: str, body: Any = None) -> dict[str, Any]:
        try:
            return await api.call(self._connection, name, body)
        except api.JetStreamError as error:
            raise api.unavailable(error) from error

    async def admit(self, topic: str, complete: Complete = as_it_is) -> int:
        admission = self._admissions.get(topic)
        if admission is None:
            first = self._topics[topic].number * self._shards
            admission = self._admissions[topic] = Admission(
                self._connection,
                self._subjects,
                topic,
                self._partition_of,
                lambda: self._on_news(first),
            )
        return await admission.move(complete)

    async def _establish(self, past: Mapping[str, Past]) -> list[str]:
        demands.check_version(self._connection)
        refused = demands.refused_for_size(self._connection)
        drift = [refused] if refused else []
        for topic, layout in list(self._topics.items()):
            stream = await streams.establish(
                self._connection,
                self._subjects,
                topic,
                self._shards,
                layout,
                self._owner,
                past.get(topic, Past()),
            )
            self._topics[topic], self._made[topic] = stream.layout, stream.made
            drift += stream.drift
        return drift

    def _message(self, entry: Entry) -> Message:
        source = cloudevent.topic_source(self._service, entry.source)
        message = Message(
            self._subjects.message(entry.source, self._partition_of(entry.subject), entry.subject),
            b"Nats-Msg-Id: %s\r\n" % entry.id.encode() + messages.header_lines(entry, source),
            entry.payload,
        )
        most = min(limits.PAYLOAD_BYTES_MAX, self._connection.max_payload - message.overhead)
        if len(entry.payload) > most:
            raise TooLarge(
                f"message {entry.id} of topic {entry.source!r} has {len(entry.payload)} bytes, at "
                f"most {most} can be stored",
                details={"entry": entry.id},
            )
        return message

    def _lane(self, topic: str) -> Lane:
        lane = self._lanes.get(topic)
        if lane is None:
            lane = self._lanes[topic] = Lane(self._connection, self._clock)
        return lane

    def _reader(self, shard: int, after: int) -> Reader[Entry | None]:
        """Return a reader that goes on there, or the one that is to begin there."""
        readers = self._readers.setdefault(shard, [])
        for reader in readers:
            if reader.behind == after and not reader.busy:
                break
        else:
            reader = self._new_reader(shard) if len(readers) < READERS_PER_SHARD else readers[0]
            readers.append(reader)
        readers.remove(reader)
        readers.append(reader)  # the first one is the one that was used longest ago
        return reader

    def _new_reader(self, shard: int) -> Reader[Entry | None]:
        place = self._place(shard)
        return Reader(
            self._connection,
            place.stream,
            place.filters,
            place.made_of,
            lambda: self._on_news(shard),
        )

    def _place(self, shard: int) -> Place:
        number, home = divmod(shard, self._shards)
        if number in self._neighbours:
            return place_of_neighbour(*self._neighbours[number], shard, self._shards)
        return place_of_own(self._subjects, self._names[number], shard, home, self._partition_of)

    def _again(self) -> None:
        """The connection is there again: consumers that lived in the server's memory may not be."""
        for readers in self._readers.values():
            for reader in readers:
                reader.lost()
        for admission in self._admissions.values():
            admission.lost()
