"""Services: those that are running now."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.routing import Route

from eventmill.admin.routes import asked
from eventmill.admin.routes.answered import get
from eventmill.runtime.operating.living import Living


def routes(living: Living) -> list[Route]:
    """Build the routes of other services."""

    async def services(request: Request) -> Any:
        return await living.instances()

    async def description(request: Request) -> Any:
        return await living.describe(asked.text(request, "service"))

    return [get("/services", services), get("/services/description", description)]
