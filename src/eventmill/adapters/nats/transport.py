"""The transport port on NATS: request and reply over core subjects, nothing stored.

Every node has one inbox for all its answers. An address is a queue group: if several nodes serve
it, one of them gets a request.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Final

from eventmill.adapters.nats import wire
from eventmill.adapters.nats.connection import Connection
from eventmill.adapters.nats.subjects import Subjects, token
from eventmill.errors import InternalError, Overloaded, TooLarge, Unavailable
from eventmill.model import limits
from eventmill.ports.transport import Handler, Listener

CLOSE_SECONDS: Final = 5.0
"""Time that handlers have to end when the transport is closed."""

_OVERLOADED: Final = b"eventmill-outcome: overloaded\r\n"
_FAILED: Final = b"eventmill-outcome: failed\r\n"
QUEUE: Final = "owner"

_log = logging.getLogger("eventmill.nats")


class Transport:
    """Bytes between nodes. Parameters: `servers` are URLs; `prefix` is the application's own."""

    def __init__(
        self, servers: Sequence[str], *, node: str = "node", prefix: str = "eventmill"
    ) -> None:
        self.connection = Connection(servers, node)
        """Shared with the directory."""
        self._subjects = Subjects(token(prefix))
        self._handlers: set[asyncio.Task[None]] = set()
        self._listeners: dict[str, list[Listener]] = {}
        self._addresses: set[str] = set()

    def __repr__(self) -> str:
        return f"<nats.Transport [{len(self._addresses)} addresses, {len(self._handlers)} running]>"

    def subject(self, address: str) -> str:
        """Return where requests to an address go."""
        return self._subjects.call(address)

    async def open(self) -> None:
        await self.connection.open()

    async def close(self) -> None:
        for address in list(self._addresses):
            await self.withdraw(address)
        if self._handlers:
            await asyncio.wait(self._handlers, timeout=CLOSE_SECONDS)
        for task in self._handlers:
            task.cancel()
        await self.connection.close()

    async def serve(self, address: str, handler: Handler) -> None:
        await self.withdraw(address)
        self._addresses.add(address)

        def take(subject: str, reply: str, payload: bytes, headers: bytes | None) -> None:
            if not reply:
                return  # a stranger's, who waits for nothing; an answer to nowhere ends the connection
            if len(self._handlers) >= limits.TRANSPORT_HANDLERS_MAX:
                self._answer(reply, b"", _OVERLOADED)
                return
            task = asyncio.get_running_loop().create_task(self._handle(handler, payload, reply))
            self._handlers.add(task)
            task.add_done_callback(self._handlers.discard)

        await self.connection.subscribe(self._subjects.call(address), take, queue=QUEUE)
        await self.connection.settle()

    async def withdraw(self, address: str) -> None:
        if address in self._addresses:
            self._addresses.discard(address)
            await self.connection.unsubscribe(self._subjects.call(address))
            await self.connection.settle()

    async def request(self, address: str, payload: bytes, seconds: float) -> bytes:
        check_size(payload)
        subject = self._subjects.call(address)
        reply = await self.connection.request(subject, payload, seconds)
        if reply.headers:
            if wire.lines_of(reply.headers) == _OVERLOADED:
                raise Overloaded(f"{address!r} handles as many requests as it may")
            raise InternalError(f"the handler of {address!r} failed; its log tells why")
        return reply.payload

    async def broadcast(self, channel: str, payload: bytes) -> None:
        check_size(payload)
        with contextlib.suppress(Unavailable):  # lost, as it may be
            self.connection.post(wire.publish(self._subjects.wake(channel), payload))

    async def listen(self, channel: str, listener: Listener) -> None:
        listeners = self._listeners.setdefault(channel, [])
        listeners.append(listener)
        if len(listeners) > 1:
            return

        def hear(subject: str, reply: str, payload: bytes, headers: bytes | None) -> None:
            for each in listeners:
                each(payload)

        await self.connection.subscribe(self._subjects.wake(channel), hear)
        await self.connection.settle()

    async def _handle(self, handler: Handler, payload: bytes, reply: str) -> None:
        try:
            answer, outcome = await handler(payload), b""
            check_size(answer)
        except Exception:
            _log.exception("a handler of requests failed")
            answer, outcome = b"", _FAILED
        self._answer(reply, answer, outcome)

    def _answer(self, reply: str, answer: bytes, outcome: bytes) -> None:
        with contextlib.suppress(Unavailable):  # whoever asked hears of the lost connection itself
            self.connection.post(wire.publish(reply, answer, headers=outcome))


def check_size(payload: bytes) -> None:
    """Raise `TooLarge` if a payload cannot be sent."""
    if len(payload) > limits.TRANSPORT_BYTES_MAX:
        raise TooLarge(
            f"nodes send each other at most {limits.TRANSPORT_BYTES_MAX} bytes at once, "
            f"here {len(payload)}"
        )
