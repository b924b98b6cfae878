"""Timers, and the schedules that set some."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.routing import Route

from eventmill.admin import shapes
from eventmill.admin.routes import asked
from eventmill.admin.routes.answered import Ask, get, post
from eventmill.runtime.operating.inspection import Inspection
from eventmill.runtime.operating.operations import Operations


def routes(looks: Inspection, acts: Operations) -> list[Route]:
    """Build the routes of timers."""

    async def timers(request: Request) -> Any:
        after, limit = request.query_params.get("after", ""), asked.limit(request)
        everything = asked.flag(request, "all")
        found = await looks.timers(after=after, limit=limit, everything=everything)
        return [shapes.timer(timer) for timer in found]

    async def cancel(request: Request) -> Any:
        name = asked.text(request, "name")
        await acts.cancel_timer(name)
        return {"cancelled": name}

    return [get("/timers", timers), post("/timers/cancel", cancel)]


def schedules(acts: Operations) -> list[Route]:
    """Build the routes of schedules."""

    async def schedules(request: Request) -> Any:
        return [shapes.schedule(status) for status in await acts.schedules()]

    def doing(act: Callable[[str], Awaitable[None]]) -> Ask:
        async def done(request: Request) -> Any:
            name = request.path_params["name"]
            await act(name)
            found = [status for status in await acts.schedules() if status.name == name]
            return shapes.schedule(found[0])

        return done

    return [
        get("/schedules", schedules),
        post("/schedules/{name}/run", doing(acts.run_schedule)),
        post("/schedules/{name}/pause", doing(acts.pause_schedule)),
        post("/schedules/{name}/resume", doing(acts.resume_schedule)),
    ]
