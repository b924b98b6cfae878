"""Streams by themselves, with a connection and a clock that the test controls."""

from __future__ import annotations

import asyncio
import json
import re
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from eventmill import Event, Service, Topic
from eventmill.adapters.sqlite.store import Store
from eventmill.errors import Overloaded, StoreUnavailable
from eventmill.http import streams
from eventmill.http.following import Following
from eventmill.model import limits
from eventmill.testing import Host, VirtualClock

SCOPE = {"type": "http", "method": "GET"}
FOLLOW = {**SCOPE, "query_string": b"from=beginning", "headers": []}
BODY = "http.response.body"


class Connection:
    """The server's side of one request; takes bodies only while it is `open`."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.gone = asyncio.Event()
        self.changed = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        await asyncio.sleep(0)  # as a server does, which writes
        if message.get("more_body"):
            await self.open.wait()
        self.messages.append(message)
        self.changed.set()

    @property
    def text(self) -> str:
        return b"".join(message.get("body", b"") for message in self.messages).decode()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def running(answer: streams.EventStream, connection: Connection) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        group.create_task(answer(SCOPE, connection.receive, connection.send))
        yield
        connection.gone.set()


async def endless() -> streams.Items:
    number = 0
    while True:
        number += 1
        yield b"data: %d\n\n" % number, str(number)


async def silent() -> streams.Items:
    yield b"data: 1\n\n", "0:1"
    yield b"", "0:7"
    await asyncio.Event().wait()


async def test_items_are_made_only_as_fast_as_they_are_taken() -> None:
    made = 0

    async def items() -> streams.Items:
        nonlocal made
        async for item in endless():
            made += 1
            yield item

    connection, all_streams = Connection(), streams.Streams(VirtualClock())
    connection.open.clear()
    async with running(all_streams.answer(items()), connection):
        for _ in range(100):
            await asyncio.sleep(0)
        assert made == 1, "the first one waits to be taken"
        connection.open.set()
        await connection.until(lambda: "data: 1\n" in connection.text)


async def test_silence_is_broken_by_a_comment_with_the_latest_id() -> None:
    clock = VirtualClock()
    connection, all_streams = Connection(), streams.Streams(clock)
    async with running(all_streams.answer(silent()), connection):
        await connection.until(lambda: "data: 1\n" in connection.text)
        await clock.advance(limits.HEARTBEAT_SECONDS)
        assert "heartbeat" not in connection.text, "something was sent in this time"
        await clock.advance(limits.HEARTBEAT_SECONDS)
        assert connection.text.endswith(": heartbeat\nid: 0:7\n\n")


async def test_their_number_is_bounded_and_a_place_gets_free() -> None:
    all_streams = streams.Streams(VirtualClock())
    all_streams.open = limits.STREAMS_MAX - 1
    connection = Connection()
    async with running(all_streams.answer(silent()), connection):
        await connection.until(lambda: bool(connection.messages))
        with pytest.raises(Overloaded):
            all_streams.answer(silent())
    assert all_streams.open == limits.STREAMS_MAX - 1
    all_streams.answer(silent())


async def test_all_end_when_the_node_stops_and_none_begins() -> None:
    connection, all_streams = Connection(), streams.Streams(VirtualClock())
    async with running(all_streams.answer(silent()), connection):
        await connection.until(lambda: "data: 1\n" in connection.text)
        all_streams.stop()
        await connection.until(lambda: connection.messages[-1].get("body") == b"")
    with pytest.raises(Overloaded):
        all_streams.answer(silent())


async def test_whose_client_is_slowest_ends_when_all_hold_too_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "STREAMS_BYTES_MAX", 1_000)
    all_streams = streams.Streams(VirtualClock())

    async def large() -> streams.Items:
        while True:
            yield b"data: " + b"x" * 400 + b"\n\n", ""

    slow, slower, fast = Connection(), Connection(), Connection()
    slower.open.clear()
    async with running(all_streams.answer(large()), slower):
        await asyncio.sleep(0)
        slow.open.clear()
        async with (
            running(all_streams.answer(large()), slow),
            running(all_streams.answer(large()), fast),
        ):
            await slower.until(lambda: slower.messages[-1:] == [{"type": BODY, "body": b""}])
            await fast.until(lambda: len(fast.messages) > 10)
            assert slow.messages[1:] == []
            slow.open.set()
            await slow.until(lambda: len(slow.messages) > 10)


class Note(Event):
    text: str


notes = Topic("notes", Note, key=lambda event: "")


async def test_slow_followers_of_large_messages_do_not_hold_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "STREAMS_BYTES_MAX", 200_000)
    monkeypatch.setattr(limits, "STREAM_CHUNK_BYTES", 10_000)
    async with Host(Service("library", topics=[notes]), store=Store(tmp_path)) as host:
        await host.publish(notes, *(Note(text=f"{n:03}" + "x" * 10_000) for n in range(100)))
        await host.restart()  # each reads for itself
        front = Following(host.runtime, streams.Streams(host.runtime.clock))
        followers = [Connection() for _ in range(10)]
        async with AsyncExitStack() as stack:
            tracemalloc.start()
            for follower in followers:
                follower.open.clear()
                answer = await front.follow(Request({**FOLLOW, "path_params": {"topic": "notes"}}))
                await stack.enter_async_context(running(answer, follower))
            await host.settle()
            for follower in followers:
                follower.open.set()  # for the first heartbeat
                await follower.until(lambda follower=follower: "heartbeat" in follower.text)
                follower.open.clear()
            await host.settle()
            held, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert held < 2_000_000
            followers[0].open.set()
            last = re.compile("099x")
            await followers[0].until(lambda: bool(last.search(followers[0].text[-20_000:])))
            found = re.findall(r'"text":"(\d+)x', followers[0].text)
            assert found == [f"{n:03}" for n in range(100)]


@pytest.mark.parametrize(
    ("error", "code"),
    [(StoreUnavailable("no disk"), "unavailable.store"), (ZeroDivisionError("secret"), "internal")],
)
async def test_an_error_on_the_way_is_told_as_a_problem(error: Exception, code: str) -> None:
    async def items() -> streams.Items:
        yield b"data: 1\n\n", ""
        raise error

    connection = Connection()
    await streams.Streams(VirtualClock()).answer(items())(
        SCOPE, connection.receive, connection.send
    )
    event, data = connection.text.split("\n\n")[1].split("\n")
    assert event == "event: problem"
    problem = json.loads(data.removeprefix("data: "))
    assert problem["code"] == code
    assert "secret" not in data


def test_a_frame_stays_one_frame() -> None:
    pretty = b'{\r\n  "a": "b\\n"\n}'
    frame = streams.frame(pretty, id="0:1", event="rows")
    assert frame.count(b"\n") == 4
    data = frame.split(b"\n")[2].removeprefix(b"data: ")
    assert json.loads(data) == json.loads(pretty)


async def test_many_streams_leave_turns_to_others_and_to_each_other() -> None:
    async def endless() -> streams.Items:
        while True:
            yield b"data: 1\n\n", ""

    node = streams.Streams(VirtualClock())
    connections = [Connection() for _ in range(10 * limits.STREAM_TURNS)]
    async with asyncio.TaskGroup() as group:
        for connection in connections:
            answer = node.answer(endless())
            group.create_task(answer(SCOPE, connection.receive, connection.send))
        await connections[-1].until(lambda: len(connections[-1].messages) > 3)
        before = sum(len(connection.messages) for connection in connections)
        for _ in range(20):
            await asyncio.sleep(0)
        counts = [len(connection.messages) for connection in connections]
        node.stop()
    assert 0 < sum(counts) - before <= 20 * limits.STREAM_TURNS
    assert max(counts) - min(counts) <= 1
