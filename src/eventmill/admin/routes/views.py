"""Views: their versions and queries."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from eventmill.admin.routes import asked
from eventmill.admin.routes.answered import get, post
from eventmill.runtime.operating.operations import Operations


def routes(acts: Operations) -> list[Route]:
    """Build the routes of views."""

    async def views(request: Request) -> Any:
        return await acts.views()

    async def query(request: Request) -> Any:
        view, name = request.path_params["view"], request.path_params["query"]
        return msgspec.Raw(await acts.query(view, name, asked.texts(request)))

    async def rebuild(request: Request) -> Any:
        return {"version": await acts.rebuild(request.path_params["view"])}

    return [
        get("/views", views),
        get("/views/{view}/{query}", query),
        post("/views/{view}/rebuild", rebuild),
    ]
