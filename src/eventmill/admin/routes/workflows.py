"""Workflows: where each is, and what people make of it."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.routing import Route

from eventmill.admin import shapes
from eventmill.admin.routes import asked
from eventmill.admin.routes.answered import get, post
from eventmill.runtime.operating.workflows import Workflows


def routes(workflows: Workflows) -> list[Route]:
    """Build the routes of workflows."""

    async def components(request: Request) -> Any:
        return [{"id": id} for id in workflows.components()]

    async def instances(request: Request) -> Any:
        found = await workflows.instances(
            request.path_params["component"],
            status=asked.status(request),
            after=request.query_params.get("after", ""),
            limit=asked.limit(request),
        )
        return [shapes.workflow(one) for one in found]

    async def show(request: Request) -> Any:
        component, id = request.path_params["component"], asked.text(request, "id")
        return shapes.workflow(await workflows.show(component, id))

    async def history(request: Request) -> Any:
        component, id = request.path_params["component"], asked.text(request, "id")
        after, limit = asked.number(request, "after", 0), asked.limit(request)
        lines = await workflows.history(component, id, after=after, limit=limit)
        return [shapes.line(line) for line in lines]

    async def order(request: Request) -> Any:
        component, order = request.path_params["component"], request.path_params["order"]
        return shapes.workflow(await workflows.order(component, asked.text(request, "id"), order))

    return [
        get("/workflows", components),
        get("/workflows/{component}", instances),
        get("/workflows/{component}/workflow", show),
        get("/workflows/{component}/history", history),
        post("/workflows/{component}/{order}", order),
    ]
