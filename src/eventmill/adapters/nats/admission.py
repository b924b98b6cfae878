"""What plain clients sent to a topic, moved into the partitions of their keys.

A plain client publishes to `<prefix>.<topic>` and gets JetStream's acknowledgement: its message is
stored. It knows nothing of partitions. JetStream could map it by a subject transform, but hashes in
another way than we do, and finds no key in a header. So we move it.

Exactly once: one atomic batch stores the messages under their keys and the mark of how far it got,
if the mark is still the one that was read. Two nodes that do it at the same time, or one that does
it again after an unknown outcome: one batch is stored, the other refused as a whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from eventmill.adapters.nats import api, wire
from eventmill.adapters.nats.appending import BATCH_HEADER_BYTES
from eventmill.adapters.nats.connection import Connection
from eventmill.adapters.nats.reading import Reader, Stored
from eventmill.adapters.nats.subjects import Subjects
from eventmill.engine import messages
from eventmill.errors import BrokerUnavailable, Unavailable
from eventmill.model import limits
from eventmill.ports.broker import Complete


class Mark(msgspec.Struct):
    """How far messages were moved."""

    moved: int
    """Sequence of the last one in the stream."""


class _Taken(NamedTuple):
    """A message as it will be stored, with its key."""

    key: str
    arrived: messages.Arrived

    @property
    def size(self) -> int:
        """Bytes that the server counts."""
        return len(self.arrived.payload) + len(self.arrived.headers) + BATCH_HEADER_BYTES


class Admission:
    """Moves one topic's messages. Parameters: `partition_of` hashes keys; `tell` hears of news."""

    def __init__(
        self,
        connection: Connection,
        subjects: Subjects,
        topic: str,
        partition_of: Callable[[str], int],
        tell: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._subjects = subjects
        self._topic = topic
        self._partition_of = partition_of
        self._stream = subjects.stream(topic)
        self._reader = Reader(connection, self._stream, [subjects.plain(topic)], _as_it_is, tell)

    async def move(self, complete: Complete) -> int:
        """Move what waits, up to a batch; return how many were moved by this call.

        Raises `BrokerUnavailable`.
        """
        mark, version = await self._mark()
        found = await self._reader.read(mark.moved, limits.BROKER_ADMITTED_MAX)
        taken = _within_a_batch([self._admitted(stored, complete) for _, stored in found])
        if not taken:
            return 0
        if not await self._store(taken, version):
            return 0
        await self._tidy(taken[-1].arrived.position)
        return len(taken)

    def lost(self) -> None:
        """The connection was lost."""
        self._reader.lost()

    async def close(self) -> None:
        """Let go of the consumer."""
        await self._reader.close()

    async def _mark(self) -> tuple[Mark, int]:
        """Return the mark and its own sequence."""
        body = {"last_by_subj": self._subjects.mark(self._topic)}
        try:
            answer = await api.call(self._connection, f"STREAM.MSG.GET.{self._stream}", body)
        except api.JetStreamError as error:
            if error.code != api.MESSAGE_NOT_FOUND:
                raise api.unavailable(error) from error
            return Mark(0), 0
        message = answer["message"]
        try:
            data = msgspec.convert(message.get("data", ""), bytes)  # base64
            return msgspec.json.decode(data, type=Mark), message["seq"]
        except msgspec.DecodeError:
            raise BrokerUnavailable(
                f"message {message['seq']} on {message['subject']!r}, where nodes alone publish, is "
                f"a stranger's: remove it (nats stream rmm {self._stream} {message['seq']}), and let "
                "plain clients publish to the topic's own subject alone"
            ) from None

    async def _store(self, taken: list[_Taken], version: int) -> bool:
        """Store messages and mark if the mark is still that version; return whether it was."""
        batch = self._connection.inbox("admit").encode()[-48:]
        begin = b"Nats-Batch-Id: %s\r\nNats-Batch-Sequence: " % batch
        commands = [
            wire.publish(
                self._subjects.message(self._topic, self._partition_of(key), key),
                arrived.payload,
                headers=begin + b"%d\r\n" % nth + arrived.headers,
            )
            for nth, (key, arrived) in enumerate(taken, 1)
        ]
        headers = (
            begin + b"%d\r\nNats-Batch-Commit: 1\r\n"
            b"Nats-Expected-Last-Subject-Sequence: %d\r\n" % (len(taken) + 1, version)
        )
        mark = msgspec.json.encode(Mark(taken[-1].arrived.position))
        try:
            reply = await self._connection.request(
                self._subjects.mark(self._topic),
                mark,
                limits.BROKER_ATTEMPT_SECONDS,
                *commands,
                headers=headers,
            )
            api.answer_of(reply.payload)
        except Unavailable as error:
            raise api.unavailable(error) from error
        except api.JetStreamError as error:
            if error.code in api.WRONG_LAST_SEQUENCE:
                return False
            raise api.unavailable(error) from error
        return True

    async def _tidy(self, moved: int) -> None:
        """Remove what was moved; if that fails, the next time does it."""
        subject = self._subjects
        for body in (
            {"filter": subject.plain(self._topic), "seq": moved + 1},
            {"filter": subject.mark(self._topic), "keep": 1},
        ):
            try:
                await api.call(self._connection, f"STREAM.PURGE.{self._stream}", body)
            except api.JetStreamError as error:
                raise api.unavailable(error) from error

    def _admitted(self, stored: Stored, complete: Complete) -> _Taken:
        """Cut a message that with a batch's headers is more than the server takes.

        It is far too large for an event; cut and without its headers, it is read as malformed.
        """
        key, arrived = messages.admitted(stored.arrived(self._topic, 0), complete)
        taken = _Taken(key, arrived)
        if taken.size <= self._connection.max_payload:
            return taken
        told = b"eventmill-too-large: %d bytes\r\n" % taken.size
        payload = arrived.payload[: limits.PAYLOAD_BYTES_MAX]
        return _Taken("", msgspec.structs.replace(arrived, headers=told, payload=payload))


def _as_it_is(stored: Stored) -> Stored:
    return stored


def _within_a_batch(found: list[_Taken]) -> list[_Taken]:
    size = 0
    for count, taken in enumerate(found):
        size += taken.size
        if count and size > limits.BROKER_BATCH_BYTES:
            return found[:count]
    return found
