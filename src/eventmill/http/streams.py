"""`text/event-stream` answers: frames, heartbeats, their number, and their end.

Backpressure comes from the connection: an item is made only when the one before it was taken.
A stream ends when its client goes, when the node stops, or when all streams hold too much and its
client is the slowest; a client then comes back with the last id it saw, to this node or another.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Any, Final

import structlog
from starlette.requests import Request

from eventmill.errors import EventmillError, InternalError, Overloaded
from eventmill.http import problems
from eventmill.http.wire import Message, Receive, Scope, Send
from eventmill.model import limits
from eventmill.ports.clock import Clock

log = structlog.get_logger()

CONTENT_TYPE: Final = "text/event-stream"

Items = AsyncGenerator[tuple[bytes, str], None]
"""Frames, which may be none, and the id to continue from."""

_HEADERS: Final = [
    (b"content-type", CONTENT_TYPE.encode()),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would hold events back
]
_ONE_LINE = bytes.maketrans(b"\r\n", b"  ")


def frame(data: bytes, *, id: str = "", event: str = "") -> bytes:
    """Return one event of a stream; `data` is JSON, where a raw line break is only white space."""
    if b"\n" in data or b"\r" in data:
        data = data.translate(_ONE_LINE)
    head = f"id: {id}\n" if id else ""
    if event:
        head += f"event: {event}\n"
    return b"%sdata: %s\n\n" % (head.encode(), data)


def heartbeat(id: str) -> bytes:
    """Return a comment, with the id to continue from: it moves on although no event is told."""
    return f": heartbeat\nid: {id}\n\n".encode() if id else b": heartbeat\n\n"


class Streams:
    """All streams of a node: bounds their number, ends them when the node stops."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.open = 0
        self.stopping = asyncio.Event()
        self._one_ended = asyncio.Event()
        self._sending: dict[Held, int] = {}
        """Bytes by stream; whose client keeps it waiting longest comes first."""
        self._bytes = 0
        self._queue: deque[asyncio.Future[None]] = deque()
        """Streams that have sent something and wait for their next turn."""

    def __repr__(self) -> str:
        return f"<Streams [{self.open} open]>"

    @property
    def share(self) -> int:
        """Bytes that each stream may read ahead."""
        return max(limits.STREAM_CHUNK_BYTES, limits.STREAMS_BYTES_MAX // max(1, self.open))

    @contextmanager
    def sending(self, stream: Held, size: int) -> Iterator[None]:
        """Count what a stream sends, as long as its client does not take it; make room for it."""
        self._sending[stream] = size
        self._bytes += size
        while self._bytes > limits.STREAMS_BYTES_MAX and len(self._sending) > 1:
            slowest = next(iter(self._sending))
            self._bytes -= self._sending.pop(slowest)
            slowest.ended.set()
        try:
            yield
        finally:
            self._bytes -= self._sending.pop(stream, 0)

    async def turn(self) -> None:
        """Wait for the next turn: few streams have one in each round of the loop, so that all of them
        together hold up nothing else."""
        loop = asyncio.get_running_loop()
        if not self._queue:
            loop.call_soon(self._let_on)
        turn = loop.create_future()
        self._queue.append(turn)
        await turn

    def _let_on(self) -> None:
        for _ in range(min(limits.STREAM_TURNS, len(self._queue))):
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
        if self._queue:
            asyncio.get_running_loop().call_soon(self._let_on)

    def stop(self) -> None:
        """End every stream, and refuse new ones."""
        self.stopping.set()

    def answer(self, items: Items) -> EventStream:
        """Return the answer that sends `items`.

        Raises as `check`.
        """
        self.check()
        return EventStream(self, items)

    def check(self) -> None:
        """Raise `Overloaded` when the node has too many streams already, or stops."""
        if self.open >= limits.STREAMS_MAX or self.stopping.is_set():
            raise Overloaded(f"this node has {self.open} streams, or stops; ask again or another")

    async def hold(self, work: Coroutine[Any, Any, None], held: Held) -> bool:
        """Do what a client holds open, counted as a stream; return whether it ended by itself.

        Raises what the work raises.
        """
        try:
            async with self.counting(), asyncio.TaskGroup() as group:
                working = group.create_task(work)
                ends = [
                    working,
                    group.create_task(self.stopping.wait()),
                    group.create_task(held.ended.wait()),
                ]
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                for task in ends:
                    task.cancel()
                return working.done()
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    @asynccontextmanager
    async def counting(self) -> AsyncIterator[None]:
        """Count a stream meanwhile."""
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1
            self._one_ended.set()

    async def all_ended(self) -> None:
        """Return when none is open any more."""
        while self.open:
            self._one_ended.clear()
            await self._one_ended.wait()


class Held:
    """What a client holds open."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        """Set when others need its room."""


class EventStream(Held):
    """One answer, as an ASGI application."""

    def __init__(self, streams: Streams, items: Items) -> None:
        super().__init__()
        self._streams = streams
        self._items = items
        self._last_id = ""
        self._quiet = True
        self._turn = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": _HEADERS}
        async with self._streams.counting():
            await send(start)
            if scope["method"] == "HEAD":
                await send({"type": "http.response.body", "body": b""})
                return
            async with asyncio.TaskGroup() as group:
                ends = [
                    group.create_task(self._pump(send)),
                    group.create_task(_gone(receive)),
                    group.create_task(self._streams.stopping.wait()),
                    group.create_task(self.ended.wait()),
                ]
                beat = group.create_task(self._beat(send))
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                for task in (*ends, beat):
                    task.cancel()
            await send({"type": "http.response.body", "body": b""})

    async def _pump(self, send: Send) -> None:
        try:
            async with aclosing(self._items) as items:
                async for frames, id in items:
                    self._last_id = id
                    if frames:
                        await self._send(send, frames)
                        frames = b""  # not held until there is something new
                        await self._streams.turn()
        except EventmillError as error:
            await self._send(send, _problem(error))
        except Exception as error:  # the status is sent already: the stream itself tells of it
            log.exception("stream failed", exc_info=error)
            await self._send(send, _problem(InternalError(type(error).__name__)))

    async def _beat(self, send: Send) -> None:
        while True:
            await self._streams.clock.sleep(limits.HEARTBEAT_SECONDS)
            if self._quiet:
                await self._send(send, heartbeat(self._last_id))
            self._quiet = True

    async def _send(self, send: Send, frames: bytes) -> None:
        async with self._turn:
            with self._streams.sending(self, len(frames)):
                await send({"type": "http.response.body", "body": frames, "more_body": True})
            self._quiet = False


def chunks(events: Iterable[tuple[bytes, str]]) -> Iterator[tuple[bytes, str]]:
    """Put events of a stream together, each of them with its id; a chunk has the id of its last."""
    parts: list[bytes] = []
    size, last = 0, ""
    for event, last in events:
        parts.append(event)
        size += len(event)
        if size >= limits.STREAM_CHUNK_BYTES:
            frames = b"".join(parts)
            parts, size = [], 0
            yield frames, last
    if parts:
        yield b"".join(parts), last


def accepts(request: Request, *types: str) -> str:
    """Return the first of `types` that the client names; the first one if it does not say.

    Quality values are not weighed. Raises `NotAcceptable`.
    """
    return accepted(request.headers.get("accept", ""), *types)


def accepted(accept: str, *types: str) -> str:
    """The same for the value of a header."""
    for part in accept.split(","):
        kind = part.partition(";")[0].strip().lower()
        if kind in types:
            return kind
        if kind in ("", "*/*", types[0].partition("/")[0] + "/*"):
            return types[0]
    raise problems.NotAcceptable(f"accepted is {accept[:200]!r}; here is {', '.join(types)}")


async def _gone(receive: Receive) -> None:
    message: Message = {}
    while message.get("type") != "http.disconnect":
        message = await receive()


def _problem(error: EventmillError) -> bytes:
    return frame(problems.document(error)[1], event="problem")
