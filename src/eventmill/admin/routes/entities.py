"""Entities: their states, events and differences; commands from people."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from eventmill.admin import shapes
from eventmill.admin.routes import asked
from eventmill.admin.routes.answered import get, post
from eventmill.errors import InvalidPayload
from eventmill.runtime.operating.inspection import Inspection
from eventmill.runtime.operating.operations import Operations


def routes(looks: Inspection, acts: Operations) -> list[Route]:
    """Build the routes of entities."""

    async def components(request: Request) -> Any:
        return looks.components()

    async def instances(request: Request) -> Any:
        after, limit = request.query_params.get("after", ""), asked.limit(request)
        return await looks.instances(request.path_params["component"], after=after, limit=limit)

    async def state(request: Request) -> Any:
        sequence = asked.number(request, "sequence") if "sequence" in request.query_params else None
        time = asked.time(request, "time")
        component, id = request.path_params["component"], asked.text(request, "id")
        return shapes.state(await looks.state(component, id, sequence=sequence, time=time))

    async def events(request: Request) -> Any:
        found = await looks.events(
            request.path_params["component"],
            asked.text(request, "id"),
            after=asked.number(request, "after", 0),
            limit=asked.limit(request),
            wait_seconds=float(asked.number(request, "wait", 0)),
        )
        return [shapes.entry(entry) for entry in found]

    async def difference(request: Request) -> Any:
        component, id = request.path_params["component"], asked.text(request, "id")
        before, after = asked.moment(request, "from"), asked.moment(request, "to")
        if before is None:
            raise InvalidPayload("query parameter 'from' is missing: a sequence or a time")
        return shapes.comparison(await looks.difference(component, id, before, after))

    async def call(request: Request) -> Any:
        reply = await acts.call(
            request.path_params["component"],
            asked.text(request, "id"),
            asked.text(request, "name"),
            await asked.body(request),
            request.headers.get("idempotency-key"),
            sequence=asked.number(request, "sequence")
            if "sequence" in request.query_params
            else None,
            time=asked.time(request, "time"),
        )
        return msgspec.Raw(reply)

    return [
        get("/entities", components),
        get("/entities/{component}", instances),
        get("/entities/{component}/state", state),
        get("/entities/{component}/events", events),
        get("/entities/{component}/difference", difference),
        post("/entities/{component}/call", call),
    ]
