"""WebSockets: users' functions that talk with one client for as long as both like.

They are counted and ended with the streams: when the node stops (code 1001), or when all together
hold too much and this client is the slowest (1013). A message has at most `SOCKET_BYTES_MAX` bytes
(1009). Who may not open one, or asks for a path that is none, gets 403.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from eventmill.engine.tracebacks import of_users
from eventmill.errors import FAILURES, EventmillError, RequestError
from eventmill.http import streams
from eventmill.http.endpoints.line import FAILED, GOING_AWAY, LATER, NORMAL, REFUSED, Line
from eventmill.http.endpoints.surroundings import Surroundings
from eventmill.http.headers import envelope_of
from eventmill.http.wire import Receive, Scope, Send, header_of
from eventmill.model import limits
from eventmill.model.endpoint import EndpointDefinition

log = structlog.get_logger()


class Socket:
    """One route whose function talks over a WebSocket."""

    def __init__(
        self, route: EndpointDefinition, function: Callable[..., Any], around: Surroundings
    ) -> None:
        self.route = route
        self._function = function
        self._around = around

    def __repr__(self) -> str:
        return f"<Socket {self.route.path}>"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Talk with one client."""
        around, held = self._around, streams.Held()
        line = Line(receive, send, around.streams, held)
        socket = WebSocket(scope, line.receive, line.send)
        try:
            _check_origin(self.route, scope)
            around.streams.check()
            asked = envelope_of(scope, around.clock)
            arguments = around.arguments_of(self.route, socket, asked)
        except EventmillError as error:
            around.meter.failed(self.route.path, self.route.method, error)
            await refuse(send, error.message)
            return
        around.meter.timings[self.route.path, self.route.method].count += 1
        if not await around.streams.hold(self._talk(line, socket, arguments), held):
            code = GOING_AWAY if around.streams.stopping.is_set() else LATER
            await _close(socket, code)

    async def _talk(self, line: Line, socket: WebSocket, arguments: dict[str, Any]) -> None:
        async with line.listening():
            code = await self._run(arguments)
        await _close(socket, code)

    async def _run(self, arguments: dict[str, Any]) -> int:
        """Run the function; return the code to close with."""
        try:
            await self._function(**arguments)
        except WebSocketDisconnect:
            pass
        except EventmillError as error:
            log.warning("websocket ended", place=self.route.place, error=error.message)
            return FAILED
        except FAILURES as error:  # user code may raise anything
            told = type(error), error, of_users(error.__traceback__)
            log.error("websocket failed", place=self.route.place, exc_info=told)
            return FAILED
        return NORMAL


async def refuse(send: Send, reason: str) -> None:
    """Do not open a WebSocket."""
    await send({"type": "websocket.close", "code": REFUSED, "reason": reason[:120]})


async def _close(socket: WebSocket, code: int) -> None:
    """Close it if it is open; who does not read what was sent before does not hold this up."""
    if WebSocketState.DISCONNECTED in (socket.client_state, socket.application_state):
        return
    with contextlib.suppress(TimeoutError, WebSocketDisconnect, RuntimeError):
        async with asyncio.timeout(limits.SOCKET_CLOSE_SECONDS):
            await socket.close(code)


def _check_origin(route: EndpointDefinition, scope: Scope) -> None:
    """Raise `RequestError` for a page of another site: browsers let it open any WebSocket."""
    origin = header_of(scope, b"origin")
    if not origin or "*" in route.origins or origin in route.origins:
        return
    if urlsplit(origin).netloc.lower() != header_of(scope, b"host").lower():
        raise RequestError(f"pages of {origin[:200]} may not open this WebSocket; see origins=")
