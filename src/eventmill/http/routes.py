"""Every route but commands and queries, on Starlette."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from eventmill.runtime.runtime import Runtime


def routes(runtime: Runtime) -> Starlette:
    """Build the rest of the front."""

    async def live(request: Request) -> Response:
        return JSONResponse({"status": "up"})

    async def ready(request: Request) -> Response:
        return JSONResponse({"ready": runtime.ready}, 200 if runtime.ready else 503)

    return Starlette(routes=[Route("/health/live", live), Route("/health/ready", ready)])
