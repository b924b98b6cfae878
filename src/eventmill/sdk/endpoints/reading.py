"""Reading endpoints: routes with their signatures, and every mistake that would show only later.

A parameter is named by the path, or is what the platform gives (`RequestContext`, Starlette's
`Request` or `WebSocket`), or is `body`, the whole of it. Any other is a member of the body's JSON object, as in a
command, where the method has a body and nothing takes it whole; else it is one of the URL's.
"""

from __future__ import annotations

import inspect
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterator,
    Mapping,
)
from typing import Any, Final, get_args, get_origin

from eventmill.errors import ConfigurationError
from eventmill.model import codec
from eventmill.model.endpoint import (
    BODY,
    SOCKET,
    Arguments,
    EndpointDefinition,
    Endpoints,
    FilesDefinition,
    Given,
    Shape,
)
from eventmill.model.problems import Problems
from eventmill.sdk.component import place_of
from eventmill.sdk.endpoints.declaring import MARKS, PREFIX, Files, Mark, RequestContext
from eventmill.sdk.endpoints.paths import Part, check_first, joined, parts_of, shape_of
from eventmill.sdk.reaction import hints_of, issubclass_of

_WITH_BODY: Final = ("POST", "PUT", "PATCH")
_YIELDS: Final = (AsyncIterator, AsyncIterable, AsyncGenerator)


def is_endpoint(thing: Any) -> bool:
    """Whether a component is one of these."""
    is_marked = inspect.isfunction(thing) and MARKS in vars(thing)
    is_class = isinstance(thing, type) and PREFIX in vars(thing)
    return is_marked or is_class or isinstance(thing, Files)


def has_routes(thing: Any) -> bool:
    """Whether it is a class with a method that is a route."""
    return isinstance(thing, type) and bool(_marked(thing))


class EndpointReader:
    """Reads the endpoints of a service one after the other; knows which paths are taken."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._endpoints = endpoints
        self._taken: dict[tuple[str, str], str] = {}
        """Method and shape of a path → where it is written."""

    def read(self, thing: Any) -> None:
        """Read a component.

        Raises `ConfigurationError` that tells every problem.
        """
        problems = Problems()
        if isinstance(thing, Files):
            with problems.noting(thing.place):
                self._read_files(thing)
        for function, mark, prefix, owner in _routes_of(thing, problems):
            place = f"@endpoint.{mark.method.lower()} {place_of(function)}"
            with problems.noting(place):
                path = joined(prefix, mark.path)
                parts = _parts(path, place)
                self._claim(mark.method, path, parts, place)
                route = _route_of(function, mark, path, parts, owner, place)
                self._endpoints.routes.append(route)
        problems.refuse()

    def _read_files(self, files: Files) -> None:
        path = files.path
        parts = _parts(path, files.place)
        if any(part.is_parameter for part in parts):
            raise ConfigurationError(f"{files.place}: a directory's path has no parameters")
        if not files.directory.is_dir():
            raise ConfigurationError(
                f"{files.place}: there is no such directory; say where it is from your module: "
                'Path(__file__).parent / "site"'
            )
        self._claim("GET", path, [*parts, Part("", is_parameter=True, is_rest=True)], files.place)
        self._endpoints.files.append(FilesDefinition(path, files.directory, files.place))

    def _claim(self, method: str, path: str, parts: list[Part], place: str) -> None:
        key = (method, shape_of(parts))
        other = self._taken.get(key)
        if other is not None:
            raise ConfigurationError(
                f"{place}: {method} {path} is taken by {other}: give one of them another path"
            )
        self._taken[key] = place


def _routes_of(
    thing: Any, problems: Problems
) -> Iterator[tuple[Callable[..., Any], Mark, str, type | None]]:
    """Yield functions with their marks, and the prefix and class that they have."""
    if isinstance(thing, Files):
        return
    if not isinstance(thing, type):
        for mark in vars(thing)[MARKS]:
            yield thing, mark, "", None
        return
    with problems.noting(place_of(thing)):
        _check_class(thing)
    marked = _marked(thing)
    if not marked:
        problems.found.append(
            f"{place_of(thing)}: no method is a route: mark one with @endpoint.get(…) or its like"
        )
    for function in marked:
        for mark in vars(function)[MARKS]:
            yield function, mark, vars(thing)[PREFIX], thing


def _parts(path: str, place: str) -> list[Part]:
    try:
        parts = parts_of(path)
        check_first(path, parts)
    except ConfigurationError as error:
        raise ConfigurationError(f"{place}: {error.message}") from error
    return parts


def _marked(cls: type) -> list[Callable[..., Any]]:
    members = vars(cls).values()
    return [each for each in members if inspect.isfunction(each) and MARKS in vars(each)]


def _check_class(cls: type) -> None:
    parameters = list(inspect.signature(cls).parameters.values())
    needed = [p.name for p in parameters if p.default is p.empty and p.kind not in _OPEN]
    if needed:
        raise ConfigurationError(
            f"{place_of(cls)}: it is made without arguments: give {', '.join(needed)} a default"
        )


_OPEN: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _route_of(
    function: Callable[..., Any],
    mark: Mark,
    path: str,
    parts: list[Part],
    owner: type | None,
    place: str,
) -> EndpointDefinition:
    hints = hints_of(function, owner)
    parameters = list(inspect.signature(function).parameters.values())[owner is not None :]
    given = {p.name: kind for p in parameters if (kind := _given(hints.get(p.name)))}
    in_path = frozenset(part.text for part in parts if part.is_parameter)
    names = frozenset(p.name for p in parameters) - given.keys()
    _check_parameters(mark, in_path, names, given, place)
    takes_whole = BODY in names and mark.method in _WITH_BODY
    rest = names - in_path - ({BODY} if takes_whole else set())
    is_in_body = mark.method in _WITH_BODY and not takes_whole
    is_in_body = is_in_body and Given.REQUEST not in given.values()
    shape = _shape_of(function, mark.method)
    route = EndpointDefinition(
        method=mark.method,
        path=path,
        function=function,
        place=place,
        owner=owner,
        shape=shape,
        is_async=inspect.iscoroutinefunction(function) or shape is Shape.STREAM,
        given=given,
        in_path=Arguments(function, path, in_path & names, owner),
        in_query=Arguments(function, path, frozenset() if is_in_body else rest, owner),
        in_body=Arguments(function, path, rest if is_in_body else frozenset(), owner),
        result_type=_result_of(hints.get("return"), shape),
        **mark.options,
    )
    for arguments in (route.in_path, route.in_query, route.in_body):
        arguments.resolve()
    if takes_whole:
        route.body_type = hints.get(BODY, Any)
        if route.body_type is not bytes:
            route.decode_body = codec.decoder(route.body_type).decode
    return route


def _given(annotation: Any) -> Given | None:
    from starlette.requests import Request  # only who has endpoints waits for it
    from starlette.websockets import WebSocket

    if issubclass_of(annotation, RequestContext):
        return Given.CONTEXT
    if issubclass_of(annotation, Request):
        return Given.REQUEST
    return Given.SOCKET if issubclass_of(annotation, WebSocket) else None


def _check_parameters(
    mark: Mark,
    in_path: frozenset[str],
    names: frozenset[str],
    given: Mapping[str, Given],
    place: str,
) -> None:
    kinds, problems = set(given.values()), Problems()
    is_socket = mark.method == SOCKET
    missing = in_path - names
    if missing and not (kinds & {Given.REQUEST, Given.SOCKET}):
        problems.found.append(
            f"{place}: the path has {{{min(missing)}}}, the function no parameter of that name"
        )
    if is_socket != (Given.SOCKET in kinds):
        problems.found.append(
            f"{place}: it needs a parameter for the socket, as `socket: WebSocket` of "
            "starlette.websockets"
            if is_socket
            else f"{place}: a WebSocket is for @endpoint.websocket(…)"
        )
    if is_socket and Given.REQUEST in kinds:
        problems.found.append(f"{place}: there is no Request, the WebSocket tells the same")
    if BODY in names and mark.method not in _WITH_BODY and BODY not in in_path:
        problems.found.append(
            f"{place}: {mark.method} has no body; give the parameter another name"
        )
    problems.refuse()


def _shape_of(function: Callable[..., Any], method: str) -> Shape:
    if method == SOCKET:
        if not inspect.iscoroutinefunction(function):
            raise ConfigurationError(f"{place_of(function)}: write `async def`: it waits for words")
        return Shape.SOCKET
    if inspect.isasyncgenfunction(function):
        return Shape.STREAM
    if inspect.isgeneratorfunction(function):
        raise ConfigurationError(
            f"{place_of(function)}: write `async def`: a stream waits for its client"
        )
    return Shape.ANSWER


def _result_of(annotation: Any, shape: Shape) -> Any:
    from starlette.responses import Response

    if shape is Shape.STREAM:
        return get_args(annotation)[0] if get_origin(annotation) in _YIELDS else Any
    if shape is Shape.SOCKET or issubclass_of(annotation, Response):
        return None
    return Any if annotation is None else annotation
