"""Commands and queries of entities over HTTP, on a real node."""

from __future__ import annotations

import asyncio
import gc
import json
import traceback
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from structlog.testing import capture_logs
from yarl import URL

from eventmill import Effect, Event, EventSourcedEntity, Service, command, component, on, query
from eventmill.engine.cloudevent import time_text
from eventmill.model import limits
from eventmill.node.config import NodeConfig
from eventmill.node.node import Node
from tests.http.serving import serving, session

JSON = {"content-type": "application/json"}
PROBLEM = "application/problem+json"


async def problem_of(response: aiohttp.ClientResponse) -> dict[str, Any]:
    assert response.headers["content-type"] == PROBLEM
    problem: dict[str, Any] = await response.json(content_type=PROBLEM)
    assert problem["status"] == response.status
    assert problem["type"].startswith("urn:eventmill:problem:")
    assert problem["title"]
    assert problem["detail"]
    return problem


async def test_a_command_and_a_query_answer_with_json(tmp_path: Path) -> None:
    async with serving(tmp_path) as node, session(node) as http:
        answer = await http.post("/components/barrel/b1/fill", json={"litres": 7})
        assert (answer.status, await answer.json()) == (200, 7)
        answer = await http.get("/components/barrel/b1/content?in_cups=true")
        assert await answer.json() == 28
        answer = await http.get("/components/barrel/b1/similar?to=1&to=7&as_of_sequence=1")
        assert await answer.json() == [7]
        answer = await http.post("/components/barrel/b1/similar", json={"to": [1, 7]})
        assert await answer.json() == [7]
        answer = await http.head("/components/barrel/b1/content")
        assert (answer.status, await answer.read()) == (200, b"")


async def test_a_rejection_says_why_in_a_problem_document(tmp_path: Path) -> None:
    async with serving(tmp_path) as node, session(node) as http:
        answer = await http.post("/components/barrel/b1/fill", json={"litres": 101})
        problem = await problem_of(answer)
        assert (answer.status, problem["code"]) == (409, "barrel.full")
        assert problem["type"] == "urn:eventmill:problem:rejected"
        assert problem["details"] == {"left": 100}


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [("fill", 409, {"litres": 101}), ("fill", 400, {})],
)
async def test_a_refused_request_leaves_nothing_to_the_collector(
    tmp_path: Path, path: str, status: int, body: dict[str, int]
) -> None:
    async with serving(tmp_path) as node, session(node) as http:

        async def refused() -> None:
            answer = await http.post(f"/components/barrel/b1/{path}", json=body)
            assert answer.status == status
            await answer.read()

        await refused()
        gc.collect()
        gc.disable()
        try:
            for _ in range(100):
                await refused()
            left = gc.collect()
        finally:
            gc.enable()
        assert left < 100


async def test_a_handlers_defect_is_500_and_names_the_handler_only(tmp_path: Path) -> None:
    async with serving(tmp_path) as node, session(node) as http:
        answer = await http.post("/components/barrel/b1/burst", json={})
        problem = await problem_of(answer)
        assert (answer.status, problem["code"]) == (500, "handler.failed")
        assert problem["details"]["handler"] == "burst"
        assert "Traceback" not in json.dumps(problem)


async def test_a_deleted_entity_is_gone(tmp_path: Path) -> None:
    async with serving(tmp_path) as node, session(node) as http:
        await http.post("/components/barrel/b1/fill", json={"litres": 1})
        await http.post("/components/barrel/b1/burn", json={})
        answer = await http.get("/components/barrel/b1/content")
        assert (answer.status, (await problem_of(answer))["code"]) == (410, "entity.deleted")
        answer = await http.get("/components/barrel/b1/content?as_of_sequence=1")
        assert await answer.json() == 1


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/components/nothing/b1/fill", 404, "request.unknown_component"),
        ("/components/barrel/b1/nothing", 404, "request.unknown_handler"),
        ("/components/barrel/b1", 404, "request.unknown_handler"),
        ("/components/barrel//fill", 404, "request.unknown_handler"),
        ("/components/barrel/a/b/fill", 404, "request.unknown_handler"),
        ("/components/barrel/" + "x" * 513 + "/fill", 413, "request.too_large"),
        ("/components/barrel/a%0d%0ab/fill", 400, "request.payload"),
        ("/components/barrel/a%00b/fill", 400, "request.payload"),
        ("/components/barrel/%ff/fill", 400, "request.payload"),
        ("/nowhere", 404, "not_found"),
    ],
)
async def test_paths_that_lead_nowhere(tmp_path: Path, path: str, status: int, code: str) -> None:
    async with serving(tmp_path) as node, session(node) as http:
        answer = await http.post(URL(node.url + path, encoded=True), json={"litres": 1})
        problem = await problem_of(answer)
        assert (answer.status, problem["code"]) == (status, code)


async def test_an_id_may_hold_a_slash_and_any_letter(tmp_path: Path) -> None:
    async with serving(tmp_path) as node, session(node) as http:
        for id in ("a%2Fb", "%C3%BC", "%EF%BF%BD", "a%20b"):
            path = f"{node.url}/components/barrel/{id}/fill"
            answer = await http.post(URL(path, encoded=True), json={"litres": 3})
            assert await answer.json() == 3, id


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b'{"litres":"7"}', 400),
        (b'{"litres":7,"more":1}', 400),
        (b'{"litres":1e400}', 400),
        (b'{"litres":7}\xff', 400),
        (b'{"litres":7} {}', 400),
    ],
)
async def test_bodies_that_do_not_fit(tmp_path: Path, body: bytes, status: int) -> None:
    async with serving(tmp_path) as node, session(node) as http:
        answer = await http.post("/components/barrel/b1/fill", data=body, headers=JSON)
        assert (answer.status, (await problem_of(answer))["code"]) == (status, "request.payload")


async def test_json_that_nests_too_deep_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as node, session(node) as http:
        for levels, status in ((60, 200), (65, 413), (100_000, 413)):
            body = b'{"notes":' + b"[" * levels + b"]" * levels + b"}"
            answer = await http.post(
                "/components/barrel/b1/empty",
                data=body,
                headers=JSON,
            )
            assert answer.status == status, levels


async def test_only_json_is_taken(tmp_path: Path) -> None:
    async with serving(tmp_path) as node, session(node) as http:
        for kind, status in (
            ("application/json; charset=utf-8", 200),
            ("application/vnd.barrel+json", 200),
            ("text/plain", 415),
            ("application/x-www-form-urlencoded", 415),
        ):
            answer = await http.post(
                "/components/barrel/b1/fill", data=b'{"litres":1}', headers={"content-type": kind}
            )
            assert answer.status == status, kind


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/components/barrel/b1/fill", "POST, OPTIONS"),
        ("DELETE", "/components/barrel/b1/content", "GET, HEAD, POST, OPTIONS"),
        ("OPTIONS", "/components/barrel/b1/content", "GET, HEAD, POST, OPTIONS"),
        ("PUT", "/topics/moves", "GET, HEAD, OPTIONS, POST"),
        ("POST", "/views/barrels/fuller_than", "GET, HEAD, OPTIONS"),
        ("DELETE", "/health/live", "GET, HEAD, OPTIONS"),
        ("OPTIONS", "/metrics", "GET, HEAD, OPTIONS"),
    ],
)
async def test_a_wrong_method_is_told_the_right_ones(
    tmp_path: Path, method: str, path: str, allow: str
) -> None:
    async with serving(tmp_path) as node, session(node) as http:
        answer = await http.request(method, path)
        assert answer.headers["allow"] == allow
        if method == "OPTIONS":
            assert answer.status == 204
        else:
            assert (await problem_of(answer))["code"] == "request.method"
            assert answer.status == 405


@pytest.mark.parametrize(
    "query",
    [
        "in_cups=maybe",
        "in_cups=true&in_cups=false",
        "other=1",
        "in_cups=%ff",
        "as_of_sequence=-1",
        "as_of_sequence=1&as_of_sequence=1",
    ],
)
async def test_a_urls_query_that_does_not_fit(tmp_path: Path, query: str) -> None:
    async with serving(tmp_path) as node, session(node) as http:
        path = f"{node.url}/components/barrel/b1/content?{query}"
        answer = await http.get(URL(path, encoded=True))
        assert (answer.status, (await problem_of(answer))["code"]) == (400, "request.payload")


async def test_a_repeated_key_gets_the_first_answer_and_has_no_second_effect(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path) as node, session(node) as http:
        headers = {"Idempotency-Key": "once"}
        for _ in range(3):
            answer = await http.post(
                "/components/barrel/b1/fill", json={"litres": 7}, headers=headers
            )
            assert await answer.json() == 7
        answers = await asyncio.gather(
            *[
                http.post(
                    "/components/barrel/b1/fill",
                    json={"litres": 5},
                    headers={"Idempotency-Key": "at the same time"},
                )
                for _ in range(8)
            ]
        )
        assert {await answer.json() for answer in answers} == {12}
        answer = await http.post("/components/barrel/b1/content", json={}, headers=headers)
        assert await answer.json() == 12, "the key of another command is another key"
    async with serving(tmp_path) as node, session(node) as http:
        answer = await http.post("/components/barrel/b1/fill", json={"litres": 7}, headers=headers)
        assert await answer.json() == 7, "also after a restart"
        answer = await http.get("/components/barrel/b1/content")
        assert await answer.json() == 12


async def test_headers_that_do_not_fit(tmp_path: Path) -> None:
    async with serving(tmp_path) as node, session(node) as http:
        for name, value, status in (
            ("Idempotency-Key", "x" * (limits.IDEMPOTENCY_KEY_CHARACTERS_MAX + 1), 400),
            ("Idempotency-Key", "", 400),
            ("Request-Timeout", "soon", 400),
            ("Request-Timeout", "nan", 400),
            ("Request-Timeout", "-1", 400),
            ("traceparent", "0" * (limits.SUBJECT_CHARACTERS_MAX + 1), 413),
            ("X-Request-Id", "\u00fc", 400),
            ("Content-Encoding", "gzip", 415),
        ):
            answer = await http.post(
                "/components/barrel/b1/fill", json={"litres": 1}, headers={name: value}
            )
            assert answer.status == status, name
            await problem_of(answer)
        answer = await http.get("/components/barrel/b1/content")
        assert await answer.json() == 0


@pytest.mark.parametrize("path", ["/components/barrel/b1/content", "/views/barrels/holding"])
async def test_a_deadline_that_is_no_number_is_refused_of_reads_too(
    tmp_path: Path, path: str
) -> None:
    async with serving(tmp_path) as node, session(node) as http:
        for value in ("abc", "-1", "inf"):
            answer = await http.get(path, headers={"Request-Timeout": value})
            assert answer.status == 400
            assert "Request-Timeout is a number of seconds" in (await problem_of(answer))["detail"]
        twice = [("Request-Timeout", "5"), ("Request-Timeout", "5")]
        assert (await http.get(path, headers=twice)).status == 400
        assert (await http.get(path, headers={"Request-Timeout": "5"})).status == 200


async def test_a_deadline_that_has_passed_is_504_and_nothing_happened(tmp_path: Path) -> None:
    async with serving(tmp_path) as node, session(node) as http:
        headers = {"Request-Timeout": "0"}
        answer = await http.post("/components/barrel/b1/fill", json={"litres": 7}, headers=headers)
        assert (answer.status, (await problem_of(answer))["code"]) == (504, "unavailable.deadline")
        assert int(answer.headers["retry-after"]) >= 1
        assert (await http.get("/components/barrel/b1/content", headers=headers)).status == 504
        headers = {"Request-Timeout": "20"}
        answer = await http.post("/components/barrel/b1/fill", json={"litres": 7}, headers=headers)
        assert await answer.json() == 7


async def test_request_id_and_trace_context_end_up_in_the_metadata(tmp_path: Path) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    async with serving(tmp_path) as node, session(node) as http:
        headers = {"X-Request-Id": "r-1", "traceparent": trace, "X-Correlation-Id": "c-1"}
        answer = await http.post("/components/barrel/b1/fill", json={"litres": 7}, headers=headers)
        assert answer.headers["x-request-id"] == "r-1"
        (entry,) = await node.runtime.store.journal.history("barrel", "b1", limit=10)
        assert json.loads(entry.metadata or b"{}") == {
            "request_id": "r-1",
            "traceparent": trace,
            "correlation": "c-1",
        }
        made = [(await http.get("/health/live")).headers["x-request-id"] for _ in range(2)]
        assert made[0] != made[1]


async def test_an_entity_can_be_read_as_it_was(tmp_path: Path) -> None:
    async with serving(tmp_path) as node, session(node) as http:
        for litres in (1, 2, 3):
            await http.post("/components/barrel/b1/fill", json={"litres": litres})
        entries = await node.runtime.store.journal.history("barrel", "b1", limit=10)
        for sequence, litres in ((0, 0), (1, 1), (2, 3), (3, 6)):
            answer = await http.get(f"/components/barrel/b1/content?as_of_sequence={sequence}")
            assert await answer.json() == litres
        answer = await http.get("/components/barrel/b1/content?as_of_sequence=4")
        assert (answer.status, (await problem_of(answer))["code"]) == (404, "entity.no_sequence")
        for entry, litres in zip(entries, (1, 3, 6), strict=True):
            moment = time_text(entry.time)
            answer = await http.get(f"/components/barrel/b1/content?as_of_time={moment}")
            assert await answer.json() == litres
        answer = await http.get("/components/note/n1/read?as_of_sequence=1")
        assert (answer.status, (await problem_of(answer))["code"]) == (404, "entity.no_sequence")
        for text in ("one", "two"):
            await http.post("/components/note/n1/write", json={"text": text})
        answer = await http.get("/components/note/n1/read?as_of_sequence=2")
        assert await answer.json() == "two"
        answer = await http.get("/components/note/n1/read?as_of_sequence=1")
        problem = await problem_of(answer)
        assert (answer.status, problem["code"]) == (409, "entity.not_kept")
        assert "keep_history" in problem["detail"]


async def test_a_body_beyond_the_limit_is_413(tmp_path: Path) -> None:
    async with serving(tmp_path) as node, session(node) as http:
        for size, status in (
            (limits.PAYLOAD_BYTES_MAX - 100, 200),
            (limits.PAYLOAD_BYTES_MAX, 413),
            (limits.BODY_BYTES_MAX, 413),
        ):
            body = BytesIO(b'{"by":"' + b"x" * size + b'"}')
            answer = await http.post("/components/barrel/b1/empty", data=body, headers=JSON)
            assert answer.status == status, size


class Counted(Event):
    by: int


@component("careless")
class Careless(EventSourcedEntity):
    count: int = 0

    @command
    def touch(self) -> Effect[None]:
        self.count += 1
        return self.reply(None)

    @command
    def divide(self) -> Effect[int]:
        return self.reply(1 // self.count)

    @command
    def misfit(self) -> Effect[None]:
        return self.persist(Counted(by="many"))  # type: ignore[arg-type]

    @command
    def overflow(self) -> Effect[None]:
        return self.persist(*[Counted(by=0)] * 1_001)

    @command
    def forget(self) -> Effect[None]:
        return None  # type: ignore[return-value]

    @query
    def broken(self) -> int:
        return 1 // self.count

    @on(Counted)
    def counted(self, event: Counted) -> None:
        self.count += event.by


async def test_the_log_shows_where_the_author_has_to_look_and_none_of_our_frames(
    tmp_path: Path,
) -> None:
    service = Service("careless", components=[Careless])
    node = Node(service, NodeConfig(data=tmp_path, port=0, guards=True))
    await node.start()
    try:
        with capture_logs() as logs:
            async with aiohttp.ClientSession(node.url) as http:
                for name in ("touch", "divide"):
                    answer = await http.post(f"/components/careless/c1/{name}", json={})
                    assert answer.status == 500
    finally:
        await node.stop()
    touched, divided = (entry for entry in logs if entry["event"] == "request failed")
    assert "exc_info" not in touched
    assert "Careless.touch (" in touched["error"]
    assert "changed the state; a command only decides" in touched["error"]
    shown = "".join(traceback.format_exception(*divided["exc_info"]))
    assert "ZeroDivisionError" in shown
    assert "test_commands.py" in shown
    assert "src/eventmill" not in shown


async def test_the_log_names_a_request_as_its_sender_does(tmp_path: Path) -> None:
    service = Service("careless", components=[Careless])
    node = Node(service, NodeConfig(data=tmp_path, port=0))
    await node.start()
    given = {"X-Request-Id": "r-1", "traceparent": "00-1-2-01"}
    try:
        with capture_logs() as logs:
            async with aiohttp.ClientSession(node.url) as http:
                await http.post("/components/careless/c1/divide", json={}, headers=given)
                await http.get("/components/careless/c1/broken", headers=given)
                await http.post("/components/careless/c1/divide", json={})
    finally:
        await node.stop()
    command, query, unnamed = (entry for entry in logs if entry["event"] == "request failed")
    for failed in (command, query):
        assert (failed["request_id"], failed["traceparent"]) == ("r-1", "00-1-2-01")
    assert not {"request_id", "traceparent"} & unnamed.keys()


@pytest.mark.parametrize("guards", [False, True])
async def test_where_a_handler_is_written_is_told_to_the_log_and_in_development_only(
    tmp_path: Path, guards: bool
) -> None:
    service = Service("careless", components=[Careless])
    node = Node(service, NodeConfig(data=tmp_path, port=0, guards=guards))
    await node.start()
    try:
        with capture_logs() as logs:
            async with aiohttp.ClientSession(node.url) as http:
                for name in ("misfit", "overflow", "forget"):
                    answer = await http.post(f"/components/careless/c1/{name}", json={})
                    detail = (await problem_of(answer))["detail"]
                    assert f"Careless.{name}" in detail
                    assert (__file__ in detail) == guards, detail
    finally:
        await node.stop()
    failed = [entry for entry in logs if entry["event"] == "request failed"]
    assert [entry["place"].partition(" ")[0] for entry in failed] == [
        "Careless.misfit",
        "Careless.forget",
    ]
    assert all(__file__ in entry["place"] for entry in failed)
