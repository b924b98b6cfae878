"""What all routes of a service's own share, and how a request becomes a function's arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from starlette.requests import HTTPConnection

from eventmill.errors import InvalidPayload, TooLarge
from eventmill.http import streams
from eventmill.http.bodies import Bodies
from eventmill.http.meter import Meter
from eventmill.http.wire import (
    Scope,
    check_encoding,
    check_json_type,
    header_of,
    parameters_of,
)
from eventmill.model import depth, limits
from eventmill.model.endpoint import BODY, Arguments, EndpointDefinition, Given, Shape
from eventmill.model.entry import Entry
from eventmill.model.envelope import Envelope
from eventmill.model.handler import Texts
from eventmill.ports.clock import Clock
from eventmill.sdk.context import Calls
from eventmill.sdk.endpoints.declaring import RequestContext

PATH: Final = "eventmill.path"
"""Where the values in a request's path stand in its scope."""

NewCalls = Callable[[Envelope], Calls]
"""Makes a request's way to the rest of the node; the envelope has its headers."""


class Surroundings:
    """What all functions share. Parameter: `guarded` notices functions that hold up the node."""

    def __init__(
        self,
        clock: Clock,
        new_calls: NewCalls,
        meter: Meter,
        open_streams: streams.Streams,
        bodies: Bodies,
        *,
        guarded: bool = False,
    ) -> None:
        self.clock = clock
        self.new_calls = new_calls
        self.meter = meter
        self.streams = open_streams
        self.bodies = bodies
        self.guarded = guarded
        self.running = 0
        """Functions whose answer is not there yet."""

    def arguments_of(
        self,
        route: EndpointDefinition,
        connection: HTTPConnection,
        asked: Envelope,
        body: bytes = b"",
    ) -> dict[str, Any]:
        """Return everything that a function is called with, by its parameters' names.

        Parameter: `asked` has what the request's headers say.

        Raises `InvalidPayload`, `TooLarge`, `UnsupportedMediaType`.
        """
        scope = connection.scope
        texts = _only(scope[PATH], route.in_path)
        values = route.in_path.named(route.in_path.parse_arguments(texts))
        texts = parameters_of(scope)
        if route.takes_connection:  # it may read others itself
            texts = _only(texts, route.in_query)
        values |= route.in_query.named(route.in_query.parse_arguments(texts))
        values |= _body_of(route, scope, body)
        for name, kind in route.given.items():
            is_context = kind is Given.CONTEXT
            values[name] = self._context(route, connection, asked) if is_context else connection
        return values

    def _context(
        self, route: EndpointDefinition, connection: HTTPConnection, asked: Envelope
    ) -> RequestContext:
        if route.shape is not Shape.ANSWER:
            asked.deadline = None  # that was for its beginning
        now = self.clock.now()
        cause = Entry(route.path, "", 0, route.method, 1, now, b"", asked.metadata)
        key = asked.idempotency_key or ""
        return RequestContext(connection, cause, self.new_calls(asked), key, asked.deadline)


def _only(texts: Texts, arguments: Arguments) -> Texts:
    return {name: texts[name] for name in texts if name in arguments.parameters}


def _body_of(route: EndpointDefinition, scope: Scope, body: bytes) -> dict[str, Any]:
    """Return the arguments that stand in the body."""
    if route.takes_json:
        if kind := header_of(scope, b"content-type"):
            check_json_type(kind)
        check_encoding(header_of(scope, b"content-encoding") or "identity")
        if depth.exceeds(body):
            raise TooLarge(f"the body nests deeper than {limits.JSON_DEPTH_MAX} levels")
    if route.in_body.parameters:
        return route.in_body.named(route.in_body.decode_arguments(body))
    if route.decode_body is not None:
        try:
            return {BODY: route.decode_body(body)}
        except (ValueError, TypeError, RecursionError) as error:
            raise InvalidPayload(f"{route.path}: {error}") from error
    return {BODY: body} if route.body_type is bytes else {}
