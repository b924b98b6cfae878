"""Reading subjects of a stream in order: one consumer, fetched ahead.

The consumer is ephemeral, in memory, without acknowledgements: offsets are kept by the store. It
begins where the reader wants to go on; a reader that goes on somewhere else gets another consumer.
One fetch is always under way while there is room, and waits at the server when there is nothing: so
a new message comes at once, and its coming is the news.

When anything is wrong (the server was restarted, the consumer is gone, a message is missing), the
reader is told that there is news, and its next read begins again behind the last entry it got.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgspec

from eventmill.adapters.nats import api, wire
from eventmill.adapters.nats.connection import Connection
from eventmill.engine.messages import Arrived
from eventmill.errors import BrokerUnavailable, Unavailable
from eventmill.model import limits

FETCH_SECONDS: Final = 20.0
"""A fetch waits this long at the server, then it is made again."""
SILENCE_SECONDS: Final = 2 * FETCH_SECONDS
"""Without a word for this long, the consumer is taken for gone."""
UNUSED_SECONDS: Final = 120.0
"""The server removes a consumer that nobody fetched from for so long."""
SUBJECTS: Final = 8 << 10
"""Bytes of a message's subjects, which the server counts as well."""

_NANOSECONDS = 1_000_000_000
T = TypeVar("T")


class Stored(NamedTuple):
    """A message as it comes from a stream."""

    subject: str
    sequence: int
    time: int
    """When it was stored, microseconds since the epoch."""
    headers: bytes | None
    payload: bytes

    def arrived(self, topic: str, shard: int) -> Arrived:
        """Return it in the engine's terms."""
        lines = wire.lines_of(self.headers)
        return Arrived(topic, shard, self.sequence, self.time, lines, self.payload)


class Reader(Generic[T]):
    """Reads a stream's messages on some subjects.

    Parameters: `filters` are the subjects; `made_of` makes an item of a message; `tell` is called when
    there is news.
    """

    def __init__(
        self,
        connection: Connection,
        stream: str,
        filters: Sequence[str],
        made_of: Callable[[Stored], T],
        tell: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._stream = stream
        self._filters = filters
        self._made_of = made_of
        self._tell = tell
        self._inbox = connection.inbox("read")
        self._items: deque[tuple[int, T]] = deque()
        self._arrived = asyncio.Event()
        self._lock = asyncio.Lock()
        self._consumer = ""
        self.behind = 0
        """Position behind which the next item that is returned lies."""
        self._fetching = ""
        """Where the end of the fetch under way is told; ends of earlier ones may come late."""
        self._due = 0
        """Messages that the fetch under way may still bring."""
        self._number = 0
        """The consumer's number of the last message: a gap in it is a loss."""
        self._pending = 0
        """Messages that were there behind the last one when it was sent."""
        self._broken = True
        self._alarm: asyncio.TimerHandle | None = None

    @property
    def busy(self) -> bool:
        """Whether somebody reads it now."""
        return self._lock.locked()

    async def read(self, after: int, limit: int, until: int = 0) -> list[tuple[int, T]]:
        """Return up to `limit` items above a position, with theirs; none only if there is none up
        to `until`.

        Raises `BrokerUnavailable`.
        """
        async with self._lock:
            if after != self.behind or (self._broken and not self._items):
                await self._begin(after)
            elif not self._items and not self._pending and after < until:
                # Somebody has seen more: it is on its way, or gone. A new consumer knows.
                await self._begin(after)
            if not self._items and self._pending:
                await self._wait()
            found = [self._items.popleft() for _ in range(min(limit, len(self._items)))]
            if found:
                self.behind = found[-1][0]
            self._fetch()
            return found

    def lost(self) -> None:
        """The connection was lost: begin again with the next read."""
        if not self._broken:
            self._break()

    async def close(self) -> None:
        """Let go of the consumer."""
        self._broken = True
        await self._connection.unsubscribe(f"{self._inbox}.*")
        self._forget_consumer()

    async def _begin(self, after: int) -> None:
        self._forget_consumer()
        await self._connection.unsubscribe(f"{self._inbox}.*")
        self._inbox = self._connection.inbox(
            "read"
        )  # what the old consumer still sends is not heard
        self._items.clear()
        self.behind, self._due, self._number = after, 0, 0
        await self._connection.subscribe(f"{self._inbox}.*", self._taken)
        self._consumer = f"read-{secrets.token_hex(8)}"
        config = _consumer(self._consumer, self._filters) | {
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": after + 1,
        }
        try:
            made = await create_consumer(self._connection, self._stream, config)
        except api.JetStreamError as error:
            raise api.unavailable(error) from error
        self._pending = made["num_pending"]
        self._broken = False
        self._fetch()

    async def _wait(self) -> None:
        """Wait for what is known to be there."""
        self._arrived.clear()
        try:
            async with asyncio.timeout(limits.BROKER_ATTEMPT_SECONDS):
                await self._arrived.wait()
        except TimeoutError:
            self._broken = True
            raise BrokerUnavailable("JetStream does not send what it has") from None
        if not self._items:
            raise BrokerUnavailable("JetStream stopped sending; read again")

    def _fetch(self) -> None:
        """Ask for more if none is under way and there is room."""
        room = limits.BROKER_PREFETCH - len(self._items)
        if self._due or self._broken or room < limits.BROKER_PREFETCH // 2:
            return
        self._due = room
        self._fetching = f"{self._inbox}.{self._number}"
        body = {
            "batch": room,
            "expires": round(FETCH_SECONDS * _NANOSECONDS),
            # The largest message must fit, or it would never come.
            "max_bytes": max(limits.BROKER_PREFETCH_BYTES, self._connection.max_payload + SUBJECTS),
        }
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._consumer}"
        try:
            self._connection.post(
                wire.publish(subject, msgspec.json.encode(body), reply=self._fetching)
            )
        except Unavailable:
            self._break()
            return
        self._alarm = asyncio.get_running_loop().call_later(SILENCE_SECONDS, self._break)

    def _taken(self, subject: str, reply: str, payload: bytes, headers: bytes | None) -> None:
        """Take what the consumer sends: messages, and the ends of fetches."""
        if self._broken:
            return
        if subject.startswith(self._inbox):
            if subject == self._fetching:
                self._ended(wire.status_of(headers))
            return
        sequence, number, nanoseconds, pending = place_of(reply)
        if number != self._number + 1:
            self._break()
            return
        self._number, self._pending = number, pending
        self._due -= 1
        stored = Stored(subject, sequence, nanoseconds // 1000, headers, payload)
        self._items.append((sequence, self._made_of(stored)))
        if len(self._items) == 1:
            self._news()
        if not self._due:
            self._rest()

    def _ended(self, status: bytes) -> None:
        self._due = 0
        if status[:3] in _USUAL_ENDS and not status.startswith(_GONE):
            self._rest()
        else:
            self._break()

    def _rest(self) -> None:
        """A fetch has ended: begin the next one, if there is room."""
        if self._alarm is not None:
            self._alarm.cancel()
        self._fetch()

    def _break(self) -> None:
        self._broken = True
        self._news()

    def _news(self) -> None:
        self._arrived.set()
        self._tell()

    def _forget_consumer(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        if self._consumer:
            subject = f"$JS.API.CONSUMER.DELETE.{self._stream}.{self._consumer}"
            self._consumer = ""
            try:
                self._connection.post(wire.publish(subject, b"", reply=f"{self._inbox}.gone"))
            except Unavailable:
                return  # the server removes it by itself


async def create_consumer(
    connection: Connection, stream: str, config: dict[str, Any]
) -> dict[str, Any]:
    """Make a consumer; return what the server says of it."""
    name = f"CONSUMER.CREATE.{stream}.{config['name']}"
    body = {"stream_name": stream, "config": config, "action": "create"}
    return await api.call(connection, name, body)


async def position_at(
    connection: Connection, stream: str, filters: Sequence[str], time: str
) -> int:
    """Return the position before the first message stored at a time or later."""
    name = f"seek-{secrets.token_hex(8)}"
    config = _consumer(name, filters) | {"deliver_policy": "by_start_time", "opt_start_time": time}
    made = await create_consumer(connection, stream, config)
    await api.call(connection, f"CONSUMER.DELETE.{stream}.{name}")
    return int(made["delivered"]["stream_seq"])


def place_of(reply: str) -> tuple[int, int, int, int]:
    """Read a message's place from its reply subject.

    Returns its sequence in the stream, its number in the consumer, when it was stored in
    nanoseconds, and how many were behind it.
    """
    tokens = reply.split(".")
    first = 5 if len(tokens) == 9 else 7  # newer ones name domain and account first
    sequence, number, nanoseconds, pending = map(int, tokens[first : first + 4])
    return sequence, number, nanoseconds, pending


_USUAL_ENDS: Final = (b"404", b"408", b"409")
_GONE: Final = (b"409 Consumer Deleted", b"409 Server Shutdown", b"409 Leadership Change")


def _consumer(name: str, filters: Sequence[str]) -> dict[str, Any]:
    return {
        "name": name,
        **({"filter_subject": filters[0]} if len(filters) == 1 else {"filter_subjects": filters}),
        "ack_policy": "none",
        "replay_policy": "instant",
        "mem_storage": True,
        "num_replicas": 1,
        "inactive_threshold": round(UNUSED_SECONDS * _NANOSECONDS),
    }
