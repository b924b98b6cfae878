"""Bodies of requests: read whole, within limits of size, time and number.

Place on the road: the ingress. Nearly every body comes in the message behind its headers; reading
one then costs an entry in a dict, and no timer. What is left there when `watch` looks once a second
is a slow client, or one that means ill: it has `BODY_SECONDS`, and only `BODIES_MAX` may be slow at
the same time.

Invariants: a body that comes at once is never refused because of slow ones; a body that does not
come whole reaches no handler; a node that stops waits for no body.
"""

from __future__ import annotations

import asyncio
from itertools import takewhile
from typing import Any, Final

from eventmill.errors import (
    BodyTimeout,
    EventmillError,
    InvalidPayload,
    Overloaded,
    TooLarge,
    Unavailable,
)
from eventmill.http.wire import Message, Receive
from eventmill.model import limits
from eventmill.ports.clock import Clock

TICK_SECONDS: Final = 1.0
"""Time between two looks at the bodies under way."""

_REQUEST: Final = "http.request"


class Bodies:
    """The bodies that a node is reading."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ticks = 0
        self._reading: dict[Receive, tuple[Any, int]] = {}
        """The message that a request waits for, a future, and the tick in which its body began;
        oldest first."""
        self._refusals: dict[Receive, EventmillError] = {}
        """Why a message was cancelled."""
        self._bytes = 0
        """Held of bodies that came in part."""
        self._stopping = False

    def __repr__(self) -> str:
        return f"<Bodies [{len(self)} under way, {self._bytes} bytes]>"

    def __len__(self) -> int:
        return len(self._reading)

    async def read(self, receive: Receive, limit: int) -> bytes:
        """Read a request's body.

        Raises `TooLarge` as soon as it is longer than `limit` bytes, `BodyTimeout` if it takes too
        long, `Overloaded` if there are too many such bodies, `Unavailable` if the node stops, and
        `InvalidPayload` if it does not come whole: what arrived of it could be a valid command that
        nobody meant.
        """
        coming, began = receive(), self._ticks
        self._reading[receive] = coming, began
        try:
            message = await coming
            body: bytes = message.get("body", b"")
            if message.get("more_body") or message["type"] != _REQUEST:
                body = await self._rest(message, receive, began, limit)
        except asyncio.CancelledError:
            if receive not in self._refusals:
                raise
            # Not by way of a variable: it would hold this frame, and that the open connection.
            raise self._refusals.pop(receive) from None
        finally:
            del self._reading[receive]
        if len(body) > limit:
            raise TooLarge(f"the body is longer than {limit} bytes")
        return body

    async def watch(self) -> None:
        """Refuse bodies that are late or too many, for ever."""
        while True:
            await self._clock.sleep(TICK_SECONDS)
            self._ticks += 1
            self._sweep()

    def stop(self) -> None:
        """Refuse bodies that have not come yet: at once, or at the next tick if just begun."""
        self._stopping = True
        self._sweep()

    async def _rest(self, message: Message, receive: Receive, began: int, limit: int) -> bytes:
        parts: list[bytes] = [message.get("body", b"")]
        size = len(parts[0])
        self._bytes += size
        try:
            while message.get("more_body") and size <= limit:
                if self._bytes > limits.BODIES_BYTES_MAX:
                    raise Overloaded("too many bytes of bodies are under way; send it again later")
                coming = receive()
                self._reading[receive] = coming, began  # keeps its place
                message = await coming
                part = message.get("body", b"")
                parts.append(part)
                size += len(part)
                self._bytes += len(part)
        finally:
            self._bytes -= size
        if message["type"] != _REQUEST:
            raise InvalidPayload("the connection ended before the body did")
        return b"".join(parts)

    def _sweep(self) -> None:
        young = self._ticks if self._stopping else self._ticks - 1
        slow = list(takewhile(lambda one: one[1][1] < young, self._reading.items()))
        for place, (receive, (coming, began)) in enumerate(slow):
            refusal = self._refusal(self._ticks - began, len(slow) - place)
            if refusal is None:
                break
            if coming.cancel():
                self._refusals[receive] = refusal

    def _refusal(self, ticks: int, slow: int) -> EventmillError | None:
        """Say why a body is not waited for, which is that old and one of that many as old."""
        if self._stopping:
            return Unavailable("this node stops; send the request again, to this node or another")
        if ticks * TICK_SECONDS > limits.BODY_SECONDS:
            return BodyTimeout(f"the body did not come within {limits.BODY_SECONDS:g} seconds")
        if slow > limits.BODIES_MAX:
            return Overloaded("too many bodies come slowly; send this one again, at once or later")
        return None
