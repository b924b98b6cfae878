"""Storing entries: one lane per topic, one atomic batch at a time.

JetStream syncs every message that is published alone, and four times for an atomic batch of up to
1,000. So a lane works like the store's group commit: while one batch is being stored, what comes
meanwhile makes up the next one.

Why one at a time: if a batch has an unknown outcome (the connection broke, the server was killed),
nothing behind it may be stored before it is known. Sent again, it is either stored now or refused
as holding duplicates. A batch that holds duplicates is halved until each message is alone; alone,
it is stored or JetStream names the one that was stored before. So a batch that was put together
differently than before ends up the same.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from eventmill.adapters.nats import api, wire
from eventmill.adapters.nats.connection import Connection
from eventmill.errors import BrokerUnavailable, EventmillError, Overloaded, Unavailable
from eventmill.model import limits
from eventmill.ports.broker import Receipt
from eventmill.ports.clock import Clock

PAUSE_SECONDS_FIRST = 0.02
PAUSE_SECONDS_MAX = 1.0
BATCH_HEADER_BYTES = 160
"""What a batch adds to the headers of a message, at most."""


class Message(NamedTuple):
    """A message to be stored."""

    subject: str
    headers: bytes
    """Lines; the message id is among them."""
    payload: bytes

    @property
    def overhead(self) -> int:
        """Bytes beside the payload that the server counts, with those that a batch adds."""
        return len(self.headers) + BATCH_HEADER_BYTES

    @property
    def size(self) -> int:
        """Bytes that the server counts."""
        return self.overhead + len(self.payload)


class Lane:
    """The way into one topic's stream."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self._waiting: deque[tuple[Message, _Call, int]] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def append(self, messages: Sequence[Message]) -> list[Receipt]:
        """Store messages in order; return when they are durable.

        Raises `BrokerUnavailable`, `Overloaded`.
        """
        if len(self._waiting) + len(messages) > limits.BROKER_WAITING_MAX and self._waiting:
            raise Overloaded("too many messages wait to be stored by the broker")
        call = _Call(len(messages))
        self._waiting.extend((message, call, at) for at, message in enumerate(messages))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.get_running_loop().create_task(self._work())
        return await call.done

    async def close(self) -> None:
        """Give up what waits."""
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        self._refuse(BrokerUnavailable("the broker is closed"), [])

    async def _work(self) -> None:
        while self._waiting:
            batch = self._next_batch()
            until = self._clock.monotonic() + limits.BROKER_APPEND_SECONDS
            try:
                receipts = await self._store([message for message, _, _ in batch], until)
            except EventmillError as error:
                # Those behind it must not be stored before it: their callers begin again, too.
                self._refuse(error, batch)
            except BaseException:
                self._refuse(
                    BrokerUnavailable("storing was given up; append the same again"), batch
                )
                raise
            else:
                for (_, call, at), receipt in zip(batch, receipts, strict=True):
                    call.stored(at, receipt)

    def _next_batch(self) -> list[tuple[Message, _Call, int]]:
        batch: list[tuple[Message, _Call, int]] = []
        size = 0
        while self._waiting and len(batch) < limits.BROKER_BATCH:
            size += self._waiting[0][0].size
            if batch and size > limits.BROKER_BATCH_BYTES:
                break
            batch.append(self._waiting.popleft())
        return batch

    async def _store(self, batch: list[Message], until: float) -> list[Receipt]:
        """Store a batch whatever was stored of it before."""
        if len(batch) == 1:
            return [await self._insist(batch, until)]
        try:
            last = (await self._insist(batch, until)).position
        except _HasDuplicates:
            half = len(batch) // 2
            first = await self._store(batch[:half], until)
            return first + await self._store(batch[half:], until)
        return [Receipt(last - behind, False) for behind in range(len(batch) - 1, -1, -1)]

    async def _insist(self, batch: list[Message], until: float) -> Receipt:
        """Send until the outcome is known: repeating is harmless, each message has its id."""
        pause = PAUSE_SECONDS_FIRST
        while True:
            try:
                return await self._send(batch)
            except (Unavailable, api.JetStreamError) as error:
                if isinstance(error, api.JetStreamError) and error.code == api.DUPLICATE_IN_BATCH:
                    raise _HasDuplicates from None
                if self._clock.monotonic() + pause > until:
                    raise api.unavailable(error) from error
            await self._clock.sleep(pause)
            pause = min(2 * pause, PAUSE_SECONDS_MAX)

    async def _send(self, batch: list[Message]) -> Receipt:
        """Send a batch once; return the receipt of its last message."""
        *before, (subject, headers, payload) = batch
        commands: list[bytes] = []
        if before:
            name = self._connection.inbox("batch").encode()[-48:]
            mark = b"Nats-Batch-Id: %s\r\nNats-Batch-Sequence: " % name
            commands = [
                wire.publish(m.subject, m.payload, headers=mark + b"%d\r\n" % number + m.headers)
                for number, m in enumerate(before, 1)
            ]
            headers = mark + b"%d\r\nNats-Batch-Commit: 1\r\n" % len(batch) + headers
        reply = await self._connection.request(
            subject, payload, limits.BROKER_ATTEMPT_SECONDS, *commands, headers=headers
        )
        answer = api.answer_of(reply.payload)
        return Receipt(answer["seq"], answer.get("duplicate", False))

    def _refuse(self, error: EventmillError, batch: list[tuple[Message, _Call, int]]) -> None:
        for _, call, _ in [*batch, *self._waiting]:
            call.failed(error)
        self._waiting.clear()


class _HasDuplicates(Exception):
    """Some of a batch was stored before; none of it was stored now."""


class _Call:
    """One call of `append`, and what is known of its messages."""

    def __init__(self, size: int) -> None:
        self.done: asyncio.Future[list[Receipt]] = asyncio.get_running_loop().create_future()
        self._receipts: list[Receipt | None] = [None] * size
        self._missing = size

    def stored(self, at: int, receipt: Receipt) -> None:
        self._receipts[at] = receipt
        self._missing -= 1
        if not self._missing and not self.done.done():
            self.done.set_result([receipt for receipt in self._receipts if receipt])

    def failed(self, error: EventmillError) -> None:
        if not self.done.done():
            self.done.set_exception(error)
            self.done.exception()  # its caller may be gone: not worth a warning
