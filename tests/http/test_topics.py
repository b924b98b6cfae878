"""Topics over HTTP: the official SDK publishes and reads, in all three content modes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cloudevents.core.bindings import http as sdk_http
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent as SdkEvent

from eventmill.model import limits
from eventmill.model.entry import metadata_of
from eventmill.node.node import Node
from tests.http.serving import Moved, moves, serving, session

STRUCTURED = {"content-type": "application/cloudevents+json"}
BATCH = {"content-type": "application/cloudevents-batch+json"}


def sdk_event(id: str = "e-1", **attributes: Any) -> SdkEvent:
    return SdkEvent(
        {
            "id": id,
            "source": "/trucks/7",
            "type": "barrel.moved",
            "subject": "b1",
            "time": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
            "datacontenttype": "application/json",
            "dataschema": "https://example.com/schema",
            "truckload": "grün 50 %",
            "eventversion": 3,
            **attributes,
        },
        {"place": "cellar"},
    )


def plain_event(id: str = "e-1", **members: Any) -> dict[str, Any]:
    return {
        "id": id,
        "source": "/trucks/7",
        "specversion": "1.0",
        "type": "barrel.moved",
        "data": {"place": "x"},
        **members,
    }


async def publish(http: aiohttp.ClientSession, message: sdk_http.HTTPMessage) -> dict[str, int]:
    answer = await http.post("/topics/moves", data=message.body, headers=message.headers)
    assert answer.status == 202, await answer.text()
    counts: dict[str, int] = await answer.json()
    return counts


class Follower:
    """Reads a stream of server-sent events."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        assert response.headers["content-type"] == "text/event-stream"
        self._response = response

    async def events(self) -> AsyncIterator[dict[str, str]]:
        """Yield events with data; comments and bare ids are skipped, as browsers do."""
        event: dict[str, str] = {}
        async for raw in self._response.content:
            line = raw.decode().rstrip("\n")
            if line:
                name, _, value = line.partition(": ")
                event[name] = value
            elif "data" in event:
                yield event
                event = {}
            else:
                event = {}

    async def take(self, count: int) -> list[dict[str, str]]:
        async with asyncio.timeout(20):
            return [event async for _, event in _counted(self.events(), count)]


async def _counted(
    events: AsyncIterator[dict[str, str]], count: int
) -> AsyncIterator[tuple[int, dict[str, str]]]:
    number = 0
    async for event in events:
        number += 1
        yield number, event
        if number == count:
            return


async def test_the_official_sdk_publishes_in_every_mode_and_reads_the_same_events_back(
    tmp_path: Path,
) -> None:
    events = [sdk_event("binary"), sdk_event("structured"), sdk_event("one"), sdk_event("two")]
    async with serving(tmp_path) as node, session(node) as http:
        one = {"accepted": 1, "duplicates": 0}
        assert await publish(http, sdk_http.to_binary(events[0], JSONFormat())) == one
        assert await publish(http, sdk_http.to_structured(events[1], JSONFormat())) == one
        batch = b"[" + b",".join(JSONFormat().write(event) for event in events[2:]) + b"]"
        both = {"accepted": 2, "duplicates": 0}
        assert await publish(http, sdk_http.HTTPMessage(dict(BATCH), batch)) == both
        async with http.get("/topics/moves?from=beginning") as response:
            received = await Follower(response).take(4)
        for sent, got in zip(events, received, strict=True):
            read = JSONFormat().read(SdkEvent, got["data"])
            assert read.get_data() == sent.get_data()
            expected = sent.get_attributes()
            if expected["id"] == "binary":  # headers carry no types
                expected = {**expected, "eventversion": 3}
            assert read.get_attributes() == expected


async def test_what_consumers_see_of_a_published_event(tmp_path: Path) -> None:
    async with serving(tmp_path) as node, session(node) as http:
        trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        event = plain_event(subject="b1", time="2026-01-02T03:04:05.123+02:00", truckload="full")
        headers = {**STRUCTURED, "traceparent": trace, "X-Request-Id": "r-1"}
        await http.post("/topics/moves", json=event, headers=headers)
        await http.post("/topics/moves", json=plain_event("e-2", eventversion=2), headers=headers)
        event = plain_event("e-3", type="barrel.rolled", traceparent=trace.replace("4", "5"))
        await http.post("/topics/moves", json=event, headers=headers)
        event = plain_event("e-4", type="barrel.painted")
        await http.post("/topics/moves", json=event, headers=headers)
        scan = await node.runtime.store.journal.read(0, 0, limit=10)
    first, second, third, fourth = scan.entries
    assert (first.source, first.subject, first.type) == ("moves", "b1", "barrel.moved")
    assert first.payload == b'{"place": "x"}'
    assert metadata_of(first) == {
        "request_id": "r-1",
        "traceparent": trace,
        "cloudevent": {
            "id": "e-1",
            "source": "/trucks/7",
            "time": "2026-01-02T03:04:05.123+02:00",
            "extensions": {"truckload": "full"},
        },
    }
    assert (first.version, second.version, second.subject) == (3, 2, "x")
    assert (third.version, metadata_of(third)["traceparent"]) == (3, trace.replace("4", "5"))
    assert fourth.version == 1, "a type that the topic does not know is kept for a later code"


@pytest.mark.parametrize(
    ("event", "key"),
    [
        (plain_event(), "x"),
        (plain_event(type="Emptied", data={"by": "ann"}), "-"),
        (plain_event(data={"town": "x"}), ""),
        (plain_event(data={"place": "x\ny"}), ""),
        (plain_event(data={"place": "x" * 513}), ""),
        (plain_event(eventversion=4), ""),
        (plain_event(type="barrel.painted"), ""),
        (plain_event(subject="b1"), "b1"),
    ],
)
async def test_the_key_of_an_event_without_subject_is_what_the_topic_makes_of_it(
    tmp_path: Path, event: dict[str, Any], key: str
) -> None:
    async with serving(tmp_path) as node, session(node) as http:
        answer = await http.post("/topics/moves", json=event, headers=STRUCTURED)
        assert answer.status == 202
        (entry,) = (await node.runtime.store.journal.read(0, 0, limit=10)).entries
        assert entry.subject == key


async def test_an_event_with_a_known_source_and_id_is_a_duplicate(tmp_path: Path) -> None:
    async with serving(tmp_path) as node, session(node) as http:
        batch = [plain_event("a"), plain_event("b"), plain_event("a")]
        answer = await http.post("/topics/moves", json=batch, headers=BATCH)
        assert await answer.json() == {"accepted": 2, "duplicates": 1}
        batch = [plain_event("b"), plain_event("c"), plain_event("b", source="/trucks/8")]
        answer = await http.post("/topics/moves", json=batch, headers=BATCH)
        assert await answer.json() == {"accepted": 2, "duplicates": 1}
        answers = await asyncio.gather(
            *[http.post("/topics/moves", json=[plain_event("d")], headers=BATCH) for _ in range(8)]
        )
        assert sum([(await answer.json())["accepted"] for answer in answers]) == 1
    async with serving(tmp_path) as node, session(node) as http:
        answer = await http.post("/topics/moves", json=[plain_event("d")], headers=BATCH)
        assert await answer.json() == {"accepted": 0, "duplicates": 1}, "also after a restart"
        assert node.runtime.tails.total == 5


async def test_a_batch_is_taken_whole_or_not_at_all(tmp_path: Path) -> None:
    async with serving(tmp_path) as node, session(node) as http:
        answer = await http.post("/topics/moves", json=[], headers=BATCH)
        assert (answer.status, await answer.json()) == (202, {"accepted": 0, "duplicates": 0})
        batch = [plain_event("a"), plain_event("b", type="")]
        answer = await http.post("/topics/moves", json=batch, headers=BATCH)
        problem = await answer.json(content_type="application/problem+json")
        assert (answer.status, problem["code"]) == (400, "request.payload")
        assert problem["details"] == {"attribute": "type", "index": 1}
        assert node.runtime.tails.total == 0


_LONG = "x" * (limits.SUBJECT_CHARACTERS_MAX + 1)
_DEEP = json.loads("[" * 70 + "]" * 70)


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        (STRUCTURED, plain_event(type="$deleted"), 400),
        (STRUCTURED, plain_event(type="x" * 129), 400),
        (STRUCTURED, plain_event(subject=_LONG), 413),
        (STRUCTURED, plain_event(subject="a\r\nb"), 400),
        (STRUCTURED, plain_event(eventversion=0), 400),
        (STRUCTURED, plain_event(eventversion="new"), 400),
        (STRUCTURED, plain_event(datacontenttype="text/plain", data="x"), 415),
        (STRUCTURED, plain_event(data=_DEEP), 413),
        (STRUCTURED, plain_event(data="x" * limits.PAYLOAD_BYTES_MAX), 413),
        (STRUCTURED, plain_event(data="x" * limits.BODY_BYTES_MAX), 413),
        (STRUCTURED, plain_event(**{f"e{n}": "x" * 2000 for n in range(20)}), 413),
        (STRUCTURED, plain_event(**{f"e{n}": "x" for n in range(40)}), 400),
        (STRUCTURED, {}, 400),
        (STRUCTURED, [], 400),
        (BATCH, [plain_event(str(n)) for n in range(limits.BATCH_EVENTS_MAX + 1)], 413),
        (BATCH, {}, 400),
        ({"content-type": "application/json"}, {}, 400),
        ({"content-type": "application/cloudevents+avro"}, {}, 415),
        ({**STRUCTURED, "content-encoding": "gzip"}, plain_event(), 415),
        ({**STRUCTURED, "X-Correlation-Id": _LONG}, plain_event(), 400),
    ],
)
async def test_events_that_are_refused(
    tmp_path: Path, headers: dict[str, str], body: Any, status: int
) -> None:
    async with serving(tmp_path) as node, session(node) as http:
        raw = BytesIO(json.dumps(body).encode())
        answer = await http.post("/topics/moves", data=raw, headers=headers)
        assert answer.status == status, await answer.text()
        assert answer.headers["content-type"] == "application/problem+json"
        assert node.runtime.tails.total == 0


@pytest.mark.parametrize(
    "body",
    [
        b'{"id":"1","id":"2","source":"/x","specversion":"1.0","type":"barrel.moved"}',
        b'{"id":"1","source":"/x","specversion":"1.0","type":"barrel.moved","data":{"a":"\xff"}}',
        b'{"id":"1","source":"/x","specversion":"1.0","type":"barrel.moved","data":{]}',
        b"\xff\xfe",
        b"",
    ],
)
async def test_bodies_that_are_no_events(tmp_path: Path, body: bytes) -> None:
    async with serving(tmp_path) as node, session(node) as http:
        answer = await http.post("/topics/moves", data=body, headers=STRUCTURED)
        assert answer.status == 400, await answer.text()
        assert node.runtime.tails.total == 0


async def test_an_unknown_topic_is_404(tmp_path: Path) -> None:
    async with serving(tmp_path) as node, session(node) as http:
        answer = await http.post("/topics/nothing", json=plain_event(), headers=STRUCTURED)
        assert answer.status == 404
        assert (await http.get("/topics/nothing")).status == 404


async def test_undeclared_types_are_taken_until_the_store_has_too_many_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "NAMES_MAX", 3)
    async with serving(tmp_path) as node, session(node) as http:

        async def status(id: str, type: str) -> int:
            event = plain_event(id, type=type)
            answer = await http.post("/topics/moves", json=event, headers=STRUCTURED)
            if answer.status != 202:
                problem = await answer.json()
                assert problem["code"] == "event.too_many_types"
                assert "barrel.moved" in problem["detail"]
            return answer.status

        assert [await status(f"1-{n}", f"strange.{n}") for n in range(4)] == [202, 202, 400, 400]
        assert await status("2", "strange.0") == 202
        assert await status("3", "barrel.moved") == 202
        assert node.runtime.tails.total == 4


async def test_a_follower_that_comes_back_misses_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path) as node, session(node) as http:
        await _place(node, "a", "b", "c")
        async with http.get("/topics/moves", params={"from": "beginning"}) as response:
            first = await Follower(response).take(2)
        assert [_place_of(event) for event in first] == ["a", "b"]
        assert [event["id"] for event in first] == ["0:1", "0:2"]
        await http.post("/components/barrel/b1/fill", json={"litres": 1})  # of another source
        headers = {"Last-Event-ID": first[-1]["id"]}
        async with http.get("/topics/moves", headers=headers) as response:
            follower = Follower(response)
            assert [_place_of(e) for e in await follower.take(1)] == ["c"]
            await _place(node, "d")
            assert [_place_of(e) for e in await follower.take(1)] == ["d"]
        async with http.get("/topics/moves?from=3") as response:
            assert [_place_of(e) for e in await Follower(response).take(1)] == ["d"]
        async with http.get("/topics/moves") as response:
            await _place(node, "e")
            assert [_place_of(e) for e in await Follower(response).take(1)] == ["e"]


async def test_a_follower_reads_far_behind_the_memory(tmp_path: Path) -> None:
    count = limits.SCAN_ROWS + 100
    async with serving(tmp_path) as node:
        await _place(node, *map(str, range(count)))
    async with serving(tmp_path) as node, session(node) as http:
        async with http.get("/topics/moves?from=beginning") as response:
            events = await Follower(response).take(count)
        assert [_place_of(event) for event in events] == [str(n) for n in range(count)]


@pytest.mark.parametrize("start", ["soon", "1:1", "-1", "0:x", "9" * 30])
async def test_a_start_that_is_none(tmp_path: Path, start: str) -> None:
    async with serving(tmp_path) as node, session(node) as http:
        assert (await http.get("/topics/moves", params={"from": start})).status == 400
        assert (await http.get("/topics/moves", headers={"Last-Event-ID": start})).status == 400


async def test_a_follower_that_wants_something_else_is_told(tmp_path: Path) -> None:
    async with serving(tmp_path) as node, session(node) as http:
        answer = await http.get("/topics/moves", headers={"accept": "application/json"})
        assert answer.status == 406
        answer = await http.head("/topics/moves", headers={"accept": "text/event-stream"})
        assert answer.status == 200


async def test_streams_end_when_the_node_stops(tmp_path: Path) -> None:
    async with serving(tmp_path) as node, session(node) as http:
        response = await http.get("/topics/moves")
        await _place(node, "a")
        await Follower(response).take(1)
        await node.stop()
        rest = await asyncio.wait_for(response.content.read(), 10)
        assert rest == b"", "the stream ends as a stream should, not by a broken connection"


async def test_an_abandoned_stream_is_noticed(tmp_path: Path) -> None:
    async with serving(tmp_path) as node, session(node) as http:
        response = await http.get("/topics/moves")
        assert "eventmill_streams 1.0" in await _metrics(http)
        response.close()
        async with asyncio.timeout(10):
            while "eventmill_streams 0.0" not in await _metrics(http):
                pass


async def _metrics(http: aiohttp.ClientSession) -> str:
    return await (await http.get("/metrics")).text()


async def _place(node: Node, *places: str) -> None:
    await node.runtime.publish(moves, tuple(Moved(place=place) for place in places))


def _place_of(event: dict[str, str]) -> str:
    place: str = json.loads(event["data"])["data"]["place"]
    return place


async def test_who_sends_plain_json_hears_what_to_send(tmp_path: Path) -> None:
    async with serving(tmp_path) as node, session(node) as http:
        answer = await http.post("/topics/moves", json={"place": "x"})
        assert answer.status == 400
        detail = (await answer.json())["detail"]
        assert "send the headers ce-specversion, ce-id, ce-source and ce-type" in detail
        structured = await http.post("/topics/moves", data=b"{}", headers=STRUCTURED)
        assert "send the headers" not in (await structured.json())["detail"]
