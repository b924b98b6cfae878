"""What is asked: parameters of the query, and bodies.

Ids stand in the query, not in the path, because an entity's id may hold any character.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from starlette.requests import Request

from eventmill.errors import InvalidPayload
from eventmill.model import limits
from eventmill.model.commit import LetterStatus
from eventmill.model.handler import Texts
from eventmill.model.progress import Status
from eventmill.runtime.operating.inspection import Moment

Time = Annotated[datetime, msgspec.Meta(tz=True)]


def text(request: Request, name: str) -> str:
    """Read a text that must be given."""
    value = request.query_params.get(name, "")
    if not value:
        raise InvalidPayload(f"query parameter {name!r} is missing")
    return value


def texts(request: Request) -> Texts:
    """Return all parameters, each with its values; the server bounds the bytes of a URL."""
    given = request.query_params
    return {name: given.getlist(name) for name in given}


def number(request: Request, name: str, default: int | None = None) -> int:
    """Read a whole number, which must be given unless there is a default."""
    value = request.query_params.get(name)
    if value is None and default is not None:
        return default
    if value is None or not (value.isascii() and value.isdecimal() and len(value) < 19):
        raise InvalidPayload(f"query parameter {name!r} must be a whole number")
    return int(value)


def flag(request: Request, name: str) -> bool:
    """Read whether something is wanted."""
    value = request.query_params.get(name, "false")
    if value not in ("true", "false"):
        raise InvalidPayload(f"query parameter {name!r} must be true or false")
    return value == "true"


def limit(request: Request) -> int:
    """Read how many are wanted."""
    most = number(request, "limit", 100)
    if most == 0:
        raise InvalidPayload("query parameter 'limit' must be at least 1")
    return most


def time(request: Request, name: str) -> datetime | None:
    """Read a time with its zone."""
    value = request.query_params.get(name)
    if value is None:
        return None
    try:
        moment: datetime = msgspec.convert(value, Time)
    except msgspec.ValidationError as error:
        raise InvalidPayload(f"query parameter {name!r} must be a time with its zone") from error
    return moment


def moment(request: Request, name: str) -> Moment | None:
    """Read a sequence or a time."""
    value = request.query_params.get(name)
    if value is None:
        return None
    if value.isascii() and value.isdecimal():
        return Moment(sequence=number(request, name))
    return Moment(time=time(request, name))


def statuses(request: Request) -> tuple[LetterStatus, ...]:
    """Read which letters are wanted."""
    try:
        return tuple(LetterStatus(value) for value in request.query_params.getlist("status"))
    except ValueError as error:
        known = ", ".join(LetterStatus)
        raise InvalidPayload(f"query parameter 'status' is one of {known}") from error


def status(request: Request) -> Status | None:
    """Read which workflows are wanted."""
    value = request.query_params.get("status")
    try:
        return Status(value) if value is not None else None
    except ValueError as error:
        known = ", ".join(Status)
        raise InvalidPayload(f"query parameter 'status' is one of {known}") from error


async def decoded(request: Request, kind: type[Any]) -> Any:
    """Read the body as what it must be."""
    try:
        return msgspec.json.decode(await body(request), type=kind)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise InvalidPayload(f"the body does not fit: {error}") from error


async def body(request: Request) -> bytes:
    """Read the body, as far as it is not too large."""
    read: bytes = await request.app.state.read(request.receive, limits.BODY_BYTES_MAX)
    return read
