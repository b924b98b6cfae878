"""Endpoints in process: what comes in, what goes out, what is refused; on every engine."""

from __future__ import annotations

import pytest

from eventmill import Unavailable
from eventmill.errors import DeadlineExceeded
from eventmill.model import limits
from eventmill.model.entry import read_metadata
from eventmill.testing import EndpointKit, FaultyStore, Host
from tests.endpoints.shop import (
    Cart,
    Shop,
    Wished,
    echo,
    fail,
    leave,
    leave_content,
    leave_events,
    leave_talk,
    odd,
    service,
    slow,
    wishes,
)
from tests.flow.conftest import store

__all__ = ["store"]


async def test_calls_through_the_context_take_effect(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        wished = host.probe(wishes)
        answer = await host.web.post("/shop/carts/c1/items", {"sku": "tea", "quantity": 2})
        assert (answer.status, answer.json()) == (201, {"tea": 2})
        await host.call(Cart.add_item, "c1", "cup", 1)
        assert (await host.web.get("/shop/carts/c1")).json() == {"tea": 2, "cup": 1}
        assert (await host.web.get("/shop/carts/c1?only=cup&only=x")).json() == {"cup": 1}
        answer = await host.web.request(
            "PUT", "/shop/wishes/ann?loud=true", {"who": "-", "sku": "pot"}
        )
        assert (answer.status, answer.body) == (204, b"")
        assert await wished.expect_one(Wished) == Wished(who="ann", sku="POT")


async def test_a_request_that_is_repeated_with_its_key_takes_effect_once(
    store: FaultyStore,
) -> None:
    async with Host(service, store=store) as host:
        for key, items in (("k1", 1), ("k1", 1), ("k2", 2)):
            answer = await host.web.post(
                "/shop/carts/c1/items", {"sku": "tea"}, headers={"Idempotency-Key": key}
            )
            assert answer.json() == {"tea": items}


async def test_what_a_request_says_of_itself_ends_up_in_the_events(store: FaultyStore) -> None:
    headers = {"traceparent": "00-1-2-01", "x-correlation-id": "c", "x-request-id": "r"}
    async with Host(service, store=store) as host:
        await host.web.post("/shop/carts/c1/items", {"sku": "tea"}, headers=headers)
        (entry,) = await host.store.journal.history("cart", "c1", limit=9)
        assert read_metadata(entry.metadata) == {
            "traceparent": "00-1-2-01",
            "correlation": "c",
            "request_id": "r",
        }


async def test_the_kit_answers_calls_and_tells_of_them() -> None:
    kit = EndpointKit(Shop).answer(Cart.content, {"tea": 2}).answer(Cart.add_item, {})
    assert (await kit.web.get("/shop/carts/a%2Fb")).json() == {"tea": 2}
    assert kit.calls[0].id == "a/b", "an encoded slash is part of the id"
    assert (await kit.web.get("/shop/carts/latest")).json() == "the latest"
    kit.answer(Cart.content, Unavailable("no disk", code="unavailable.store"))
    answer = await kit.web.get("/shop/carts/c1")
    assert (answer.status, answer.json()["code"]) == (503, "unavailable.store")


@pytest.mark.parametrize(
    ("method", "path", "data", "status", "code"),
    [
        ("GET", "/fail/rejected", None, 409, "shop.closed"),
        ("GET", "/fail/missing", None, 404, "shop.missing"),
        ("GET", "/fail/status", None, 418, "endpoint.418"),
        ("GET", "/fail/crash", None, 500, "handler.failed"),
        ("GET", "/fail/details", None, 500, "handler.failed"),
        ("GET", "/odd?status=499", None, 499, "endpoint.499"),
        ("GET", "/fail", None, 404, "not_found"),
        ("GET", "/fail/", None, 404, "not_found"),
        ("GET", "/fail/x/y", None, 404, "not_found"),
        ("GET", "/shop/carts/%ff", None, 400, "request.payload"),
        ("POST", "/fail/x", None, 405, "request.method"),
        ("GET", "/shop/talk/x", None, 400, "request.invalid"),
        ("GET", "/slow", None, 504, "unavailable.deadline"),
        ("GET", "/shop/carts/c1?other=1", None, 400, "request.payload"),
        ("GET", "/shop/numbers/one", None, 400, "request.payload"),
        ("POST", "/shop/carts/c1/items", {"sku": 1}, 400, "request.payload"),
        ("POST", "/shop/carts/c1/items", {"sku": "x", "other": 1}, 400, "request.payload"),
        ("POST", "/shop/carts/c1/items", None, 400, "request.payload"),
        ("PUT", "/shop/wishes/ann", {"who": 1}, 400, "request.payload"),
        ("POST", "/shop/raw", "too many bytes", 413, "request.too_large"),
    ],
)
async def test_what_goes_wrong_is_a_problem(
    method: str, path: str, data: object, status: int, code: str
) -> None:
    kit = EndpointKit(Shop, fail, odd, slow)
    answer = await kit.web.request(method, path, data)
    assert (answer.status, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status


async def test_a_failure_names_the_handler_and_not_more() -> None:
    answer = await EndpointKit(fail).web.get("/fail/crash")
    assert answer.json()["detail"] == "fail raised ZeroDivisionError: by design"
    assert answer.json()["details"] == {"handler": "fail", "endpoint": "GET /fail/{how}"}


@pytest.mark.parametrize("path", ["/fail/exit", "/exit/function"])
async def test_a_function_that_exits_has_failed(path: str) -> None:
    answer = await EndpointKit(fail, leave).web.get(path)
    assert (answer.status, answer.json()["code"]) == (500, "handler.failed")
    assert "raised SystemExit: by design" in answer.json()["detail"]


async def test_a_stream_that_exits_has_failed() -> None:
    kit = EndpointKit(leave_events, leave_content, leave_talk)
    assert (await kit.web.get("/exit/content")).text == "x"
    async with kit.web.events("/exit/events") as numbers:
        assert (await numbers.next()).data == 1
        assert (await numbers.next()).data["code"] == "handler.failed"
    async with kit.web.websocket("/exit/talk") as talk:
        assert await talk.closed() == 1011


async def test_methods_are_told() -> None:
    kit = EndpointKit(echo, Shop)
    answer = await kit.web.request("DELETE", "/echo/x")
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS, POST"
    answer = await kit.web.request("OPTIONS", "/echo/x")
    assert (answer.status, answer.headers["allow"]) == (204, "GET, HEAD, OPTIONS, POST")
    assert (await kit.web.request("HEAD", "/shop/visits")).status == 200


async def test_starlettes_request_and_response_are_taken_as_they_are() -> None:
    kit = EndpointKit(echo)
    answer = await kit.web.request("POST", "/echo/a/b%2Fc?q=1&r=2", body=b"text")
    assert (answer.text, answer.headers["x-own"]) == ("a/b/c 1 text", "1")


async def test_a_class_is_made_once() -> None:
    kit = EndpointKit(Shop)
    assert [(await kit.web.get("/shop/visits")).json() for _ in range(2)] == [1, 2]


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded"])
async def test_what_a_page_elsewhere_may_send_is_refused(kind: str) -> None:
    answer = await EndpointKit(Shop).web.post(
        "/shop/carts/c1/items", {"sku": "x"}, headers={"content-type": kind}
    )
    assert (answer.status, answer.json()["code"]) == (415, "request.media_type")


async def test_the_requests_deadline_bounds_what_it_calls() -> None:
    kit = EndpointKit(Shop, fail).answer(Cart.content, DeadlineExceeded())
    answer = await kit.web.get("/shop/carts/c1", headers={"Request-Timeout": "0"})
    assert answer.status == 504
    assert kit.calls == [], "it was not begun"
    answer = await kit.web.get("/fail/slow", headers={"Request-Timeout": "0.01"})
    assert answer.json()["code"] == "unavailable.deadline"
    async with Host(service) as host:
        answer = await host.web.get("/shop/carts/c1", headers={"Request-Timeout": "soon"})
        assert answer.status == 400


async def test_the_number_of_requests_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ENDPOINTS_RUNNING_MAX", 0)
    answer = await EndpointKit(Shop).web.get("/shop/visits")
    assert (answer.status, answer.json()["code"]) == (429, "unavailable.overloaded")
    assert answer.headers["retry-after"] == "1"


async def test_json_too_deep_is_refused() -> None:
    body = b'{"sku": ' + b"[" * 200 + b"]" * 200 + b"}"
    answer = await EndpointKit(Shop).web.request("POST", "/shop/carts/c/items", body=body)
    assert answer.status == 413


async def test_a_stream_yields_events_and_goes_on_from_the_last_id() -> None:
    kit = EndpointKit(Shop)
    async with kit.web.events("/shop/numbers/5") as numbers:
        first = await numbers.next()
        assert (first.data, first.id, first.event) == ({"number": 6}, "6", "number")
    async with kit.web.events("/shop/numbers/5", headers={"Last-Event-ID": "8"}) as numbers:
        assert (await numbers.next()).id == "9"


async def test_a_stream_that_fails_tells_its_client() -> None:
    kit = EndpointKit(Shop).answer(Cart.content, {"tea": 1})
    async with kit.web.events("/shop/live/c1") as items:
        assert [(await items.next()).data for _ in range(3)] == [{"tea": 1}] * 3
        problem = await items.next()
    assert (problem.event, problem.data["code"]) == ("problem", "handler.failed")


async def test_a_websocket_talks_until_one_of_both_ends_it(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        async with host.web.websocket("/shop/talk/c1") as talk:
            await talk.send("tea")
            assert await talk.next() == {"tea": 1}
            await talk.send("bye")
            assert await talk.closed() == 1000
        assert await host.call(Cart.content, "c1") == {"tea": 1}
        async with host.web.websocket("/shop/talk/c1") as talk:
            await talk.send("fail")
            assert await talk.closed() == 1011


async def test_a_websockets_words_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SOCKET_BYTES_MAX", 100)
    kit = EndpointKit(Shop)
    async with kit.web.websocket("/shop/talk/c1") as talk:
        await talk.send("x" * 200)
        assert await talk.closed() == 1009


@pytest.mark.parametrize(
    ("path", "origin", "is_open"),
    [
        ("/shop/talk/c1", "http://testserver", True),
        ("/shop/talk/c1", "https://friend.example", True),
        ("/shop/talk/c1", "https://elsewhere.example", False),
        ("/shop/talk/c1", "null", False),
        ("/shop/flood", "https://friend.example", False),
        ("/shop/nothing", "http://testserver", False),
        ("/shop/visits", "http://testserver", False),
        ("/metrics", "http://testserver", False),
    ],
)
async def test_who_may_open_a_websocket(path: str, origin: str, is_open: bool) -> None:
    kit = EndpointKit(Shop).answer(Cart.add_item, {})
    async with kit.web.websocket(path, headers={"origin": origin}) as talk:
        if not is_open:
            assert await talk.closed() == 1008
        else:
            await talk.send("x")
            assert await talk.next() == {}


async def test_streams_and_websockets_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STREAMS_MAX", 2)
    kit = EndpointKit(Shop).answer(Cart.add_item, {})
    async with (
        kit.web.events("/shop/numbers/1") as numbers,
        kit.web.websocket("/shop/talk/c1") as talk,
    ):
        await numbers.next()
        await talk.send("x")
        await talk.next()
        assert (await kit.web.get("/shop/numbers/1")).status == 429
        async with kit.web.websocket("/shop/talk/c1") as refused:
            assert await refused.closed() == 1008
    async with kit.web.events("/shop/numbers/1") as numbers:
        await numbers.next()


@pytest.mark.parametrize(
    ("path", "status", "content"),
    [
        ("/site/", 200, "<h1>shop</h1>\n"),
        ("/site/style.css", 200, "body {}\n"),
        ("/site/sub/", 200, "sub\n"),
        ("/site", 307, ""),
        ("/site/missing", 404, None),
        ("/site/../shop.py", 404, None),
        ("/site/%2e%2e/shop.py", 404, None),
        ("/site/..%2fshop.py", 404, None),
        ("/site/%00", 404, None),
        ("/site//etc/passwd", 404, None),
    ],
)
async def test_files_of_a_directory_and_no_others(
    path: str, status: int, content: str | None
) -> None:
    async with Host(service) as host:
        answer = await host.web.get(path)
    assert answer.status == status
    if content is None:
        assert answer.json()["code"] == "not_found"
    else:
        assert answer.text == content


async def test_requests_are_counted_by_their_routes() -> None:
    async with Host(service) as host:
        await host.web.get("/shop/visits")
        await host.web.get("/fail/rejected")
        text = (await host.web.get("/metrics")).text
    assert (
        'eventmill_requests_total{component="/shop/visits",handler="GET",outcome="ok"} 1.0' in text
    )
    assert 'component="/fail/{how}",handler="GET",outcome="rejected"} 1.0' in text
