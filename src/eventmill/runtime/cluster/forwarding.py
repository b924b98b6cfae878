"""Forwarding: commands and queries to entities whose shard another node holds.

Place on the road: routing, when the answer is "not here". One side packs envelopes into parcels,
the other unpacks them and lets each take its turn; a parcel's answers travel back together.

While a parcel is on its way, envelopes for the same node gather and become the next one, as
commits do: under load several travel in one message, alone each goes at once.

Invariants: parcels and what waits for them are bounded; a caller waits no longer than its own
deadline, whoever shares its parcel; that deadline and the receiver's
refusals travel with the envelope and its answer; an envelope is sent once, and whether it may be
sent again is for `runtime.cluster.router` to say.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import structlog

from eventmill.errors import (
    FAILURES,
    DeadlineExceeded,
    EventmillError,
    InternalError,
    NotOwner,
    Overloaded,
    Unreachable,
)
from eventmill.model import limits
from eventmill.model.entry import read_metadata, with_members
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


class Waiting:
    """A request whose caller waits."""

    __slots__ = ("future", "give_up", "is_sent", "moves", "request")

    def __init__(self, request: Request, give_up: float, *, moves: bool) -> None:
        self.request = request
        self.moves = moves
        """Whether its entity may move to another address."""
        self.give_up = give_up
        """Monotonic time."""
        self.future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.is_sent = False


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
        return await self.send(address, self._request(envelope), moves=True)

    async def send(self, address: str, request: Request, *, moves: bool = False) -> bytes:
        """Let whoever serves the address answer a request; raises as `execute`."""
        outbox = self._outboxes.get(address)
        if outbox is None:
            outbox = self._outboxes[address] = Outbox(self._transport, address, self._clock)
        try:
            return await outbox.send(request, moves=moves)
        except Unreachable:
            if outbox.is_idle:
                self._outboxes.pop(address, None)  # perhaps for ever: nothing is kept for it
            raise

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
        return not self._lookup(request.component, request.name).writes

    def _request(self, envelope: Envelope) -> Request:
        handler = self._lookup(envelope.component, envelope.name)
        deadline = envelope.deadline
        return Request(
            envelope.component,
            envelope.id,
            envelope.name,
            handler.encode_arguments(envelope.arguments),
            envelope.idempotency_key,
            None if deadline is None else deadline - self._clock.monotonic(),
            None if envelope.metadata is None else read_metadata(envelope.metadata),
            envelope.origin,
            envelope.keeps_rejection,
        )


class Outbox:
    """What is on its way, or waits, for one node."""

    def __init__(self, transport: Transport, address: str, clock: Clock) -> None:
        self._transport = transport
        self._address = address
        self._clock = clock
        self._waiting: deque[Waiting] = deque()
        self._bytes = 0
        """Of those."""
        self._open: set[Waiting] = set()
        """Those, and those whose answers have not come."""
        self._parcels: set[asyncio.Task[None]] = set()
        """Owned here: each ends when its answers are handed out."""
        self._watching: asyncio.Task[None] | None = None
        """Ends when nothing is open."""

    def __repr__(self) -> str:
        return (
            f"<Outbox {self._address} [{len(self._parcels)} under way, {len(self._waiting)} wait]>"
        )

    @property
    def is_idle(self) -> bool:
        """Whether nothing is on its way or waits."""
        return not self._open and all(parcel.done() for parcel in self._parcels)

    async def send(self, request: Request, *, moves: bool) -> bytes:
        """Send one request in the next parcel; return its reply or raise its failure.

        Raises `Unreachable` if its time was over before it was sent.
        """
        if (
            len(self._waiting) >= limits.FORWARDED_WAITING_MAX
            or self._bytes >= limits.FORWARDED_BYTES_MAX
        ):
            raise Overloaded(f"too much waits for node {self._address}")
        seconds = limits.FORWARD_SECONDS if request.seconds is None else request.seconds
        give_up = self._clock.monotonic() + min(seconds, limits.FORWARD_SECONDS)
        waiting = Waiting(request, give_up, moves=moves)
        self._waiting.append(waiting)
        self._bytes += _size_of(request)
        self._open.add(waiting)
        self._pump()
        if self._watching is None or self._watching.done():
            self._watching = asyncio.get_running_loop().create_task(self._watch())
        try:
            return await waiting.future
        finally:
            self._open.discard(waiting)

    async def _watch(self) -> None:
        """Answer callers whose time is over, whatever becomes of the parcel that theirs is in."""
        while self._open:
            await self._clock.sleep(limits.FORWARD_TICK_SECONDS)
            now = self._clock.monotonic()
            for waiting in [w for w in self._open if w.give_up <= now and not w.future.done()]:
                if not waiting.is_sent:
                    told = f"node {self._address} is busy or away: nothing was sent in time"
                    waiting.future.set_exception(Unreachable(told))
                elif waiting.give_up + limits.FORWARD_GRACE_SECONDS <= now:
                    told = f"no answer of node {self._address} in time; its outcome is unknown"
                    waiting.future.set_exception(DeadlineExceeded(told))

    def give_up(
        self,
        address_of: Callable[[str], str | None],
        is_repeatable: Callable[[Request], bool],
    ) -> None:
        """Give requests back whose entities this node has no more: those that were not sent, and of
        those under way the ones that may be repeated. The others are answered soon, or never: what
        was decided before the move is on its way, and nothing is decided after it."""
        now = self._clock.monotonic()
        for waiting in self._open:
            request, future = waiting.request, waiting.future
            if not waiting.moves or future.done() or address_of(request.id) == self._address:
                continue
            if not waiting.is_sent or is_repeatable(request):
                told = f"{request.component}/{request.id} has moved away; try again"
                future.set_exception(NotOwner(told))
            else:
                waiting.give_up = min(waiting.give_up, now)

    def _pump(self) -> None:
        while len(self._parcels) < limits.PARCELS_UNDER_WAY and (parcel := self._packed()):
            task = asyncio.get_running_loop().create_task(self._deliver(parcel))
            self._parcels.add(task)
            task.add_done_callback(self._delivered)

    def _packed(self) -> list[Waiting]:
        parcel: list[Waiting] = []
        size = 0
        while self._waiting and len(parcel) < limits.PARCEL_REQUESTS_MAX:
            waiting = self._waiting[0]
            one = _size_of(waiting.request)
            gave_up = waiting.future.done()
            if not gave_up and parcel and size + one > limits.PARCEL_BYTES_MAX:
                break
            self._waiting.popleft()
            self._bytes -= one
            if not gave_up:
                size += one
                waiting.is_sent = True
                if waiting.request.seconds is not None:
                    waiting.request.seconds = waiting.give_up - self._clock.monotonic()
                parcel.append(waiting)
        return parcel

    async def _deliver(self, parcel: list[Waiting]) -> None:
        payload = _encode([waiting.request for waiting in parcel])
        seconds = max(waiting.give_up for waiting in parcel) - self._clock.monotonic()
        try:
            answers = _decode_answers(
                await self._transport.request(
                    self._address, payload, seconds + limits.FORWARD_GRACE_SECONDS
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
        for waiting, answer in zip(parcel, answers, strict=True):
            future = waiting.future
            if future.done():  # its caller gave up
                continue
            if answer.failure is None:
                future.set_result(answer.reply)
            else:
                future.set_exception(error_of(answer.failure))

    def _delivered(self, task: asyncio.Task[None]) -> None:
        self._parcels.discard(task)
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
        """Answer one parcel; nothing to what is none."""
        try:
            requests = _decode_requests(payload)
        except msgspec.DecodeError as error:
            log.warning("what came is no parcel of requests", error=str(error))
            return b""
        # Started in order: requests of one entity take effect in the order they were sent.
        answers = await asyncio.gather(*map(self._answer, requests))
        return _encode(answers)

    async def _answer(self, request: Request) -> Answer:
        try:
            return Answer(await self._reply(request))
        except EventmillError as error:
            return Answer(b"", failure_of(error))
        except FAILURES as error:  # the sender must hear of it, whatever it is
            log.error("forwarded request failed", component=request.component, exc_info=error)
            return Answer(b"", failure_of(InternalError(f"{type(error).__name__}; see the log")))

    async def _reply(self, request: Request) -> bytes:
        return await self._execute(self._envelope(request))

    def _envelope(self, request: Request) -> Envelope:
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
            with_members(None, request.metadata),
            request.origin,
            request.keeps_rejection,
        )


def _size_of(request: Request) -> int:
    return len(request.arguments) + 256
