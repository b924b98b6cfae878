"""The routes of the operating surface: each reads its parameters, asks, and shows the answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.routing import Route

from eventmill.admin.routes import (
    consumers,
    entities,
    letters,
    services,
    timers,
    topics,
    views,
    workflows,
)
from eventmill.admin.routes.answered import get
from eventmill.runtime.operating.inspection import Inspection
from eventmill.runtime.operating.living import Living
from eventmill.runtime.operating.operations import Operations
from eventmill.runtime.operating.workflows import Workflows
from eventmill.runtime.runtime import Runtime

Facts = Callable[[], dict[str, Any]]


def routes(runtime: Runtime, facts: Facts) -> list[Route]:
    """Build the routes over a runtime."""
    looks, acts = Inspection(runtime), Operations(runtime)

    async def front(request: Request) -> Any:
        return facts()

    return [
        get("/", front),
        *entities.routes(looks, acts),
        *topics.routes(looks, acts),
        *consumers.routes(acts),
        *views.routes(acts),
        *letters.routes(acts),
        *timers.routes(looks, acts),
        *timers.schedules(acts),
        *workflows.routes(Workflows(runtime)),
        *services.routes(Living(runtime)),
    ]
