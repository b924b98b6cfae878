"""Endpoints: a service's own HTTP routes as definitions. Plain data.

The sdk makes them when a service is put together, `http.endpoints` answers with them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from eventmill.model import limits
from eventmill.model.handler import Handler

PLATFORM: Final = frozenset(
    {
        "components",
        "views",
        "topics",
        "subscriptions",
        "openapi.json",
        "asyncapi.json",
        "health",
        "metrics",
    }
)
"""First parts of the platform's own paths: no endpoint begins with one."""

SOCKET: Final = "WEBSOCKET"
"""Stands for the method of a WebSocket's route, beside GET and its like."""

BODY: Final = "body"
"""Name of the parameter that takes the whole body."""


class Shape(StrEnum):
    """How a function answers."""

    ANSWER = "answer"
    STREAM = "stream"
    """It yields server-sent events."""
    SOCKET = "socket"


class Given(StrEnum):
    """What a parameter gets that does not come out of the request's values."""

    CONTEXT = "context"
    REQUEST = "request"
    SOCKET = "socket"


class Arguments(Handler[..., Any]):
    """Parameters of a function that come from one part of a request."""

    def __init__(
        self, function: Callable[..., Any], path: str, names: frozenset[str], owner: type | None
    ) -> None:
        super().__init__(function)
        self.component = path
        self._names = names
        self._owner = owner

    def _taken(self) -> list[inspect.Parameter]:
        every = inspect.signature(self.function).parameters.values()
        return [parameter for parameter in every if parameter.name in self._names]

    def _result_of(self, annotation: Any) -> Any:
        return Any

    def named(self, values: tuple[Any, ...]) -> dict[str, Any]:
        """Return values by their parameters' names."""
        return dict(zip(self.parameters, values, strict=True))


@dataclass(slots=True)
class EndpointDefinition:
    """One route that a function answers."""

    method: str
    path: str
    """As `/shop/carts/{id}`."""
    function: Callable[..., Any]
    place: str
    owner: type | None
    """The class whose method it is."""
    shape: Shape
    is_async: bool
    given: dict[str, Given]
    in_path: Arguments
    in_query: Arguments
    in_body: Arguments
    """Members of the body's JSON object."""
    body_type: Any = None
    """Of the parameter `body`, if there is one."""
    decode_body: Callable[[bytes], Any] | None = None
    result_type: Any = None
    """Of its answer, or of what it yields; None where it makes its response itself."""
    status: int = 200
    timeout: float = limits.HANDLER_SECONDS
    body_bytes: int = limits.PAYLOAD_BYTES_MAX
    origins: frozenset[str] = frozenset()
    """Sites whose pages may open the WebSocket, besides the service's own."""

    @property
    def id(self) -> str:
        """Method and path, which no other route has."""
        return f"{self.method} {self.path}"

    @property
    def takes_connection(self) -> bool:
        """Whether it is given the request or the socket, to read itself what it wants of it."""
        return any(kind is not Given.CONTEXT for kind in self.given.values())

    @property
    def takes_json(self) -> bool:
        """Whether its body is JSON."""
        return bool(self.in_body.parameters) or self.decode_body is not None


@dataclass(slots=True)
class FilesDefinition:
    """A directory whose files are answered as they are."""

    path: str
    directory: Path
    place: str


@dataclass(slots=True)
class Endpoints:
    """All routes of a service's own."""

    routes: list[EndpointDefinition] = field(default_factory=list)
    files: list[FilesDefinition] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.routes or self.files)

    @property
    def has_sockets(self) -> bool:
        """Whether one of them is a WebSocket's."""
        return any(route.shape is Shape.SOCKET for route in self.routes)
