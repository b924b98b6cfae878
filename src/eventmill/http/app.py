"""The ASGI application: commands on a path as short as possible, the rest behind it.

Place on the road: the ingress. `POST /components/{component}/{id}/{command}` becomes an `Envelope`
here, and nothing else of HTTP goes further in. Reads of entities are `http.reads`, publishing is
`http.publishing`, every other route is `http.routes`, on Starlette.

Invariants: headers are looked at before the body is read; a body is never decompressed; whatever
goes wrong is answered with a problem document.
"""

from __future__ import annotations

from typing import Any

import structlog
from starlette.exceptions import HTTPException

from eventmill.engine.tracebacks import let_go, of_users
from eventmill.errors import FAILURES, EventmillError, HandlerFailed, InternalError, TooLarge
from eventmill.http import headers as request_headers
from eventmill.http import problems
from eventmill.http.bodies import Bodies
from eventmill.http.meter import SAMPLED, Meter
from eventmill.http.publishing import Publishing
from eventmill.http.reads import Reads
from eventmill.http.streams import Streams
from eventmill.http.wire import (
    COMPONENTS,
    JSON_HEADERS,
    TOPICS,
    Asgi,
    Message,
    Receive,
    Scope,
    Send,
    send_answer,
    target_of,
)
from eventmill.model import codec, depth, limits
from eventmill.model.entry import read_metadata
from eventmill.model.envelope import Envelope
from eventmill.runtime.runtime import Runtime

log = structlog.get_logger()

_JSON = b"application/json"
_HEADERS = request_headers.COMMAND
_REQUEST_ID = "eventmill.request_id"
"""Where a request's id stands in its scope."""

INTERNAL = 500

_SHALLOW = 2 * limits.JSON_DEPTH_MAX
"""A body of fewer bytes cannot nest too deep."""


class App:
    """Answers what is frequent itself; hands everything else to `rest`.

    Invariant: `meter` never sees a name that the service does not declare.
    """

    def __init__(
        self, runtime: Runtime, rest: Asgi, meter: Meter, streams: Streams, bodies: Bodies
    ) -> None:
        self._runtime = runtime
        self._rest = rest
        self._meter = meter
        self._timings = meter.timings
        self._streams = streams
        self.bodies = bodies
        self._start = runtime.clock.now()
        self._made = 0
        self._turn = 0
        self._clock = runtime.clock
        self._monotonic = runtime.clock.monotonic
        self._reads = Reads(runtime, meter, streams)
        self._publishing = Publishing(runtime, meter, bodies)

    def stop(self) -> None:
        """End what may never end by itself: streams, and the wait for bodies."""
        self._streams.stop()
        self.bodies.stop()

    async def streams_ended(self) -> None:
        """Return when no stream is open any more."""
        await self._streams.all_ended()

    async def watch(self) -> None:
        """Look after slow clients, for ever; the node's owner runs it."""
        await self.bodies.watch()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._rest(scope, receive, send)
            return
        if not scope["path"].startswith(COMPONENTS):
            await self._rare(scope, receive, send)
            return
        if scope["method"] != "POST":
            await self._read(scope, receive, send)
            return
        self._turn = turn = (self._turn + 1) & SAMPLED
        started = 0.0 if turn else self._monotonic()
        envelope = None
        try:
            envelope = await self._envelope(scope, receive)
            reply = await self._runtime.execute(envelope)
        except EventmillError as error:
            await self._refuse(scope, send, error, envelope)
            return
        except FAILURES as error:  # the front answers whatever happens behind it
            await self._refuse(scope, send, unexpected(error), envelope)
            return
        timing = self._timings[envelope.component, envelope.name]
        timing.count += 1
        if not turn:
            timing.note(self._monotonic() - started)
        headers = JSON_HEADERS
        if envelope.metadata is not None:
            headers = JSON_HEADERS + _request_id(envelope)
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": reply})

    async def _envelope(self, scope: Scope, receive: Receive) -> Envelope:
        component, id, name = target_of(scope)
        handler = self._runtime.entities.handler(component, name)
        envelope = Envelope(component, id, name, ())
        metadata: dict[str, str] = {}
        for header, value in scope["headers"]:
            read = _HEADERS.get(header)
            if read is not None and value != _JSON:
                read(envelope, metadata, value.decode("latin-1"), self._clock)
        if metadata:
            envelope.metadata = codec.encode(metadata)
        body = await self.bodies.read(receive, limits.PAYLOAD_BYTES_MAX)
        envelope.arguments = handler.decode_arguments(body)
        if len(body) > _SHALLOW and depth.exceeds(body):
            raise TooLarge(f"the body nests deeper than {limits.JSON_DEPTH_MAX} levels")
        return envelope

    async def _read(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._reads.answer(scope, receive, send)
        except EventmillError as error:
            await self._refuse(scope, send, error, None)
        except FAILURES as error:  # as above
            await self._refuse(scope, send, unexpected(error), None)

    async def _rare(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, method = scope["path"], scope["method"]
        send = self._with_request_id(scope, send)
        try:
            if method == "POST" and path.startswith(TOPICS):
                await self._publishing.answer(scope, receive, send)
            else:
                scope["app"] = self._rest  # the router then raises instead of answering with text
                await self._rest(scope, receive, send)
        except EventmillError as error:
            await self._refuse(scope, send, error, None)
        except HTTPException as error:
            await self._refuse(scope, send, problems.of_starlette(error, method), None)
        except FAILURES as error:
            await self._refuse(scope, send, unexpected(error), None)

    def _with_request_id(self, scope: Scope, send: Send) -> Send:
        """Let the answer carry the request's id, or one that is made here."""
        id = _given(scope, b"x-request-id")
        if id is None:
            self._made += 1
            id = b"%x-%x" % (self._start, self._made)
        scope[_REQUEST_ID] = id.decode("latin-1")

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", id)]
            await send(message)

        return answer

    async def _refuse(
        self, scope: Scope, send: Send, error: EventmillError, envelope: Envelope | None
    ) -> None:
        if isinstance(error, problems.MethodNotAllowed) and scope["method"] == "OPTIONS":
            await send_answer(scope, send, 204, [(b"allow", error.allow.encode())], b"")
            return
        status, body = problems.document(error)
        headers = problems.headers_of(error)
        if status == INTERNAL:
            # Nobody but the author or the operator can mend it: they read the log.
            told = _told(error) | _context(scope)
            if envelope is not None:
                handler = self._runtime.entities.handler(envelope.component, envelope.name)
                told["place"] = handler.place
            log.error("request failed", path=scope["path"], **told)
        if envelope is None:
            self._meter.refused(error)
        else:
            self._meter.failed(envelope.component, envelope.name, error)
            headers += _request_id(envelope)
        let_go(error)
        await send_answer(scope, send, status, headers, body)


def _request_id(envelope: Envelope) -> list[problems.Header]:
    id = read_metadata(envelope.metadata).get("request_id")
    return [(b"x-request-id", id.encode())] if id else []


def _given(scope: Scope, header: bytes) -> bytes | None:
    """Return a header's value, if it is none that is refused for its length."""
    given = next((value for name, value in scope["headers"] if name == header), None)
    return given if given and len(given) <= limits.SUBJECT_CHARACTERS_MAX else None


def _context(scope: Scope) -> dict[str, str]:
    """Tell the log which request it was, in its sender's words, or by the id that was made here."""
    context = {
        "request_id": _given(scope, b"x-request-id"),
        "traceparent": _given(scope, b"traceparent"),
    }
    told = {name: value.decode("latin-1") for name, value in context.items() if value}
    return {"request_id": scope[_REQUEST_ID], **told} if _REQUEST_ID in scope else told


def _told(error: EventmillError) -> dict[str, Any]:
    """Tell the log what went wrong, and where: a handler's author has no use for our frames."""
    cause = error.__cause__ or error
    if not isinstance(error, HandlerFailed):
        return {"exc_info": cause}
    if cause is error:  # the effect was wrong: no frame of the handler's is left
        return {"error": error.message}
    return {"exc_info": (type(cause), cause, of_users(cause.__traceback__))}


def unexpected(error: BaseException) -> InternalError:
    """Return what the caller is told of an error that should not have happened."""
    told = InternalError(f"{type(error).__name__}; see the node's log")
    told.__cause__ = error
    return told
