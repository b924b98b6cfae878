"""`GET /components/{component}/{id}/{query}`: an entity as it is, as it was, or as it becomes.

`as_of_sequence` and `as_of_time` are reserved parameters; a query that has a parameter of such a
name is reached with POST. The client's `Accept` chooses the form: JSON, a list's items one a line,
or a stream that sends the answer again when it has changed (`http.changes`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec

from eventmill.errors import EventmillError, InvalidPayload
from eventmill.http import streams
from eventmill.http.changes import EntityStreams
from eventmill.http.meter import Meter
from eventmill.http.problems import Header, MethodNotAllowed, NotAcceptable
from eventmill.http.wire import (
    JSON,
    JSON_HEADERS,
    NDJSON,
    NDJSON_HEADERS,
    Receive,
    Scope,
    Send,
    header_of,
    parameters_of,
    send_answer,
    taken_from,
    target_of,
    timeout_of,
)
from eventmill.model.envelope import Envelope
from eventmill.model.handler import CHANGES, Handler
from eventmill.runtime.runtime import Runtime

AS_OF_SEQUENCE: Final = "as_of_sequence"
AS_OF_TIME: Final = "as_of_time"

_READ_METHODS = ("GET", "HEAD", "OPTIONS")
_QUERY_METHODS = ("GET", "HEAD", "POST", "OPTIONS")
_COMMAND_METHODS = ("POST", "OPTIONS")

Ask = Callable[[], Awaitable[bytes]]


class _Moment(NamedTuple):
    """When an entity shall be looked at."""

    sequence: int | None
    time: int | None

    @property
    def is_now(self) -> bool:
        return self.sequence is None and self.time is None


class Reads:
    """Answers everything but POST on an entity's routes."""

    def __init__(self, runtime: Runtime, meter: Meter, open_streams: streams.Streams) -> None:
        self._runtime = runtime
        self._meter = meter
        self._streams = EntityStreams(runtime, open_streams)

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request.

        Raises `UnknownHandler`, `MethodNotAllowed`, `InvalidPayload` and what the query raises.
        """
        component, id, name = target_of(scope)
        if name == CHANGES:
            _check_method(scope, _READ_METHODS)
            stream = await self._streams.changes(scope, component, id)
            await stream(scope, receive, send)
            return
        handler = self._runtime.entities.handler(component, name)
        _check_method(scope, _COMMAND_METHODS if handler.writes else _QUERY_METHODS)
        texts = parameters_of(scope)
        sequence = _sequence(taken_from(texts, AS_OF_SEQUENCE))
        moment = _Moment(sequence, time_of(taken_from(texts, AS_OF_TIME), AS_OF_TIME))
        timeout = timeout_of(scope)
        arguments = handler.parse_arguments(texts) if texts or handler.parameters else ()
        ask = self._asking(handler, id, arguments, moment, timeout)
        kind = streams.accepted(header_of(scope, b"accept"), JSON, NDJSON, streams.CONTENT_TYPE)
        if kind == streams.CONTENT_TYPE:
            if not moment.is_now:
                raise NotAcceptable("the past does not change: ask for application/json")
            stream = await self._streams.live(component, id, ask)
            await stream(scope, receive, send)
            return
        try:
            reply = await ask()
        except EventmillError as error:
            self._meter.failed(component, name, error)
            raise
        self._meter.timings[component, name].count += 1
        headers = JSON_HEADERS
        if kind == NDJSON:
            headers, reply = NDJSON_HEADERS, _lines(reply)
        await send_answer(scope, send, 200, headers + _request_id(scope), reply)

    def _asking(
        self,
        handler: Handler[Any, Any],
        id: str,
        arguments: tuple[Any, ...],
        moment: _Moment,
        timeout: float | None,
    ) -> Ask:
        """Return what runs the query: each time anew, with its own time to begin."""

        async def now() -> bytes:
            envelope = Envelope(handler.component, id, handler.name, arguments)
            if timeout is not None:
                envelope.deadline = self._runtime.clock.monotonic() + timeout
            return await self._runtime.execute(envelope)

        async def then() -> bytes:
            sequence, time = moment
            return await self._runtime.ask_past(
                handler, id, arguments, sequence=sequence, time=time
            )

        return now if moment.is_now else then


def _check_method(scope: Scope, allow: tuple[str, ...]) -> None:
    if scope["method"] not in ("GET", "HEAD") or "GET" not in allow:
        raise MethodNotAllowed(scope["method"], allow)


def _lines(reply: bytes) -> bytes:
    """Write the items of a JSON array one a line; anything else is one line."""
    try:
        items = msgspec.json.decode(reply, type=list[msgspec.Raw])
    except msgspec.ValidationError:
        return reply + b"\n"
    return b"".join(bytes(item) + b"\n" for item in items)


def _request_id(scope: Scope) -> list[Header]:
    return [header for header in scope["headers"] if header[0] == b"x-request-id"]


def _sequence(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise InvalidPayload(f"{AS_OF_SEQUENCE} is a whole number, 0 or more")
    return int(text)


def time_of(text: str | None, name: str) -> int | None:
    """Read an ISO 8601 time, UTC if it names no offset; return microseconds since the epoch.

    Raises `InvalidPayload`.
    """
    if text is None:
        return None
    try:
        # A URL's "+" stands for a space: an offset that was not encoded is understood all the same.
        time = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
        return round(time.replace(tzinfo=time.tzinfo or UTC).timestamp() * 1e6)
    except (ValueError, OverflowError) as error:
        raise InvalidPayload(f"{name} is a time as 2013-01-01T05:17:00Z") from error
