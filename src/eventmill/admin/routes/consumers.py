"""Consumers and replays: how far each is, and where it goes on."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from eventmill.admin.routes import asked
from eventmill.admin.routes.answered import get, post
from eventmill.admin.routes.asked import Time
from eventmill.errors import InvalidPayload
from eventmill.runtime.operating.operations import Operations


class Reset(msgspec.Struct, forbid_unknown_fields=True):
    """Where a subscription shall continue: one of the three."""

    to: Literal["beginning", "latest"] | None = None
    position: int | None = None
    time: Time | None = None


class Replay(msgspec.Struct, forbid_unknown_fields=True):
    """Where a replay shall begin: one of the three; and what it is."""

    begin: Literal["beginning"] | None = None
    position: int | None = None
    time: Time | None = None
    group: str = "shadow"
    effects: bool = False


def routes(acts: Operations) -> list[Route]:
    """Build the routes of consumers and replays."""

    async def consumers(request: Request) -> Any:
        return await acts.consumers()

    async def consumer(request: Request) -> Any:
        return await acts.consumer(request.path_params["name"])

    async def pause(request: Request) -> Any:
        return await acts.pause(request.path_params["name"])

    async def resume(request: Request) -> Any:
        return await acts.resume(request.path_params["name"])

    async def reset(request: Request) -> Any:
        wanted = await asked.decoded(request, Reset)
        place = _place("to", wanted.to, wanted.position, wanted.time)
        return await acts.reset(request.path_params["name"], place)

    async def replay(request: Request) -> Any:
        wanted = await asked.decoded(request, Replay)
        place = _place("begin", wanted.begin, wanted.position, wanted.time)
        name = request.path_params["name"]
        return await acts.replay(name, place, group=wanted.group, effects=wanted.effects)

    async def replays(request: Request) -> Any:
        return await acts.replays()

    async def forget(request: Request) -> Any:
        await acts.forget_replay(request.path_params["name"])
        return {"forgotten": request.path_params["name"]}

    return [
        get("/replays", replays),
        post("/replays/{name}/forget", forget),
        post("/consumers/{name}/replay", replay),
        get("/consumers", consumers),
        get("/consumers/{name}", consumer),
        post("/consumers/{name}/pause", pause),
        post("/consumers/{name}/resume", resume),
        post("/consumers/{name}/reset", reset),
    ]


def _place(end: str, *ways: Any) -> Any:
    """Return the one way that is given to say where; the first is called `end`."""
    given = [way for way in ways if way is not None]
    if len(given) != 1:
        raise InvalidPayload(f"give one of `{end}`, `position` and `time`")
    return given[0]
