"""Streams by themselves, with a connection and a clock that the test controls."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from eventmill.errors import Overloaded, StoreUnavailable
from eventmill.http import streams
from eventmill.model import limits
from eventmill.testing import VirtualClock

SCOPE = {"type": "http", "method": "GET"}


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
