"""How it is answered: whatever a question returns, as JSON."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

Ask = Callable[[Request], Awaitable[Any]]


def get(path: str, ask: Ask) -> Route:
    """Make a route that changes nothing."""
    return Route(path, _answering(ask), methods=["GET"])


def post(path: str, ask: Ask) -> Route:
    """Make a route that changes something."""
    return Route(path, _answering(ask), methods=["POST"])


def _answering(ask: Ask) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        answer = await ask(request)
        return Response(msgspec.json.encode(answer), media_type="application/json")

    return endpoint
