"""The operating surface as an ASGI application: guarded routes, errors as problem documents.

Place on the road: beside it, on a port of its own, loopback unless told otherwise. Nobody logs in
here, so the surface defends itself against the browser on the same machine: a request must name a
host that is ours (a rebound DNS name is not), and a write must be `application/json`, which no
foreign page can send without asking first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from typing import Any

import msgspec
import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from eventmill.admin.routes import Facts, routes
from eventmill.errors import (
    EventmillError,
    InternalError,
    NotFound,
    RequestError,
    Unavailable,
)
from eventmill.runtime.runtime import Runtime

log = structlog.get_logger()

Problem = Callable[[EventmillError], tuple[int, bytes]]
"""Makes an error's status and problem document: the node hands in the front's own."""

Read = Callable[[Receive, int], Awaitable[bytes]]
"""Reads a body of at most so many bytes, in time: the front's own, too."""

WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})


class Forbidden(RequestError):
    """A browser sent it from somewhere else."""

    code = "request.forbidden"


def admin_app(
    runtime: Runtime, facts: Facts, *, host: str, problem: Problem, read: Read
) -> ASGIApp:
    """Build the operating surface.

    Parameters: `facts` tells of the node, for its front page; `host` is the address that it is
    bound to; `problem` renders errors; `read` reads bodies.
    """

    async def known(request: Request, error: Exception) -> Response:
        assert isinstance(error, EventmillError)
        return _answer(problem, error)

    async def unrouted(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        missing = NotFound(f"no {request.method} {request.url.path} on the operating surface")
        return _answer(problem, missing, error.status_code)

    async def unknown(request: Request, error: Exception) -> Response:
        # It is raised again, and logged by the guard.
        return _answer(problem, InternalError(f"{type(error).__name__}; see the node's log"))

    app = Starlette(
        routes=routes(runtime, facts),
        exception_handlers={EventmillError: known, HTTPException: unrouted, Exception: unknown},
    )
    app.state.read = read
    return _Guard(app, host, problem)


class _Guard:
    """Refuses what a foreign page could make a browser send."""

    def __init__(self, app: ASGIApp, host: str, problem: Problem) -> None:
        self._app = app
        self._host = host.lower()
        self._problem = problem

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        refusal = self._refusal(request)
        if refusal is not None:
            await _answer(self._problem, refusal, 403)(scope, receive, send)
            return
        started = False

        async def noting(message: Any) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception as error:  # whatever happens behind it, the surface answers
            log.exception("operating request failed", path=request.url.path)
            if not started:
                failure = InternalError(f"{type(error).__name__}; see the node's log")
                await _answer(self._problem, failure)(scope, receive, send)

    def _refusal(self, request: Request) -> EventmillError | None:
        name = _host_name(request.headers.get("host", ""))
        if not (name in ("localhost", self._host) or _is_address(name)):
            return Forbidden(f"host {name!r} is not this node's: use its address")
        if request.headers.get("sec-fetch-site") == "cross-site":
            return Forbidden("pages of other sites may not operate this node")
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if request.method in WRITES and kind != "application/json":
            return Forbidden("a write needs the header `content-type: application/json`")
        return None


def _answer(problem: Problem, error: EventmillError, status: int | None = None) -> Response:
    found, body = problem(error)
    headers = {"content-type": "application/problem+json"}
    if isinstance(error, Unavailable):
        headers["retry-after"] = str(max(1, round(error.retry_after_seconds)))
    if status is not None and status != found:
        body = msgspec.json.encode({**msgspec.json.decode(body), "status": status})
    return Response(body, status or found, headers)


def _host_name(header: str) -> str:
    """Return the name in a Host header, without its port."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower()


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
