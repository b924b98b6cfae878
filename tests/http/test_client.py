"""The client against a real node, and against servers that fail as networks do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import pytest
from aiohttp import web

from eventmill import Client, Deleted, InvalidPayload, Rejected, Retry, Unavailable
from eventmill.client import LOST, TIMED_OUT, Published, error_of
from eventmill.errors import (
    DeadlineExceeded,
    HandlerFailed,
    InternalError,
    Overloaded,
    RequestError,
    StoreFull,
    TooLarge,
    UnknownComponent,
)
from eventmill.http import problems
from eventmill.model import limits
from tests.http.serving import Barrel, Barrels, Emptied, Label, Moved, Note, moves, serving


async def test_calls_are_typed_and_answer_with_python_values(tmp_path: Path) -> None:
    async with serving(tmp_path) as node, Client(node.url) as client:
        assert await client.call(Barrel.fill, "b 1/ü", litres=7) == 7
        assert await client.call(Barrel.content, "b 1/ü", in_cups=True) == 28
        assert await client.call(Barrel.put, "b 1/ü", Label(text="old")) is None
        assert await client.call(Barrel.similar, "b 1/ü", [1, 7]) == [7]
        await client.call(Note.write, "n", "a text")
        assert await client.call(Note.read, "n") == "a text"


async def test_a_view_answers_with_its_rows(tmp_path: Path) -> None:
    async with serving(tmp_path) as node, Client(node.url) as client:
        await client.call(Barrel.fill, "b1", 7)
        rows: list[Barrels.Row] = []
        async with asyncio.timeout(10):
            while not rows:
                rows = await client.query(Barrels.fuller_than, minimum=2)
        assert rows == [Barrels.Row(barrel="b1", litres=7)]
        assert await client.query(Barrels.some, names=["b1", "a & b", ""]) == rows
        assert await client.query(Barrels.some, ["b1"]) == rows
        assert await client.query(Barrels.some, names=[]) == []
        assert await client.query(Barrels.holding, litres=[7.0, 1e300]) == rows
        assert await client.query(Barrels.holding) == []
        for wrong in ([""], [None]):
            with pytest.raises(InvalidPayload):
                await client.query(Barrels.some, names=wrong)  # type: ignore[arg-type]
        with pytest.raises(TooLarge):
            await client.query(Barrels.some, names=["b1"] * 1_001)


async def test_events_are_published_whole_and_in_order(tmp_path: Path) -> None:
    async with serving(tmp_path) as node, Client(node.url) as client:
        counts = await client.publish(moves, Moved(place="a"), Emptied(by="me"))
        assert counts == Published(accepted=2, duplicates=0)
        assert await client.publish(moves) == Published(0, 0)
        scan = await node.runtime.store.journal.read(0, 0, limit=10)
        assert [(e.type, e.version, e.subject, e.payload) for e in scan.entries] == [
            ("barrel.moved", 3, "a", b'{"place":"a"}'),
            ("Emptied", 1, "-", b'{"by":"me"}'),
        ]
        with pytest.raises(InvalidPayload):
            await client.publish(moves, object())
        with pytest.raises(TooLarge):
            await client.publish(moves, *[Moved(place="a")] * (limits.BATCH_EVENTS_MAX + 1))


async def test_errors_come_back_as_what_they_were(tmp_path: Path) -> None:
    async with serving(tmp_path) as node, Client(node.url) as client:
        with pytest.raises(Rejected) as rejected:
            await client.call(Barrel.fill, "b1", 101)
        assert (rejected.value.code, rejected.value.details) == ("barrel.full", {"left": 100})
        assert rejected.value.message == "it would run over"
        with pytest.raises(HandlerFailed):
            await client.call(Barrel.burst, "b1")
        with pytest.raises(DeadlineExceeded):
            await client.using(deadline_seconds=0).call(Barrel.fill, "b1", 1)
        with pytest.raises(TooLarge):
            await client.call(Barrel.fill, "b" * 513, 1)
        await client.call(Barrel.burn, "b1")
        with pytest.raises(Deleted):
            await client.call(Barrel.content, "b1")
    with pytest.raises(InvalidPayload):
        await client.call(Barrel.fill, "b1", litres="many")  # type: ignore[arg-type]
    with pytest.raises(InvalidPayload):
        await client.call(Barrel.fill, "..", 1)


async def test_an_own_key_makes_two_calls_one(tmp_path: Path) -> None:
    async with serving(tmp_path) as node, Client(node.url) as client:
        once = client.using(idempotency_key="once")
        assert [await once.call(Barrel.fill, "b1", 7) for _ in range(2)] == [7, 7]
        assert [await client.call(Barrel.fill, "b1", 7) for _ in range(2)] == [14, 21]


def test_every_error_class_survives_the_way_through_http() -> None:
    for cls in (Rejected, UnknownComponent, Deleted, Overloaded, StoreFull, InternalError):
        error = cls("why", details={"a": 1})
        error.code = "special.code"
        status, body = problems.document(error)
        found = error_of(status, body)
        assert type(found) is cls
        assert (found.message, found.code, found.details) == ("why", "special.code", {"a": 1})
    found = error_of(*problems.document(problems.UnsupportedMediaType("no")))
    assert type(found) is RequestError
    assert found.code == "request.media_type"
    assert type(error_of(502, b"<html>")) is Unavailable
    assert type(error_of(418, b"")) is RequestError
    assert type(error_of(500, b"")) is InternalError
    overloaded = error_of(429, problems.document(Overloaded())[1], "7")
    assert isinstance(overloaded, Overloaded)
    assert overloaded.retry_after_seconds == 7


Answer = Callable[[web.Request, int], Awaitable[web.StreamResponse]]


class Network:
    """A server that fails as told; remembers what it was asked and how long the client slept."""

    def __init__(self, answer: Answer) -> None:
        self.keys: list[str | None] = []
        self.slept: list[float] = []
        self._answer = answer
        self._ids = count(1)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.keys.append(request.headers.get("Idempotency-Key"))
        return await self._answer(request, len(self.keys))

    @asynccontextmanager
    async def client(self, timeout_seconds: float = 10) -> AsyncIterator[Client]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.handle)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        try:
            async with Client(
                f"http://{host}:{port}",
                timeout_seconds=timeout_seconds,
                retry=Retry(attempts=3, initial=0.1, maximum=5.0, jitter=0.0),
                new_id=lambda: f"key-{next(self._ids)}",
                sleep=self.sleep,
            ) as client:
                yield client
        finally:
            await runner.cleanup()


def _later(error: Unavailable) -> web.Response:
    status, body = problems.document(error)
    headers = {name.decode(): value.decode() for name, value in problems.headers_of(error)}
    return web.Response(status=status, body=body, headers=headers)


async def test_a_lost_connection_is_retried_with_the_same_key() -> None:
    async def answer(request: web.Request, attempt: int) -> web.StreamResponse:
        if attempt < 3:
            assert request.transport is not None
            request.transport.close()
        return web.json_response(7)

    network = Network(answer)
    async with network.client() as client:
        assert await client.call(Barrel.fill, "b1", 7) == 7
        assert network.keys == ["key-1"] * 3
        assert network.slept == [0.1, 0.2]
        assert await client.call(Barrel.fill, "b1", 7) == 7
        assert network.keys[3:] == ["key-2"], "another call is another command"


async def test_retry_after_is_waited_for_up_to_a_bound() -> None:
    async def answer(request: web.Request, attempt: int) -> web.StreamResponse:
        if attempt < 3:
            return _later(Overloaded(retry_after_seconds=3 if attempt == 1 else 600))
        return web.json_response(7)

    network = Network(answer)
    async with network.client() as client:
        assert await client.call(Barrel.fill, "b1", 7) == 7
    assert network.slept == [3, 5.0]


async def test_it_gives_up_after_the_last_attempt() -> None:
    async def answer(request: web.Request, attempt: int) -> web.StreamResponse:
        return _later(Unavailable("not now"))

    network = Network(answer)
    async with network.client() as client:
        with pytest.raises(Unavailable, match="not now"):
            await client.call(Barrel.fill, "b1", 7)
    assert len(network.keys) == 3


@pytest.mark.parametrize("error", [DeadlineExceeded(), StoreFull()])
async def test_what_waiting_does_not_mend_is_not_retried(error: Unavailable) -> None:
    async def answer(request: web.Request, attempt: int) -> web.StreamResponse:
        return _later(error)

    network = Network(answer)
    async with network.client() as client:
        with pytest.raises(type(error)):
            await client.call(Barrel.fill, "b1", 7)
    assert len(network.keys) == 1


async def test_an_answer_that_takes_too_long_is_unavailable() -> None:
    never = asyncio.Event()

    async def answer(request: web.Request, attempt: int) -> web.StreamResponse:
        await never.wait()
        return web.Response()

    network = Network(answer)
    async with network.client(timeout_seconds=0.05) as client:
        with pytest.raises(Unavailable) as error:
            await client.call(Barrel.content, "b1")
        never.set()
    assert error.value.code == TIMED_OUT
    assert network.keys == [None] * 3, "a query needs no key"


async def test_who_waits_for_others_gets_the_next_turn() -> None:
    async def answer(request: web.Request, attempt: int) -> web.StreamResponse:
        if attempt == limits.CLIENT_REQUESTS_MAX:
            all_call.set()
        return web.json_response(7)

    async def again_and_again() -> None:
        while not is_done:
            await client.call(Barrel.content, "b1")

    is_done, all_call, network = False, asyncio.Event(), Network(answer)
    async with network.client(timeout_seconds=1) as client, asyncio.TaskGroup() as group:
        for _ in range(limits.CLIENT_REQUESTS_MAX):
            group.create_task(again_and_again())
        await all_call.wait()
        try:
            assert await client.call(Barrel.content, "b2") == 7
        finally:
            is_done = True


async def test_nobody_listens() -> None:
    async def sleep(seconds: float) -> None:
        return None

    async with Client("http://127.0.0.1:9", sleep=sleep) as client:
        with pytest.raises(Unavailable) as error:
            await client.call(Barrel.content, "b1")
    assert error.value.code == LOST
