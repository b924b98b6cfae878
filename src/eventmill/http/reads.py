"""`GET /components/{component}/{id}/{query}`: an entity as it is, or as it was.

`as_of_sequence` and `as_of_time` are reserved parameters; a query that has a parameter of such a
name is reached with POST.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from eventmill.errors import EventmillError, InvalidPayload
from eventmill.http.meter import Meter
from eventmill.http.problems import MethodNotAllowed
from eventmill.http.wire import (
    JSON_HEADERS,
    Scope,
    Send,
    parameters_of,
    send_answer,
    taken_from,
    target_of,
    timeout_of,
)
from eventmill.model.envelope import Envelope
from eventmill.runtime.runtime import Runtime
from eventmill.runtime.turns import past

AS_OF_SEQUENCE: Final = "as_of_sequence"
AS_OF_TIME: Final = "as_of_time"

_QUERY_METHODS = ("GET", "HEAD", "POST", "OPTIONS")
_COMMAND_METHODS = ("POST", "OPTIONS")


class Reads:
    """Answers everything but POST on an entity's routes."""

    def __init__(self, runtime: Runtime, meter: Meter) -> None:
        self._runtime = runtime
        self._meter = meter

    async def answer(self, scope: Scope, send: Send) -> None:
        """Answer a request.

        Raises `UnknownHandler`, `MethodNotAllowed`, `InvalidPayload` and what the query raises.
        """
        component, id, name = target_of(scope)
        handler = self._runtime.entities.handler(component, name)
        allow = _COMMAND_METHODS if handler.writes else _QUERY_METHODS
        if handler.writes or scope["method"] not in ("GET", "HEAD"):
            raise MethodNotAllowed(scope["method"], allow)
        texts = parameters_of(scope)
        sequence = _sequence(taken_from(texts, AS_OF_SEQUENCE))
        time = time_of(taken_from(texts, AS_OF_TIME), AS_OF_TIME)
        timeout = timeout_of(scope)
        arguments = handler.parse_arguments(texts) if texts or handler.parameters else ()
        try:
            if sequence is None and time is None:
                envelope = Envelope(component, id, name, arguments)
                if timeout is not None:
                    envelope.deadline = self._runtime.clock.monotonic() + timeout
                reply = await self._runtime.execute(envelope)
            else:
                reply = await past.query(
                    self._runtime.store.journal,
                    self._runtime.entities.definitions[component],
                    handler,
                    id,
                    arguments,
                    sequence=sequence,
                    time=time,
                )
        except EventmillError as error:
            self._meter.failed(component, name, error)
            raise
        self._meter.timings[component, name].count += 1
        headers = JSON_HEADERS
        for header in scope["headers"]:
            if header[0] == b"x-request-id":
                headers = [*headers, header]
        await send_answer(scope, send, 200, headers, reply)


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
