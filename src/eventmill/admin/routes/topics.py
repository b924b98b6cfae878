"""Topics: what is in them, and messages from people."""

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


class Messages(msgspec.Struct, forbid_unknown_fields=True):
    """Events to be published: one as `data`, or several as `events`."""

    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    events: list[msgspec.Raw] = []
    type: str | None = None
    key: str | None = None


def routes(looks: Inspection, acts: Operations) -> list[Route]:
    """Build the routes of topics."""

    async def topics(request: Request) -> Any:
        return await looks.topics()

    async def messages(request: Request) -> Any:
        topic, limit = request.path_params["topic"], asked.limit(request)
        if "after" not in request.query_params:
            found = await looks.last_messages(topic, limit=limit)
        else:
            wait = float(asked.number(request, "wait", 0))
            after = request.query_params["after"]
            found = await looks.messages(topic, after=after, limit=limit, wait_seconds=wait)
        shown = [shapes.entry(entry) for entry in found.messages]
        return {
            "messages": shown,
            "position": found.position,
            "start": found.start,
            "end": found.is_end,
        }

    async def publish(request: Request) -> Any:
        given = await asked.decoded(request, Messages)
        single = [] if given.data is msgspec.UNSET else [given.data]
        if bool(single) == bool(given.events):
            raise InvalidPayload("give one event as `data`, or several as `events`")
        payloads = [bytes(event) for event in single + given.events]
        await acts.publish(request.path_params["topic"], payloads, given.type, given.key)
        return {"published": len(payloads)}

    async def adopt(request: Request) -> Any:
        return {"readers": await acts.adopt(request.path_params["topic"])}

    return [
        get("/topics", topics),
        post("/topics/{topic:path}/adopt", adopt),
        # Of another service, as `shop/orders`, a topic can be looked at.
        get("/topics/{topic:path}/messages", messages),
        post("/topics/{topic:path}/messages", publish),
    ]
