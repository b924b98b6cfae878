"""`@endpoint`: HTTP routes of a service's own, as users declare them.

    @endpoint("/shop")
    class Shop:
        @endpoint.get("/carts/{id}")
        async def cart(self, ctx: RequestContext, id: str) -> dict[str, int]:
            return await ctx.call(Cart.content, id)

A mark is an attribute of the function, which stays what it was. Functions may also stand alone. What
is listed in the service's components is read by `sdk.endpoints.reading`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypedDict, TypeVar, Unpack

import msgspec

from eventmill.errors import ConfigurationError
from eventmill.model import limits
from eventmill.model.endpoint import SOCKET
from eventmill.model.entry import Entry
from eventmill.sdk.context import Calls, Context

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection

C = TypeVar("C", bound=type)
F = TypeVar("F", bound=Callable[..., Any])

MARKS: Final = "__eventmill_routes__"
"""Attribute of a function: its routes."""

PREFIX: Final = "__eventmill_prefix__"
"""Attribute of a class: what all its paths begin with."""


class Options(TypedDict, total=False):
    """Of a route."""

    status: int
    timeout: float
    body_bytes: int


class RequestContext(Context):
    """Handed to endpoints: typed calls as in any `Context`, with the request as their cause.

    `metadata` holds the request's trace context and ids, which the calls hand on; `source` is the
    route's path. Calls end with the request's deadline. If the request has an `Idempotency-Key`, calls of commands carry keys
    made of it: a repetition of the request has no second effect on the entities it calls.
    """

    __slots__ = ("request",)

    def __init__(
        self, request: HTTPConnection, cause: Entry, calls: Calls, key: str, deadline: float | None
    ) -> None:
        super().__init__(cause, key, calls, deadline=deadline)
        self.request = request
        """Starlette's `Request`, or `WebSocket`."""

    @property
    def idempotency_key(self) -> str:
        """The key that the caller gave the request; empty if there is none."""
        return self.subscription

    @property
    def last_event_id(self) -> str:
        """Where a client that comes back wants its stream to go on; empty at first."""
        return self.request.headers.get("last-event-id", "")


class ServerSentEvent(msgspec.Struct, frozen=True):
    """What a stream yields to give an event an id or a type, besides its data."""

    data: Any
    id: str = ""
    """Given back as `ctx.last_event_id` by a client that reconnects."""
    event: str = ""


@dataclass(frozen=True, slots=True)
class Mark:
    """One route of a function."""

    method: str
    path: str
    options: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Files:
    """A directory as a component; see `endpoint.files`."""

    path: str
    directory: Path

    @property
    def place(self) -> str:
        """How it is written, for messages."""
        return f"endpoint.files({self.path!r}, {str(self.directory)!r})"


class Endpoint:
    """`@endpoint(…)` marks a class, `@endpoint.get(…)` and its like a function or a method."""

    def __call__(self, prefix: str) -> Callable[[C], C]:
        """Make a class's methods routes under a path. It is made once per node, without arguments.

        Raises `ConfigurationError` without a path.
        """
        if not isinstance(prefix, str):
            raise ConfigurationError('@endpoint names a path: write @endpoint("/shop")')

        def mark(cls: C) -> C:
            if not isinstance(cls, type):
                raise ConfigurationError(
                    f"@endpoint({prefix!r}) is for classes; mark a function with "
                    f"@endpoint.get({prefix!r}) or its like"
                )
            setattr(cls, PREFIX, prefix)
            return cls

        return mark

    def get(self, path: str, **options: Unpack[Options]) -> Callable[[F], F]:
        """Answer GET (and HEAD); a function that yields sends server-sent events.

        Options: `status` of the answer (200), `timeout` in seconds, `body_bytes` at most.
        """
        return _marking("GET", path, {**options})

    def post(self, path: str, **options: Unpack[Options]) -> Callable[[F], F]:
        """Answer POST. Options as those of `get`."""
        return _marking("POST", path, {**options})

    def put(self, path: str, **options: Unpack[Options]) -> Callable[[F], F]:
        """Answer PUT. Options as those of `get`."""
        return _marking("PUT", path, {**options})

    def patch(self, path: str, **options: Unpack[Options]) -> Callable[[F], F]:
        """Answer PATCH. Options as those of `get`."""
        return _marking("PATCH", path, {**options})

    def delete(self, path: str, **options: Unpack[Options]) -> Callable[[F], F]:
        """Answer DELETE. Options as those of `get`."""
        return _marking("DELETE", path, {**options})

    def websocket(self, path: str, *, origins: Collection[str] = ()) -> Callable[[F], F]:
        """Talk over a WebSocket, which is one of the function's parameters.

        Parameter: `origins` are the sites whose pages may open it besides the service's own, as
        `https://example.com`; `*` stands for all.
        """
        return _marking(SOCKET, path, {"origins": frozenset(origins)})

    def files(self, path: str, directory: str | Path) -> Files:
        """Return a component that answers with the files of a directory.

        Paths that lead to a directory answer with its `index.html`.
        """
        return Files(path, Path(directory))


endpoint: Final = Endpoint()
"""`@endpoint("/prefix")` for classes, `@endpoint.get("/path")` and its like for functions."""

_OPTIONS: Final = frozenset(Options.__annotations__)


def _marking(method: str, path: str, options: dict[str, Any]) -> Callable[[F], F]:
    written = f"@endpoint.{method.lower()}"
    if not isinstance(path, str):
        raise ConfigurationError(f'{written} names a path: write {written}("/carts/{{id}}")')
    if method != SOCKET:
        _check_options(f"{written}({path!r})", options)

    def mark(function: F) -> F:
        if not inspect.isfunction(function):
            raise ConfigurationError(f"{written}({path!r}) stands before a function or method")
        marks: list[Mark] = vars(function).setdefault(MARKS, [])
        marks.append(Mark(method, path, options))
        return function

    return mark


def _check_options(place: str, options: dict[str, Any]) -> None:
    unknown = options.keys() - _OPTIONS
    if unknown:
        known = ", ".join(sorted(_OPTIONS))
        raise ConfigurationError(f"{place}: no option {min(unknown)!r}; there is {known}")
    for name, least, most in (
        ("status", 200, 299),
        ("timeout", 0.001, 600),
        ("body_bytes", 0, limits.BODY_BYTES_MAX),
    ):
        if name in options and not least <= options[name] <= most:
            raise ConfigurationError(
                f"{place}: {name} must be {least:g}..{most:g}, not {options[name]!r}"
            )
