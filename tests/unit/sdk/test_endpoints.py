"""What is wrong with endpoints is found at start, all of it at once, each with its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.websockets import WebSocket

from eventmill import ConfigurationError, RequestContext, Service, endpoint
from eventmill.http.routes import front
from eventmill.model.endpoint import PLATFORM
from eventmill.sdk.topology.graph import graph_of
from eventmill.testing import Host
from tests.endpoints import shop


def problems_of(*components: Any) -> list[str]:
    return Service("web", components=components).define()[1]


async def nothing() -> None: ...


def named(path: str) -> Any:
    async def one() -> None: ...

    return endpoint.get(path)(one)


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("shop", "begin it with '/'"),
        ("/shop/", "end it without one"),
        ("/shop//x", "'' is no part of a path"),
        ("/shop/x y", "'x y' is no part of a path"),
        ("/shop/{a-b}", "'{a-b}' is no part of a path"),
        ("/shop/{n:int}", "its type is the parameter's"),
        ("/shop/../x", "'..' is no part of a path"),
        ("/shop/{rest:path}/x", "put it last"),
        ("/shop/{a}/{a}", "a parameter comes twice"),
        ("/{page}", "begin it with a word of your own"),
        ("/metrics", "what begins with /metrics is the platform's"),
        ("/components/cart", "what begins with /components is the platform's"),
        ("/shop/{id}", "the path has {id}, the function no parameter of that name"),
    ],
)
def test_paths_that_are_none(path: str, problem: str) -> None:
    (found,) = problems_of(named(path))
    assert problem in found
    assert "test_endpoints.py" in found


def test_all_are_told_at_once() -> None:
    @endpoint("/shop")
    class Shop:
        def __init__(self, store: str) -> None: ...

        @endpoint.get("/a/{x}")
        async def first(self, x: str) -> None: ...

        @endpoint.get("/a/{y}")
        async def second(self, y: str) -> None: ...

        @endpoint.post("/a/{y}")
        async def third(self, y: str, untyped) -> None: ...  # type: ignore[no-untyped-def]

        @endpoint.websocket("/b")
        async def fourth(self) -> None: ...

    found = problems_of(Shop, named("/views/x"), endpoint.files("/site", "no/such/place"))
    for part in (
        "give store a default",
        "GET /shop/a/{y} is taken by @endpoint.get",
        "parameter 'untyped' needs a type annotation",
        "it needs a parameter for the socket",
        "what begins with /views is the platform's",
        "there is no such directory",
    ):
        assert sum(part in one for one in found) == 1, (part, found)
    assert len(found) == 6


def _yielding() -> Iterator[int]:
    yield 1


async def _with_body(body: str) -> None: ...


async def _with_socket(socket: WebSocket) -> None: ...


async def _with_both(socket: WebSocket, request: Request) -> None: ...


def _sync_socket(socket: WebSocket) -> None: ...


@pytest.mark.parametrize(
    ("function", "mark", "problem"),
    [
        (_yielding, endpoint.get, "a stream waits for its client"),
        (_with_body, endpoint.get, "GET has no body"),
        (_with_socket, endpoint.get, "a WebSocket is for @endpoint.websocket"),
        (_with_both, endpoint.websocket, "there is no Request"),
        (_sync_socket, endpoint.websocket, "write `async def`"),
    ],
)
def test_functions_that_cannot_answer(
    function: Callable[..., Any], mark: Callable[..., Any], problem: str
) -> None:
    function.__dict__.clear()
    (found,) = problems_of(mark("/x")(function))
    assert problem in found


@pytest.mark.parametrize(
    ("mistake", "problem"),
    [
        (lambda: endpoint(nothing), "write @endpoint"),
        (lambda: endpoint("/x")(nothing), "is for classes"),
        (lambda: endpoint.get(nothing), "names a path"),
        (lambda: endpoint.get("/x")(object), "stands before a function"),
        (lambda: endpoint.get("/x", statsu=1), "no option 'statsu'"),
        (lambda: endpoint.get("/x", status=404), "status must be 200..299"),
        (lambda: endpoint.get("/x", timeout=0), "timeout must be"),
        (lambda: endpoint.post("/x", body_bytes=1 << 30), "body_bytes must be"),
    ],
)
def test_marks_that_are_misused(mistake: Callable[[], Any], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        mistake()


def test_a_class_that_is_not_marked_is_told_how() -> None:
    class Shop:
        @endpoint.get("/x")
        async def x(self) -> None: ...

    (found,) = problems_of(Shop)
    assert '@endpoint("/…")' in found

    @endpoint("/shop")
    class Empty: ...

    (found,) = problems_of(Empty)
    assert "no method is a route" in found


def test_endpoints_are_at_the_edge_of_the_topology() -> None:
    graph = graph_of(shop.service.define()[0])
    assert ("GET /shop/carts/{id}", "endpoint") in [(p.id, p.kind) for p in graph.parts]
    found = {(c.source, c.target, c.way, c.what) for c in graph.connections}
    assert ("GET /shop/carts/{id}", "cart", "calls", "content") in found
    assert ("WEBSOCKET /shop/talk/{room}", "cart", "calls", "add_item") in found
    assert ("PUT /shop/wishes/{who}", "wishes", "publishes", "") in found
    assert (graph.couplings, graph.purity) == ([], 1.0), "whoever asks over HTTP waits anyway"


def test_a_function_stays_what_it_was() -> None:
    @endpoint.get("/double/{n}")
    @endpoint.get("/twice/{n}")
    def double(n: int, ctx: RequestContext | None = None) -> int:
        return 2 * n

    assert double(2) == 4
    assert problems_of(double) == []


def test_what_one_is_sure_of_goes_before_what_could_be_anything(tmp_path: Path) -> None:
    assert (
        problems_of(
            named("/a/b"), named("/"), endpoint.files("/", tmp_path), endpoint.files("/a", tmp_path)
        )
        == []
    )
    (found,) = problems_of(endpoint.files("/a", tmp_path), endpoint.files("/a", tmp_path))
    assert "is taken by endpoint.files" in found


async def test_every_route_of_the_platform_is_known_as_such() -> None:
    async with Host(Service("empty")) as host:
        routes = front(host.runtime)._rest.routes  # type: ignore[attr-defined]
        first = {route.path.split("/")[1] for route in routes}
    assert first <= PLATFORM
