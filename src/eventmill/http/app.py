"""The ASGI application: commands and queries on a path as short as possible, the rest behind it.

Place on the road: the ingress. `POST /components/{component}/{id}/{command}` becomes an `Envelope`
here, and nothing else of HTTP goes further in. Every other route is `http.routes`, on Starlette.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

import structlog

from eventmill.errors import EventmillError, InternalError, InvalidPayload, TooLarge, UnknownHandler
from eventmill.http import problems
from eventmill.model import limits
from eventmill.model.envelope import Envelope
from eventmill.runtime.runtime import Runtime

log = structlog.get_logger()

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

_PREFIX = "/components/"
_JSON_HEADERS = [(b"content-type", b"application/json")]


class App:
    """Answers commands and queries itself; hands everything else to `rest`."""

    def __init__(self, runtime: Runtime, rest: Asgi) -> None:
        self._runtime = runtime
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(_PREFIX):
            await self._rest(scope, receive, send)
            return
        try:
            envelope = await self._envelope(scope, receive)
            reply = await self._runtime.entities.execute(envelope)
        except EventmillError as error:
            await send_problem(send, error)
            return
        except Exception as error:  # the front answers whatever happens behind it
            log.exception("request failed", path=scope["path"])
            await send_problem(send, InternalError(f"{type(error).__name__}; see the node's log"))
            return
        await send({"type": "http.response.start", "status": 200, "headers": _JSON_HEADERS})
        await send({"type": "http.response.body", "body": reply})

    async def _envelope(self, scope: Scope, receive: Receive) -> Envelope:
        component, id, name = _target(scope)
        handler = self._runtime.entities.handler(component, name)
        method = scope["method"]
        if method == "POST":
            arguments = handler.decode_arguments(await body_of(receive))
        elif method == "GET" and not handler.writes:
            query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
            arguments = handler.parse_arguments(query)
        else:
            raise UnknownHandler(f"{method} is not possible here: POST commands, GET queries")
        envelope = Envelope(component, id, name, arguments)
        for header, value in scope["headers"]:
            read = _HEADERS.get(header)
            if read is not None:
                read(envelope, value.decode("latin-1"), self._runtime)
        return envelope


def _target(scope: Scope) -> tuple[str, str, str]:
    path: str = scope["path"]
    parts = path[len(_PREFIX) :].split("/")
    if len(parts) != 3:
        # An id may hold an encoded slash: only the raw path tells it from a separator.
        raw: bytes = scope.get("raw_path") or path.encode()
        raw_parts = raw.partition(b"?")[0].split(b"/")[2:]
        try:
            parts = [unquote_to_bytes(part).decode() for part in raw_parts]
        except UnicodeDecodeError as error:
            raise InvalidPayload("the path is not UTF-8") from error
    if len(parts) != 3 or not parts[1]:
        raise UnknownHandler("use /components/{component}/{id}/{command or query}")
    if len(parts[1]) > limits.SUBJECT_CHARACTERS_MAX:
        raise TooLarge(f"an entity id has at most {limits.SUBJECT_CHARACTERS_MAX} characters")
    return parts[0], parts[1], parts[2]


async def body_of(receive: Receive, limit: int = limits.BODY_BYTES_MAX) -> bytes:
    """Read a request's body.

    Raises `TooLarge` as soon as it is longer than `limit` bytes.
    """
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        parts, size = [body], len(body)
        while message.get("more_body") and size <= limit:
            message = await receive()
            parts.append(message.get("body", b""))
            size += len(parts[-1])
        body = b"".join(parts)
    if len(body) > limit:
        raise TooLarge(f"the body is longer than {limit} bytes")
    return body


async def send_problem(send: Send, error: EventmillError) -> None:
    """Answer with an error's problem document."""
    status, body = problems.document(error)
    headers = [(b"content-type", problems.CONTENT_TYPE)]
    wait = problems.retry_after(error)
    if wait is not None:
        headers.append((b"retry-after", wait.encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _read_key(envelope: Envelope, value: str, runtime: Runtime) -> None:
    if not 0 < len(value) <= limits.IDEMPOTENCY_KEY_CHARACTERS_MAX:
        raise InvalidPayload(
            f"Idempotency-Key has 1 to {limits.IDEMPOTENCY_KEY_CHARACTERS_MAX} characters"
        )
    envelope.idempotency_key = value


def _read_deadline(envelope: Envelope, value: str, runtime: Runtime) -> None:
    try:
        seconds = float(value)
    except ValueError as error:
        raise InvalidPayload("Request-Timeout is a number of seconds") from error
    envelope.deadline = runtime.clock.monotonic() + seconds


def _read_metadata(name: str) -> Callable[[Envelope, str, Runtime], None]:
    def read(envelope: Envelope, value: str, runtime: Runtime) -> None:
        if len(value) > limits.SUBJECT_CHARACTERS_MAX:
            raise TooLarge(f"header {name} is too long")
        metadata = envelope.metadata = envelope.metadata or {}
        metadata[name] = value

    return read


_HEADERS: dict[bytes, Callable[[Envelope, str, Runtime], None]] = {
    b"idempotency-key": _read_key,
    b"request-timeout": _read_deadline,
    b"traceparent": _read_metadata("traceparent"),
    b"tracestate": _read_metadata("tracestate"),
    b"x-request-id": _read_metadata("request_id"),
    b"x-correlation-id": _read_metadata("correlation"),
}
