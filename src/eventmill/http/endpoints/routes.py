"""All routes of a service's own as one ASGI application, behind those of the platform."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from eventmill.errors import EventmillError, NotFound, RequestError
from eventmill.http.endpoints.functions import Function
from eventmill.http.endpoints.sockets import Socket, refuse
from eventmill.http.endpoints.surroundings import PATH, Surroundings
from eventmill.http.endpoints.table import Table
from eventmill.http.problems import MethodNotAllowed
from eventmill.http.wire import Asgi, Receive, Scope, Send
from eventmill.model.endpoint import SOCKET, Endpoints, Shape
from eventmill.sdk.endpoints.paths import Part, parts_of


class OwnRoutes:
    """Answers what no route of the platform does. Classes of endpoints are made here, once."""

    def __init__(self, endpoints: Endpoints, around: Surroundings) -> None:
        self._table: Table[Asgi] = Table()
        instances: dict[type, Any] = {}
        for route in endpoints.routes:
            function = route.function
            if route.owner is not None:
                if route.owner not in instances:
                    instances[route.owner] = route.owner()
                function = function.__get__(instances[route.owner])
            made = Socket if route.shape is Shape.SOCKET else Function
            self._table.add(route.method, parts_of(route.path), made(route, function, around))
        for files in endpoints.files:
            parts, answer = parts_of(files.path), _Directory(files.path, files.directory)
            self._table.add("GET", parts, answer)
            self._table.add("GET", [*parts, Part("", is_parameter=True, is_rest=True)], answer)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request.

        Raises `NotFound`, `MethodNotAllowed`, and what the function raises.
        """
        is_socket = scope["type"] == "websocket"
        try:
            answer = self._answer(scope, SOCKET if is_socket else scope["method"])
        except EventmillError as error:
            if not is_socket:
                raise
            await refuse(send, error.message)
            return
        await answer(scope, receive, send)

    def _answer(self, scope: Scope, method: str) -> Asgi:
        found = self._table.find(scope)
        if found is None:
            raise NotFound("nothing answers at this path; see /openapi.json")
        answer = found.answers.get("GET" if method == "HEAD" else method)
        if answer is None:
            allow = _allowed(set(found.answers))
            if method == SOCKET or not allow:
                raise RequestError("this path does not talk that way: see /openapi.json")
            raise MethodNotAllowed(method, allow)
        function, names = answer
        scope[PATH] = {name: [value] for name, value in zip(names, found.values, strict=True)}
        scope["path_params"] = dict(zip(names, found.values, strict=True))
        return function


class _Directory:
    """Files as they are."""

    def __init__(self, path: str, directory: Path) -> None:
        self._prefix = path.rstrip("/")
        self._files = StaticFiles(directory=directory, html=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        inner = {**scope, "root_path": self._prefix}
        try:
            await self._files(inner, receive, send)
        except HTTPException as error:
            raise NotFound("there is no such file") from error


def _allowed(methods: set[str]) -> list[str]:
    """Return what `Allow` names; nothing where there is a WebSocket alone."""
    methods = methods - {SOCKET}
    if not methods:
        return []
    return sorted({*methods, "OPTIONS", *(["HEAD"] if "GET" in methods else [])})
