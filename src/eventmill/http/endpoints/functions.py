"""Users' functions as answers to HTTP requests: arguments in, a response or a stream out.

Place on the road: before it. What a function calls through its context enters the road as any other
command. Limits are those of the platform's own routes: a body is read whole before the function
runs, streams are counted with all others, and there is a bound to how many run.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import Any, Final

import anyio.to_thread
import structlog
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response, StreamingResponse

from eventmill.engine.tracebacks import of_users
from eventmill.errors import (
    DeadlineExceeded,
    EventmillError,
    HandlerFailed,
    InvalidPayload,
    Overloaded,
    TooLarge,
)
from eventmill.http import problems, streams
from eventmill.http.bodies import Bodies
from eventmill.http.headers import envelope_of
from eventmill.http.meter import Meter
from eventmill.http.wire import (
    Message,
    Receive,
    Scope,
    Send,
    check_encoding,
    check_json_type,
    header_of,
    parameters_of,
)
from eventmill.model import codec, depth, limits
from eventmill.model.endpoint import BODY, Arguments, EndpointDefinition, Given, Shape
from eventmill.model.entry import Entry
from eventmill.model.envelope import Envelope
from eventmill.model.handler import Texts
from eventmill.ports.clock import Clock
from eventmill.runtime.dispatch.time_limit import within
from eventmill.sdk.context import Calls
from eventmill.sdk.endpoints.declaring import RequestContext, ServerSentEvent

log = structlog.get_logger()

PATH: Final = "eventmill.path"
"""Where the values in a request's path stand in its scope."""

NewCalls = Callable[[Envelope], Calls]
"""Makes a request's way to the rest of the node; the envelope has its headers."""


class Surroundings:
    """What all functions share."""

    def __init__(
        self,
        clock: Clock,
        new_calls: NewCalls,
        meter: Meter,
        open_streams: streams.Streams,
        bodies: Bodies,
    ) -> None:
        self.clock = clock
        self.new_calls = new_calls
        self.meter = meter
        self.streams = open_streams
        self.bodies = bodies
        self.running = 0
        """Functions whose answer is not there yet."""

    def arguments_of(
        self, route: EndpointDefinition, connection: HTTPConnection, body: bytes = b""
    ) -> dict[str, Any]:
        """Return everything that a function is called with, by its parameters' names.

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
            values[name] = self._context(route, connection) if kind is Given.CONTEXT else connection
        return values

    def _context(self, route: EndpointDefinition, connection: HTTPConnection) -> RequestContext:
        asked = envelope_of(connection.scope, self.clock)
        if route.shape is not Shape.ANSWER:
            asked.deadline = None  # that was for its beginning
        cause = Entry(
            route.path, "", 0, route.method, 1, self.clock.now(), b"", asked.metadata, None
        )
        calls = self.new_calls(asked)
        return RequestContext(connection, cause, calls, asked.idempotency_key or "", asked.deadline)


class Function:
    """One route that a function answers.

    Parameter: `function` is the definition's, bound to its class's instance.
    """

    def __init__(
        self, route: EndpointDefinition, function: Callable[..., Any], around: Surroundings
    ) -> None:
        self.route = route
        self._function = function
        self._around = around

    def __repr__(self) -> str:
        return f"<Function {self.route.id}>"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Raises what becomes a problem, as long as nothing was sent."""
        around, route = self._around, self.route
        if around.running >= limits.ENDPOINTS_RUNNING_MAX:
            raise Overloaded("too many requests are under way here; ask again later")
        around.running += 1
        try:
            body = await around.bodies.read(receive, route.body_bytes)
            receive = _replayed(body, receive)
            answer = await self._answer(Request(scope, receive), body)
        except EventmillError as error:
            around.meter.failed(route.path, route.method, error)
            raise
        finally:
            around.running -= 1
        around.meter.timings[route.path, route.method].count += 1
        if isinstance(answer, StreamingResponse):
            await around.streams.hold(answer(scope, receive, send), streams.Held())
        else:
            await answer(scope, receive, send)

    async def _answer(self, request: Request, body: bytes) -> Response | streams.EventStream:
        arguments = self._around.arguments_of(self.route, request, body)
        if self.route.shape is Shape.STREAM:
            return self._around.streams.answer(self._events(self._function(**arguments)))
        try:
            return self._response(await self._result(request.scope, arguments))
        except EventmillError:
            raise
        except HTTPException as error:
            return _problem(error)
        except Exception as error:  # user code may raise anything; the caller hears which function
            raise self._failure(error) from error

    async def _result(self, scope: Scope, arguments: dict[str, Any]) -> Any:
        clock, route = self._around.clock, self.route
        seconds = route.timeout
        deadline = envelope_of(scope, clock).deadline
        if deadline is not None:
            seconds = min(seconds, deadline - clock.monotonic())
        if seconds <= 0:
            raise DeadlineExceeded()
        work: Awaitable[Any] = (
            self._function(**arguments)
            if route.is_async
            else anyio.to_thread.run_sync(
                partial(self._function, **arguments), abandon_on_cancel=True
            )
        )
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        try:
            return await within(seconds, work)  # type: ignore[arg-type]
        except TimeoutError as error:
            if loop.time() < end:  # the function's own
                raise
            raise DeadlineExceeded(
                f"{route.id} did not answer within {seconds:g} seconds"
            ) from error

    def _response(self, result: Any) -> Response:
        status = self.route.status
        if isinstance(result, Response):
            return result
        if result is None:
            return Response(status_code=204 if status == 200 else status)
        return Response(codec.encode(result), status, media_type="application/json")

    async def _events(self, produced: AsyncGenerator[Any, None]) -> streams.Items:
        last = ""
        try:
            async with aclosing(produced) as values:
                async for value in values:
                    frame, last = _frame(value, last)
                    yield frame, last
        except EventmillError:
            raise
        except Exception as error:  # as above; the stream itself tells of it
            log.error(
                "stream failed",
                place=self.route.place,
                exc_info=(type(error), error, of_users(error.__traceback__)),
            )
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> HandlerFailed:
        name = self.route.function.__qualname__
        return HandlerFailed(
            f"{name} raised {type(error).__name__}: {error}",
            details={"handler": name, "endpoint": self.route.id},
        )


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


def _frame(value: Any, last: str) -> tuple[bytes, str]:
    """Return an event of a stream, and the id to go on from."""
    if not isinstance(value, ServerSentEvent):
        return streams.frame(codec.encode(value)), last
    if not (value.id + value.event).isprintable():
        raise ValueError(f"id and type of an event are printable: {value.id!r}, {value.event!r}")
    frame = streams.frame(codec.encode(value.data), id=value.id, event=value.event)
    return frame, value.id or last


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return a way to receive a body that was read, and then what comes after it."""
    left = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return left.pop() if left else await receive()

    return again


def _problem(error: HTTPException) -> Response:
    """Return Starlette's exception as a problem document."""
    body = problems.of_status(error.status_code, error.detail)
    headers = {**(error.headers or {}), "content-type": problems.CONTENT_TYPE.decode()}
    return Response(body, error.status_code, headers)
