"""The routes of the operating surface: each reads its parameters, asks, and shows the answer.

Ids stand in the query, not in the path, because an entity's id may hold any character.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from eventmill.admin import shapes
from eventmill.errors import InvalidPayload
from eventmill.model import limits
from eventmill.model.commit import LetterStatus
from eventmill.model.handler import Texts
from eventmill.model.progress import Status
from eventmill.runtime.operating.inspection import Inspection, Moment
from eventmill.runtime.operating.living import Living
from eventmill.runtime.operating.operations import Operations
from eventmill.runtime.operating.workflows import Workflows
from eventmill.runtime.runtime import Runtime

Facts = Callable[[], dict[str, Any]]
Ask = Callable[[Request], Awaitable[Any]]
Time = Annotated[datetime, msgspec.Meta(tz=True)]


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


class Choice(msgspec.Struct, forbid_unknown_fields=True):
    """Which letters are meant."""

    subscription: str
    key: str | None = None
    letter: str | None = None
    refused: bool = False


class Messages(msgspec.Struct, forbid_unknown_fields=True):
    """Events to be published: one as `data`, or several as `events`."""

    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    events: list[msgspec.Raw] = []
    type: str | None = None
    key: str | None = None


def routes(runtime: Runtime, facts: Facts) -> list[Route]:
    """Build the routes over a runtime."""
    looks, acts = Inspection(runtime), Operations(runtime)

    async def front(request: Request) -> Any:
        return facts()

    return [
        _get("/", front),
        *_entities(looks, acts),
        *_topics(looks, acts),
        *_consumers(acts),
        *_views(acts),
        *_letters(acts),
        *_timers(looks, acts),
        *_schedules(acts),
        *_workflows(Workflows(runtime)),
        *_living(Living(runtime)),
    ]


def _living(living: Living) -> list[Route]:
    async def services(request: Request) -> Any:
        return await living.instances()

    async def description(request: Request) -> Any:
        return await living.describe(_text(request, "service"))

    return [_get("/services", services), _get("/services/description", description)]


def _entities(looks: Inspection, acts: Operations) -> list[Route]:
    async def components(request: Request) -> Any:
        return looks.components()

    async def instances(request: Request) -> Any:
        after, limit = request.query_params.get("after", ""), _limit(request)
        return await looks.instances(request.path_params["component"], after=after, limit=limit)

    async def state(request: Request) -> Any:
        sequence = _number(request, "sequence") if "sequence" in request.query_params else None
        time = _time(request, "time")
        component, id = request.path_params["component"], _text(request, "id")
        return shapes.state(await looks.state(component, id, sequence=sequence, time=time))

    async def events(request: Request) -> Any:
        found = await looks.events(
            request.path_params["component"],
            _text(request, "id"),
            after=_number(request, "after", 0),
            limit=_limit(request),
            wait_seconds=float(_number(request, "wait", 0)),
        )
        return [shapes.entry(entry) for entry in found]

    async def difference(request: Request) -> Any:
        component, id = request.path_params["component"], _text(request, "id")
        before, after = _moment(request, "from"), _moment(request, "to")
        if before is None:
            raise InvalidPayload("query parameter 'from' is missing: a sequence or a time")
        return shapes.comparison(await looks.difference(component, id, before, after))

    async def call(request: Request) -> Any:
        reply = await acts.call(
            request.path_params["component"],
            _text(request, "id"),
            _text(request, "name"),
            await _body(request),
            request.headers.get("idempotency-key"),
            sequence=_number(request, "sequence") if "sequence" in request.query_params else None,
            time=_time(request, "time"),
        )
        return msgspec.Raw(reply)

    return [
        _get("/entities", components),
        _get("/entities/{component}", instances),
        _get("/entities/{component}/state", state),
        _get("/entities/{component}/events", events),
        _get("/entities/{component}/difference", difference),
        _post("/entities/{component}/call", call),
    ]


def _topics(looks: Inspection, acts: Operations) -> list[Route]:
    async def topics(request: Request) -> Any:
        return await looks.topics()

    async def messages(request: Request) -> Any:
        topic, limit = request.path_params["topic"], _limit(request)
        if "after" not in request.query_params:
            found = await looks.last_messages(topic, limit=limit)
        else:
            wait = float(_number(request, "wait", 0))
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
        given = await _decoded(request, Messages)
        single = [] if given.data is msgspec.UNSET else [given.data]
        if bool(single) == bool(given.events):
            raise InvalidPayload("give one event as `data`, or several as `events`")
        payloads = [bytes(event) for event in single + given.events]
        await acts.publish(request.path_params["topic"], payloads, given.type, given.key)
        return {"published": len(payloads)}

    async def adopt(request: Request) -> Any:
        return {"readers": await acts.adopt(request.path_params["topic"])}

    return [
        _get("/topics", topics),
        _post("/topics/{topic:path}/adopt", adopt),
        # Of another service, as `shop/orders`, a topic can be looked at.
        _get("/topics/{topic:path}/messages", messages),
        _post("/topics/{topic:path}/messages", publish),
    ]


def _consumers(acts: Operations) -> list[Route]:
    async def consumers(request: Request) -> Any:
        return await acts.consumers()

    async def consumer(request: Request) -> Any:
        return await acts.consumer(request.path_params["name"])

    async def pause(request: Request) -> Any:
        return await acts.pause(request.path_params["name"])

    async def resume(request: Request) -> Any:
        return await acts.resume(request.path_params["name"])

    async def reset(request: Request) -> Any:
        wanted = await _decoded(request, Reset)
        ways = [way for way in (wanted.to, wanted.position, wanted.time) if way is not None]
        if len(ways) != 1:
            raise InvalidPayload("give one of `to`, `position` and `time`")
        return await acts.reset(request.path_params["name"], ways[0])

    async def replay(request: Request) -> Any:
        wanted = await _decoded(request, Replay)
        ways = [w for w in (wanted.begin, wanted.position, wanted.time) if w is not None]
        if len(ways) != 1:
            raise InvalidPayload("give one of `begin`, `position` and `time`")
        name = request.path_params["name"]
        return await acts.replay(name, ways[0], group=wanted.group, effects=wanted.effects)

    async def replays(request: Request) -> Any:
        return await acts.replays()

    async def forget(request: Request) -> Any:
        await acts.forget_replay(request.path_params["name"])
        return {"forgotten": request.path_params["name"]}

    return [
        _get("/replays", replays),
        _post("/replays/{name}/forget", forget),
        _post("/consumers/{name}/replay", replay),
        _get("/consumers", consumers),
        _get("/consumers/{name}", consumer),
        _post("/consumers/{name}/pause", pause),
        _post("/consumers/{name}/resume", resume),
        _post("/consumers/{name}/reset", reset),
    ]


def _views(acts: Operations) -> list[Route]:
    async def views(request: Request) -> Any:
        return await acts.views()

    async def query(request: Request) -> Any:
        view, name = request.path_params["view"], request.path_params["query"]
        return msgspec.Raw(await acts.query(view, name, _texts(request)))

    async def rebuild(request: Request) -> Any:
        return {"version": await acts.rebuild(request.path_params["view"])}

    return [
        _get("/views", views),
        _get("/views/{view}/{query}", query),
        _post("/views/{view}/rebuild", rebuild),
    ]


def _letters(acts: Operations) -> list[Route]:
    async def letters(request: Request) -> Any:
        found = await acts.letters(
            request.query_params.get("subscription"),
            statuses=_statuses(request),
            after=request.query_params.get("after", ""),
            limit=_limit(request),
        )
        return [shapes.letter(letter) for letter in found]

    async def letter(request: Request) -> Any:
        found = await acts.letter(_text(request, "id"))
        return shapes.letter(found, full=True, lifted=acts.lifted(found.entry))

    async def redrive(request: Request) -> Any:
        chosen = await _decoded(request, Choice)
        done = await acts.redrive(
            chosen.subscription, chosen.key, chosen.letter, refused=chosen.refused
        )
        return {"redriven": done}

    async def discard(request: Request) -> Any:
        chosen = await _decoded(request, Choice)
        done = await acts.discard(
            chosen.subscription, chosen.key, chosen.letter, refused=chosen.refused
        )
        return {"discarded": done}

    return [
        _get("/dead-letters", letters),
        _get("/dead-letters/letter", letter),
        _post("/dead-letters/redrive", redrive),
        _post("/dead-letters/discard", discard),
    ]


def _timers(looks: Inspection, acts: Operations) -> list[Route]:
    async def timers(request: Request) -> Any:
        after, limit = request.query_params.get("after", ""), _limit(request)
        return [shapes.timer(timer) for timer in await looks.timers(after=after, limit=limit)]

    async def cancel(request: Request) -> Any:
        name = _text(request, "name")
        await acts.cancel_timer(name)
        return {"cancelled": name}

    return [_get("/timers", timers), _post("/timers/cancel", cancel)]


def _schedules(acts: Operations) -> list[Route]:
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
        _get("/schedules", schedules),
        _post("/schedules/{name}/run", doing(acts.run_schedule)),
        _post("/schedules/{name}/pause", doing(acts.pause_schedule)),
        _post("/schedules/{name}/resume", doing(acts.resume_schedule)),
    ]


def _workflows(workflows: Workflows) -> list[Route]:
    async def components(request: Request) -> Any:
        return [{"id": id} for id in workflows.components()]

    async def instances(request: Request) -> Any:
        found = await workflows.instances(
            request.path_params["component"],
            status=_status(request),
            after=request.query_params.get("after", ""),
            limit=_limit(request),
        )
        return [shapes.workflow(one) for one in found]

    async def show(request: Request) -> Any:
        component, id = request.path_params["component"], _text(request, "id")
        return shapes.workflow(await workflows.show(component, id))

    async def history(request: Request) -> Any:
        component, id = request.path_params["component"], _text(request, "id")
        after, limit = _number(request, "after", 0), _limit(request)
        lines = await workflows.history(component, id, after=after, limit=limit)
        return [shapes.line(line) for line in lines]

    async def order(request: Request) -> Any:
        component, order = request.path_params["component"], request.path_params["order"]
        return shapes.workflow(await workflows.order(component, _text(request, "id"), order))

    return [
        _get("/workflows", components),
        _get("/workflows/{component}", instances),
        _get("/workflows/{component}/workflow", show),
        _get("/workflows/{component}/history", history),
        _post("/workflows/{component}/{order}", order),
    ]


def _get(path: str, ask: Ask) -> Route:
    return Route(path, _answering(ask), methods=["GET"])


def _post(path: str, ask: Ask) -> Route:
    return Route(path, _answering(ask), methods=["POST"])


def _answering(ask: Ask) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        answer = await ask(request)
        return Response(msgspec.json.encode(answer), media_type="application/json")

    return endpoint


def _text(request: Request, name: str) -> str:
    value = request.query_params.get(name, "")
    if not value:
        raise InvalidPayload(f"query parameter {name!r} is missing")
    return value


def _texts(request: Request) -> Texts:
    """Return all parameters, each with its values; the server bounds the bytes of a URL."""
    given = request.query_params
    return {name: given.getlist(name) for name in given}


def _number(request: Request, name: str, default: int | None = None) -> int:
    value = request.query_params.get(name)
    if value is None and default is not None:
        return default
    if value is None or not (value.isascii() and value.isdecimal() and len(value) < 19):
        raise InvalidPayload(f"query parameter {name!r} must be a whole number")
    return int(value)


def _limit(request: Request) -> int:
    limit = _number(request, "limit", 100)
    if limit == 0:
        raise InvalidPayload("query parameter 'limit' must be at least 1")
    return limit


def _time(request: Request, name: str) -> datetime | None:
    value = request.query_params.get(name)
    if value is None:
        return None
    try:
        time: datetime = msgspec.convert(value, Time)
    except msgspec.ValidationError as error:
        raise InvalidPayload(f"query parameter {name!r} must be a time with its zone") from error
    return time


def _moment(request: Request, name: str) -> Moment | None:
    """Read a sequence or a time."""
    value = request.query_params.get(name)
    if value is None:
        return None
    if value.isascii() and value.isdecimal():
        return Moment(sequence=_number(request, name))
    return Moment(time=_time(request, name))


def _statuses(request: Request) -> tuple[LetterStatus, ...]:
    try:
        return tuple(LetterStatus(value) for value in request.query_params.getlist("status"))
    except ValueError as error:
        known = ", ".join(LetterStatus)
        raise InvalidPayload(f"query parameter 'status' is one of {known}") from error


def _status(request: Request) -> Status | None:
    value = request.query_params.get("status")
    try:
        return Status(value) if value is not None else None
    except ValueError as error:
        known = ", ".join(Status)
        raise InvalidPayload(f"query parameter 'status' is one of {known}") from error


async def _decoded(request: Request, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(await _body(request), type=kind)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise InvalidPayload(f"the body does not fit: {error}") from error


async def _body(request: Request) -> bytes:
    body: bytes = await request.app.state.read(request.receive, limits.BODY_BYTES_MAX)
    return body
