"""The operating surface's routes."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from eventmill.runtime.runtime import Runtime


def admin_app(runtime: Runtime) -> Starlette:
    """Build the operating surface."""

    async def consumers(request: Request) -> Response:
        return JSONResponse(
            [
                {
                    "name": s.name,
                    "paused": s.paused,
                    "position": s.position,
                    "lag": s.lag,
                    "blocked": len(s.blocked),
                }
                for s in runtime.subscriptions.values()
            ]
        )

    return Starlette(routes=[Route("/consumers", consumers)])
