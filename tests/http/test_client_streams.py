"""The client's streams against a real node: typed, resumed, and the past."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from eventmill import (
    Client,
    Deleted,
    EntityDeleted,
    InvalidPayload,
    Retry,
    Unavailable,
    WorkflowMoved,
)
from eventmill.errors import NotFound
from eventmill.model import limits
from eventmill.node.config import NodeConfig
from eventmill.node.node import Node
from tests.flow import journeys
from tests.flow.arcade import Player, arcade
from tests.flow.journeys import Journey, Paid
from tests.http.serving import (
    Barrel,
    Barrels,
    Emptied,
    Filled,
    Label,
    Labelled,
    Note,
    service,
    serving,
)
from tests.http.test_client import Network

QUICK = Retry(attempts=50, initial=0.01, maximum=0.1)


async def take(stream: Any, count: int) -> list[Any]:
    return [await asyncio.wait_for(anext(stream), 20) for _ in range(count)]


async def test_changes_are_typed_events(tmp_path: Path) -> None:
    async with serving(tmp_path) as node, Client(node.url) as client:
        await client.call(Barrel.fill, "b 1/ü", litres=7)
        async with aclosing(client.changes(Barrel, "b 1/ü", after=0)) as changes:
            (first,) = await take(changes, 1)
            assert (first.sequence, first.event) == (1, Filled(litres=7))
            assert datetime.now(UTC) - first.time < timedelta(minutes=1)
            await client.call(Barrel.put, "b 1/ü", Label(text="old"))
            await client.call(Barrel.empty, "b 1/ü")
            await client.call(Barrel.burn, "b 1/ü")
            events = [change.event for change in await take(changes, 3)]
            assert events == [
                Labelled(label=Label(text="old")),
                Emptied(by="nobody"),
                EntityDeleted(),
            ]


async def test_changes_of_a_key_value_entity_are_its_states(tmp_path: Path) -> None:
    async with serving(tmp_path) as node, Client(node.url) as client:
        await client.call(Note.write, "n", "a text")
        await client.call(Note.write, "n", "another")
        changes = client.changes(Note, "n", after=1)
        (change,) = await take(changes, 1)
        await changes.aclose()
        assert (change.sequence, change.event.text) == (2, "another")


async def test_changes_of_a_workflow_are_its_states_and_what_happened(tmp_path: Path) -> None:
    async with serving(tmp_path, of=journeys.service) as node, Client(node.url) as client:
        await client.call(Journey.wait_for_payment, "j")
        await client.publish(journeys.payments, Paid(journey="j", amount=7))
        async with aclosing(client.changes(Journey, "j", after=0)) as changes:
            waits, heard, state, paid = [one.event for one in await take(changes, 4)]
        assert isinstance(waits, WorkflowMoved)
        assert (waits.status, heard.what, heard.input) == (
            "waiting",
            "event",
            {"journey": "j", "amount": 7},
        )
        assert isinstance(state, Journey)
        assert state.amount == 7
        assert (paid.status, paid.name, paid.next) == ("ended", "paid", "ended")


async def test_changes_of_a_replicated_entity_are_its_values(tmp_path: Path) -> None:
    async with serving(tmp_path, of=arcade) as node, Client(node.url) as client:
        await client.call(Player.score, "p", "go", 5)
        async with aclosing(client.changes(Player, "p", after=0)) as changes:
            (change,) = await take(changes, 1)
        assert change.event == {"points": 5, "name": "nobody", "badges": [], "games": {"go": 1}}


async def test_streams_leave_room_for_requests(tmp_path: Path) -> None:
    async with (
        serving(tmp_path) as node,
        Client(node.url, timeout_seconds=1) as client,
        AsyncExitStack() as stack,
    ):
        await client.call(Barrel.fill, "b1", 7)
        for _ in range(limits.CLIENT_REQUESTS_MAX):
            changes = await stack.enter_async_context(
                aclosing(client.changes(Barrel, "b1", after=0))
            )
            await take(changes, 1)
        assert await client.call(Barrel.content, "b1") == 7


async def test_a_stream_goes_on_at_another_life_of_the_node(tmp_path: Path) -> None:
    async with serving(tmp_path) as node, Client(node.url, retry=QUICK) as client:
        port = int(node.url.rpartition(":")[2])
        await client.call(Barrel.fill, "b", 1)
        changes = client.changes(Barrel, "b", after=0)
        seen = await take(changes, 1)
        await node.stop()
        again = Node(service, NodeConfig(data=tmp_path, port=port))
        await again.start()
        try:
            await client.call(Barrel.fill, "b", 2)
            seen += await take(changes, 1)
            await changes.aclose()
        finally:
            await again.stop()
        assert [change.sequence for change in seen] == [1, 2]


async def test_a_query_is_watched(tmp_path: Path) -> None:
    async with serving(tmp_path) as node, Client(node.url) as client:
        answers = client.watch(Barrel.content, "b", in_cups=True)
        assert await take(answers, 1) == [0]
        await client.call(Barrel.fill, "b", 2)
        assert await take(answers, 1) == [8]
        await answers.aclose()


async def test_a_view_is_watched_and_streamed(tmp_path: Path) -> None:
    async with serving(tmp_path) as node, Client(node.url) as client:
        async with aclosing(client.watch(Barrels.fuller_than, minimum=2)) as rows:
            assert await take(rows, 1) == [[]]
            await client.call(Barrel.fill, "b1", 2)
            assert await take(rows, 1) == [[Barrels.Row(barrel="b1", litres=2)]]
            await client.call(Barrel.fill, "b2", 3)
            assert await take(rows, 1) == [[Barrels.Row(barrel="b2", litres=3)]]
        streamed = [row async for row in client.stream(Barrels.fuller_than, minimum=0)]
        assert [row.barrel for row in streamed] == ["b2", "b1"]
        assert [n async for n in client.stream(Barrel.similar, "b1", to=[1, 2])] == [2]


async def test_entities_are_asked_as_of_then(tmp_path: Path) -> None:
    async with serving(tmp_path) as node, Client(node.url) as client:
        before = datetime.now(UTC)
        for litres in (1, 2, 3):
            await client.call(Barrel.fill, "b", litres)
        assert await client.as_of(2).call(Barrel.content, "b") == 3
        assert await client.as_of(2).call(Barrel.content, "b", in_cups=True) == 12
        assert await client.as_of(0).call(Barrel.content, "b") == 0
        assert await client.as_of(before).call(Barrel.content, "b") == 0
        assert await client.as_of(datetime.now(UTC)).call(Barrel.content, "b") == 6
        assert await client.call(Barrel.content, "b") == 6
        with pytest.raises(NotFound):
            await client.as_of(9).call(Barrel.content, "b")
        with pytest.raises(InvalidPayload, match="nobody can change the past"):
            await client.as_of(1).call(Barrel.fill, "b", 1)
        with pytest.raises(InvalidPayload, match="views have no past"):
            await client.as_of(1).query(Barrels.fuller_than, minimum=1)
        with pytest.raises(InvalidPayload, match="time zone"):
            client.as_of(datetime(2026, 1, 1))  # noqa: DTZ001


async def test_what_ends_a_stream_is_raised(tmp_path: Path) -> None:
    async with serving(tmp_path) as node, Client(node.url) as client:
        await client.call(Barrel.fill, "b", 1)
        answers = client.watch(Barrel.content, "b")
        assert await take(answers, 1) == [1]
        await client.call(Barrel.burn, "b")
        with pytest.raises(Deleted):
            await take(answers, 1)
    async with Client(node.url, retry=QUICK) as client:
        with pytest.raises(Unavailable):
            await take(client.changes(Barrel, "b"), 1)


async def test_a_connection_that_breaks_in_the_middle_of_an_event(tmp_path: Path) -> None:
    event = (
        'data: {"specversion":"1.0","id":"0:%d","source":"/cellar","type":"Filled","subject":"b",'
        '"time":"2026-01-01T00:00:00Z","eventversion":1,"eventsequence":"%d","data":{"litres":%d}}'
    )
    frames = [f"id: {n}\n{event % (n, n, n)}\n\n".encode() for n in (1, 2, 3)]
    asked: list[str | None] = []

    async def answer(request: web.Request, attempt: int) -> web.StreamResponse:
        asked.append(request.headers.get("last-event-id"))
        response = web.StreamResponse()
        await response.prepare(request)
        pieces = {1: [frames[0], frames[1][:50]], 2: [b": heartbeat\nid: 2\n\n"]}
        for piece in pieces.get(attempt, [frames[2]]):
            await response.write(piece)
        return response

    async with Network(answer).client() as client:
        changes = client.changes(Barrel, "b")
        assert [c.event for c in await take(changes, 2)] == [Filled(litres=1), Filled(litres=3)]
        await changes.aclose()
    assert asked == [None, "1", "2"]
