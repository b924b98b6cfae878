"""Forwarding: commands and queries to entities whose shard another node holds.

Place on the road: routing, when the answer is "not here". One side packs envelopes into parcels,
the other unpacks them and lets each take its turn; a parcel's answers travel back together.

While a parcel is on its way, envelopes for the same node gather and become the next one, as
commits do: under load several travel in one message, alone each goes at once.

Invariants: parcels and what waits for them are bounded; a caller's deadline and the receiver's
refusals travel with the envelope and its answer; an envelope is sent once, and whether it may be
sent again is for `runtime.router` to say.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import structlog

from eventmill.errors import EventmillError, InternalError, NotOwner, Overloaded
from eventmill.model import limits
from eventmill.model.envelope import Envelope
from eventmill.model.failure import Failure, error_of, failure_of
from eventmill.model.handler import Handler
from eventmill.ports.clock import Clock
from eventmill.ports.transport import Transport

log = structlog.get_logger()

Lookup = Callable[[str, str], Handler[Any, Any]]
"""Finds a handler by component and name."""


class Request(msgspec.Struct, array_like=True, gc=False):
    """An envelope on its way: arguments as JSON, the deadline as what is left of it."""

    component: str
    id: str
    name: str
    arguments: bytes
    idempotency_key: str | None
    seconds: float | None
    metadata: dict[str, Any] | None
    origin: str | None
    keeps_rejection: bool


class Answer(msgspec.Struct, array_like=True, gc=False):
    """A reply, or why there is none."""

    reply: bytes
    failure: Failure | None = None


_encode = msgspec.msgpack.Encoder().encode
_decode_requests = msgspec.msgpack.Decoder(list[Request]).decode
_decode_answers = msgspec.msgpack.Decoder(list[Answer]).decode

Waiting = tuple[Request, "asyncio.Future[bytes]"]


class Forwarder:
    """The sending side: an outbox per node."""

    def __init__(self, transport: Transport, lookup: Lookup, clock: Clock) -> None:
        self._transport = transport
        self._lookup = lookup
        self._clock = clock
        self._outboxes: dict[str, Outbox] = {}

    def __repr__(self) -> str:
        return f"<Forwarder [{', '.join(map(repr, self._outboxes.values())) or 'idle'}]>"

    async def execute(self, address: str, envelope: Envelope) -> bytes:
        """Let the node at `address` run a command or query; return its encoded reply.

        Raises what the turn raised there, `NotOwner` when the shard is not there (any more),
        `Unreachable` when nobody is, `DeadlineExceeded` when no answer came in time.
        """
        outbox = self._outboxes.get(address)
        if outbox is None:
            outbox = self._outboxes[address] = Outbox(self._transport, address)
        return await outbox.send(self._request(envelope))

    def moved(self, address_of: Callable[[str], str | None]) -> None:
        """Wait no longer for nodes that have lost the entity that was asked for, if the request may
        be repeated elsewhere: `NotOwner` for it. A node that stands still never answers.

        Parameter: `address_of` tells where the entity of an id is now.
        """
        for outbox in self._outboxes.values():
            outbox.give_up(address_of, self._is_repeatable)

    def _is_repeatable(self, request: Request) -> bool:
        if request.idempotency_key is not None or request.origin is not None:
            return True  # its mark or its first answer is stored with its effect
        if request.name.startswith("$"):
            return False
        return not self._lookup(request.component, request.name).writes

    def _request(self, envelope: Envelope) -> Request:
        deadline = envelope.deadline
        return Request(
            envelope.component,
            envelope.id,
            envelope.name,
            self._arguments(envelope),
            envelope.idempotency_key,
            None if deadline is None else deadline - self._clock.monotonic(),
            envelope.metadata,
            envelope.origin,
            envelope.keeps_rejection,
        )

    def _arguments(self, envelope: Envelope) -> bytes:
        if envelope.name.startswith("$"):
            return msgspec.json.encode(envelope.arguments)
        handler = self._lookup(envelope.component, envelope.name)
        return handler.encode_arguments(envelope.arguments)


class Outbox:
    """What is on its way, or waits, for one node."""

    def __init__(self, transport: Transport, address: str) -> None:
        self._transport = transport
        self._address = address
        self._waiting: deque[Waiting] = deque()
        self._parcels: dict[asyncio.Task[None], list[Waiting]] = {}
        """Owned here: each ends when its answers are handed out."""

    def __repr__(self) -> str:
        return (
            f"<Outbox {self._address} [{len(self._parcels)} under way, {len(self._waiting)} wait]>"
        )

    async def send(self, request: Request) -> bytes:
        """Send one request in the next parcel; return its reply or raise its failure."""
        if len(self._waiting) >= limits.FORWARDED_WAITING_MAX:
            raise Overloaded(f"too much waits for node {self._address}")
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, future))
        self._pump()
        return await future

    def give_up(
        self,
        address_of: Callable[[str], str | None],
        is_repeatable: Callable[[Request], bool],
    ) -> None:
        """Give requests back whose entities this node has no more: those that were not sent, and of
        those under way the ones that may be repeated."""

        def is_here(waiting: Waiting) -> bool:
            return address_of(waiting[0].id) == self._address

        left = [w for w in self._waiting if not is_here(w)]
        self._waiting = deque(filter(is_here, self._waiting))
        for parcel in self._parcels.values():
            left += [w for w in parcel if not is_here(w) and is_repeatable(w[0])]
        for request, future in left:
            if not future.done():
                future.set_exception(
                    NotOwner(f"{request.component}/{request.id} has moved away; try again")
                )

    def _pump(self) -> None:
        while self._waiting and len(self._parcels) < limits.PARCELS_UNDER_WAY:
            parcel = self._packed()
            task = asyncio.get_running_loop().create_task(self._deliver(parcel))
            self._parcels[task] = parcel
            task.add_done_callback(self._delivered)

    def _packed(self) -> list[Waiting]:
        parcel: list[Waiting] = []
        size = 0
        while self._waiting and len(parcel) < limits.PARCEL_REQUESTS_MAX:
            size += _size_of(self._waiting[0][0])
            if parcel and size > limits.PARCEL_BYTES_MAX:
                break
            parcel.append(self._waiting.popleft())
        return parcel

    async def _deliver(self, parcel: list[Waiting]) -> None:
        payload = _encode([request for request, _ in parcel])
        left = [request.seconds for request, _ in parcel if request.seconds is not None]
        seconds = max(left) if len(left) == len(parcel) else limits.FORWARD_SECONDS
        try:
            answers = _decode_answers(
                await self._transport.request(
                    self._address, payload, min(seconds, limits.FORWARD_SECONDS)
                )
            )
            if len(answers) != len(parcel):
                raise InternalError(
                    f"node {self._address} answered {len(answers)} of {len(parcel)}"
                )
        except EventmillError as error:
            answers = [Answer(b"", failure_of(error))] * len(parcel)
        except msgspec.DecodeError as error:
            failure = failure_of(InternalError(f"node {self._address}'s answer: {error}"))
            answers = [Answer(b"", failure)] * len(parcel)
        for (_, future), answer in zip(parcel, answers, strict=True):
            if future.done():  # its caller gave up
                continue
            if answer.failure is None:
                future.set_result(answer.reply)
            else:
                future.set_exception(error_of(answer.failure))

    def _delivered(self, task: asyncio.Task[None]) -> None:
        self._parcels.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a parcel was not delivered", node=self._address, exc_info=error)
        self._pump()


class Reception:
    """The receiving side: lets the envelopes of a parcel take their turns."""

    def __init__(
        self, execute: Callable[[Envelope], Awaitable[bytes]], lookup: Lookup, clock: Clock
    ) -> None:
        self._execute = execute
        self._lookup = lookup
        self._clock = clock

    async def receive(self, payload: bytes) -> bytes:
        """Answer one parcel."""
        requests = _decode_requests(payload)
        # Started in order: requests of one entity take effect in the order they were sent.
        answers = await asyncio.gather(*map(self._answer, requests))
        return _encode(answers)

    async def _answer(self, request: Request) -> Answer:
        try:
            return Answer(await self._execute(self._envelope(request)))
        except EventmillError as error:
            return Answer(b"", failure_of(error))
        except Exception as error:  # the sender must hear of it, whatever it is
            log.error("forwarded request failed", component=request.component, exc_info=error)
            return Answer(b"", failure_of(InternalError(f"{type(error).__name__}; see the log")))

    def _envelope(self, request: Request) -> Envelope:
        if request.name.startswith("$"):
            arguments = tuple(msgspec.json.decode(request.arguments))
        else:
            handler = self._lookup(request.component, request.name)
            arguments = handler.decode_arguments(request.arguments)
        seconds = request.seconds
        return Envelope(
            request.component,
            request.id,
            request.name,
            arguments,
            request.idempotency_key,
            None if seconds is None else self._clock.monotonic() + seconds,
            request.metadata,
            request.origin,
            request.keeps_rejection,
        )


def _size_of(request: Request) -> int:
    return len(request.arguments) + 256
