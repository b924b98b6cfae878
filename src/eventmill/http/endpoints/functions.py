"""Users' functions as answers to HTTP requests: arguments in, a response or a stream out.

Place on the road: before it. What a function calls through its context enters the road as any other
command. Limits are those of the platform's own routes: a body is read whole before the function
runs, streams are counted with all others, and there is a bound to how many run.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from functools import partial
from typing import Any

import anyio.to_thread
import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from eventmill.engine.tracebacks import of_users
from eventmill.errors import (
    FAILURES,
    DeadlineExceeded,
    EventmillError,
    HandlerFailed,
    Overloaded,
    described,
)
from eventmill.http import problems, streams
from eventmill.http.endpoints.blocking import watched
from eventmill.http.endpoints.surroundings import Surroundings
from eventmill.http.headers import envelope_of
from eventmill.http.wire import Asgi, Message, Receive, Scope, Send, check_answer
from eventmill.model import codec, limits
from eventmill.model.endpoint import EndpointDefinition, Shape
from eventmill.model.envelope import Envelope
from eventmill.runtime.dispatch.time_limit import within
from eventmill.sdk.endpoints.declaring import ServerSentEvent

log = structlog.get_logger()


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
            asked = envelope_of(scope, around.clock)
            answer = await self._answer(Request(scope, receive), asked, body)
            if isinstance(answer, StreamingResponse):
                around.streams.check()
        except EventmillError as error:
            around.meter.failed(route.path, route.method, error)
            raise
        finally:
            around.running -= 1
        around.meter.timings[route.path, route.method].count += 1
        await self._send(answer, scope, receive, send)

    async def _send(self, answer: Asgi, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = False

        async def noting(message: Message) -> None:
            nonlocal has_begun
            check_answer(message)
            await send(message)
            has_begun = True
            if message.get("more_body"):
                # The server takes what is for nobody without waiting: the word of it must come through.
                await asyncio.sleep(0)

        try:
            if isinstance(answer, StreamingResponse):
                held = streams.Held()
                answer.body_iterator = self._contained(answer.body_iterator)
                await self._around.streams.hold(answer(scope, receive, noting), held)
            else:
                await answer(scope, receive, noting)
        except FAILURES as error:  # as below
            if not has_begun:
                raise self._failure(error) from error
            self._tell("response failed", error)  # its client sees that it is not whole

    async def _answer(
        self, request: Request, asked: Envelope, body: bytes
    ) -> Response | streams.EventStream:
        arguments = self._around.arguments_of(self.route, request, asked, body)
        if self.route.shape is Shape.STREAM:
            return self._around.streams.answer(self._events(self._function(**arguments)))
        try:
            return self._response(await self._result(arguments, asked.deadline))
        except EventmillError:
            raise
        except HTTPException as error:
            return _problem(error)
        except FAILURES as error:  # user code may raise anything; the caller hears which function
            raise self._failure(error) from error

    async def _result(self, arguments: dict[str, Any], deadline: float | None) -> Any:
        route = self.route
        seconds = route.timeout
        if deadline is not None:
            seconds = min(seconds, deadline - self._around.clock.monotonic())
        if seconds <= 0:
            raise DeadlineExceeded()
        work = self._started(arguments)
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        try:
            return await within(seconds, work)
        except TimeoutError as error:
            if loop.time() < end:  # the function's own
                raise
            raise DeadlineExceeded(
                f"{route.id} did not answer within {seconds:g} seconds"
            ) from error

    def _started(self, arguments: dict[str, Any]) -> Coroutine[Any, Any, Any]:
        around, function = self._around, self._function
        if not self.route.is_async:
            return anyio.to_thread.run_sync(partial(function, **arguments), abandon_on_cancel=True)
        work: Coroutine[Any, Any, Any] = function(**arguments)
        if around.guarded:
            return watched(work, around.clock.monotonic, self.route.place)
        return work

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
        except FAILURES as error:  # as above; the stream itself tells of it
            self._tell("stream failed", error)
            raise self._failure(error) from error

    async def _contained(self, content: Any) -> AsyncGenerator[Any, None]:
        """Starlette reads it in tasks, and a `SystemExit` that leaves a task ends the process."""
        try:
            async for chunk in content:
                yield chunk
        except SystemExit as error:
            raise self._failure(error) from error

    def _tell(self, what: str, error: BaseException) -> None:
        told = type(error), error, of_users(error.__traceback__)
        log.error(what, place=self.route.place, exc_info=told)

    def _failure(self, error: BaseException) -> HandlerFailed:
        name = self.route.function.__qualname__
        return HandlerFailed(
            f"{name} raised {described(error)}",
            details={"handler": name, "endpoint": self.route.id},
        )


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
