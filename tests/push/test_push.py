"""Pushed subscriptions over a real node and a real receiver: content, order, failures, restarts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from eventmill.model import limits
from eventmill.model.cloudevents import CloudEvent
from eventmill.model.commit import LetterStatus
from eventmill.node.config import NodeConfig
from eventmill.node.node import Node
from eventmill.node.sockets import free_port
from eventmill.runtime.operating.operations import Operations
from eventmill.runtime.pushing.push import PushReaction
from tests.faults import inprocess
from tests.push.receiver import Receiver, receiving
from tests.push.shop import service

FAST = {"attempts": 3, "backoff": 0.01, "backoffmax": 0.01}


class Api:
    """A node and its HTTP surface."""

    def __init__(self, node: Node, http: aiohttp.ClientSession) -> None:
        self.node = node
        self._http = http

    async def call(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        arguments = {} if body is None else {"json": body}
        async with self._http.request(method, self.node.url + path, **arguments) as response:
            return response.status, await response.json(content_type=None)

    async def subscribe(self, receiver: Receiver, **members: Any) -> str:
        body = {"sink": receiver.url, "protocol": "HTTP", **members}
        status, made = await self.call("POST", "/subscriptions", body)
        assert status == 201, made
        return str(made["id"])

    async def order(self, key: str, number: int = 0) -> None:
        body = {"order_id": key, "number": number}
        headers = {
            "ce-id": f"{key}-{number}", "ce-source": "/tests", "ce-specversion": "1.0",
            "ce-type": "Order", "ce-subject": key,
        }  # fmt: skip
        url = f"{self.node.url}/topics/orders"
        async with self._http.post(url, json=body, headers=headers) as response:
            assert response.status < 300, await response.text()

    async def add(self, cart: str, sku: str = "x") -> None:
        status, reply = await self.call("POST", f"/components/cart/{cart}/add", {"sku": sku})
        assert status == 200, reply


@asynccontextmanager
async def serving(data: Path) -> AsyncIterator[Api]:
    node = Node(service, NodeConfig(data=data, port=0))
    await node.start()
    try:
        async with aiohttp.ClientSession() as http:
            yield Api(node, http)
    finally:
        await node.stop()
    assert node.runtime.supervisor.failures == {}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with serving(tmp_path / "data") as made:
        yield made


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made


async def until(condition: Callable[[], bool], what: str) -> None:
    await inprocess.until(condition, what)


async def test_a_topic_is_pushed_as_it_was_published(api: Api, receiver: Receiver) -> None:
    await api.subscribe(receiver, source="orders")
    await api.order("o1", 7)
    await receiver.until(lambda: len(receiver.taken) == 1)
    (event,) = receiver.taken
    assert (event.id, event.source, event.type, event.subject) == ("o1-7", "/tests", "Order", "o1")
    assert event.data == b'{"order_id": "o1", "number": 7}'  # the publisher's bytes
    assert receiver.requests[0].method == "POST"


async def test_entity_events_are_pushed(api: Api, receiver: Receiver) -> None:
    await api.subscribe(receiver, source="/shop/components/cart")
    await api.add("c1", "pen")
    await receiver.until(lambda: len(receiver.taken) == 1)
    (event,) = receiver.taken
    assert (event.source, event.type, event.subject) == ("/shop/components/cart", "Added", "c1")
    assert event.data == b'{"sku":"pen"}'
    assert event.extensions["eventsequence"] == "1"


async def test_structured_mode_method_and_headers(api: Api, receiver: Receiver) -> None:
    settings = {"mode": "structured", "method": "PUT", "headers": {"authorization": "Bearer t"}}
    id = await api.subscribe(receiver, source="orders", protocolsettings=settings)
    await api.order("o1")
    await receiver.until(lambda: len(receiver.taken) == 1)
    (request,) = receiver.requests
    assert request.method == "PUT"
    assert request.headers["content-type"] == "application/cloudevents+json"
    assert request.headers["authorization"] == "Bearer t"
    assert request.event.id == "o1-0"
    _, shown = await api.call("GET", f"/subscriptions/{id}")
    assert shown["protocolsettings"]["headers"] == {"authorization": "***"}


async def test_types_and_filters(api: Api, receiver: Receiver) -> None:
    wanted = {"any": [{"prefix": {"subject": "vip-"}}, {"exact": {"subject": "c9"}}]}
    filters = [wanted, {"not": {"suffix": {"subject": "-test"}}}]
    await api.subscribe(receiver, source="cart", types=["Added"], filters=filters)
    for cart in ("c1", "vip-1", "vip-test", "c9"):
        await api.add(cart)
        await api.call("POST", f"/components/cart/{cart}/close", {})
    await receiver.until(lambda: len(receiver.taken) == 2)
    await until(lambda: _lags(api) == [0], "everything looked at")
    assert sorted((e.subject, e.type) for e in [r.event for r in receiver.requests]) == [
        ("c9", "Added"),
        ("vip-1", "Added"),
    ]


async def test_start_at_the_beginning_or_now(api: Api, receiver: Receiver) -> None:
    await api.order("before")
    await api.subscribe(receiver, source="orders", config={"start": "beginning"})
    await receiver.until(lambda: len(receiver.taken) == 1)
    receiver.taken.clear()
    await api.subscribe(receiver, source="orders")
    await api.order("after")
    await receiver.until(lambda: len(receiver.taken) == 2)
    assert [e.subject for e in receiver.taken] == ["after", "after"]


async def test_list_update_and_delete(api: Api, receiver: Receiver) -> None:
    id = await api.subscribe(receiver, source="orders", id="mine")
    assert id == "mine"
    body = {"sink": receiver.url, "protocol": "HTTP", "source": "orders", "id": "mine"}
    status, problem = await api.call("POST", "/subscriptions", body)
    assert (status, problem["code"]) == (409, "conflict")
    _, listed = await api.call("GET", "/subscriptions")
    assert [(one["id"], one["paused"]) for one in listed] == [("mine", False)]
    never = {**body, "types": ["Nothing"]}
    assert (await api.call("PUT", "/subscriptions/mine", never))[0] == 200
    await api.order("unwanted")
    await until(lambda: _lags(api) == [0], "passed over")
    assert (await api.call("PUT", "/subscriptions/mine", body))[0] == 200
    await api.order("wanted")
    await receiver.until(lambda: len(receiver.taken) == 1)
    assert receiver.taken[0].subject == "wanted"

    status, gone = await api.call("DELETE", "/subscriptions/mine")
    assert (status, gone["id"]) == (200, "mine")
    assert (await api.call("GET", "/subscriptions/mine"))[0] == 404
    assert await api.node.runtime.store.offsets() == {
        key: at
        for key, at in (await api.node.runtime.store.offsets()).items()
        if key[0] != "push@mine"
    }


async def test_there_are_not_too_many(api: Api, receiver: Receiver) -> None:
    for _ in range(limits.SUBSCRIPTIONS_MAX):
        await api.subscribe(receiver, source="orders", types=["Nothing"])
    body = {"sink": receiver.url, "protocol": "HTTP", "source": "orders"}
    status, problem = await api.call("POST", "/subscriptions", body)
    assert (status, problem["code"]) == (429, "unavailable.overloaded")


@pytest.mark.parametrize(
    ("members", "status"),
    [
        ({"source": "nothing"}, 404),
        ({"sink": "http://169.254.169.254/"}, 400),
        ({"sink": "ftp://127.0.0.1/"}, 400),
        ({"protocol": "NATS"}, 400),
        ({"filters": [{"sql": "TRUE"}]}, 400),
        ({"config": {"start": "yesterday"}}, 400),
        ({"config": {"start": "2026-01-01T00:00:00"}}, 400),
    ],
)
async def test_what_cannot_be_is_refused_and_leaves_nothing(
    api: Api, receiver: Receiver, members: dict[str, Any], status: int
) -> None:
    body = {"sink": receiver.url, "protocol": "HTTP", "source": "orders", **members}
    answered, problem = await api.call("POST", "/subscriptions", body)
    assert answered == status, problem
    assert (await api.call("GET", "/subscriptions"))[1] == []
    for path in ("", "/pause", "/resume"):
        assert (await api.call("POST" if path else "GET", f"/subscriptions/none{path}"))[0] == 404


async def test_order_is_kept_for_a_key_that_fails(api: Api, receiver: Receiver) -> None:
    """One key's event is refused twice: those behind it wait, other keys go on."""
    refusals: list[str] = []

    def answer(event: CloudEvent) -> web.Response:
        if event.id == "bad-1" and len(refusals) < 2:
            refusals.append(event.id)
            return web.Response(status=500)
        return web.Response(status=204)

    receiver.answer = answer
    await api.subscribe(receiver, source="orders", config={"attempts": 5, "backoff": 0.02})
    for number in range(1, 6):
        await api.order("bad", number)
        await api.order("good", number)
    await receiver.until(lambda: len(receiver.taken) == 10)
    taken = {key: [e.id for e in events] for key, events in receiver.by_subject().items()}
    assert taken == {
        "bad": [f"bad-{n}" for n in range(1, 6)],
        "good": [f"good-{n}" for n in range(1, 6)],
    }
    # Every attempt carried the same id, source and time.
    tries = [r.event for r in receiver.requests if r.event.id == "bad-1"]
    assert len(tries) == 3
    assert len({(e.id, e.source, e.time, e.data) for e in tries}) == 1


async def test_spent_attempts_make_a_dead_letter_that_can_be_redriven(
    api: Api, receiver: Receiver
) -> None:
    receiver.answer = lambda event: web.Response(status=500 if event.subject == "bad" else 204)
    id = await api.subscribe(receiver, source="orders", config=FAST)
    await api.order("bad", 1)
    await api.order("bad", 2)
    await api.order("good", 1)
    operations = Operations(api.node.runtime)
    await until(
        lambda: api.node.runtime.subscription(f"push@{id}").blocked.dead == 1, "the dead letter"
    )
    await receiver.until(lambda: len(receiver.taken) == 1)
    assert [r.event.id for r in receiver.requests].count("bad-1") == FAST["attempts"]
    dead, behind = await operations.letters(subscription=f"push@{id}")
    assert (dead.status, dead.code, dead.attempts) == (LetterStatus.DEAD, "push.failed", 3)
    assert behind.status is LetterStatus.WAITING
    receiver.answer = lambda event: web.Response(status=200)
    assert await operations.redrive(f"push@{id}") == 1
    await receiver.until(lambda: len(receiver.taken) == 3)
    assert [e.id for e in receiver.by_subject()["bad"]] == ["bad-1", "bad-2"]


@pytest.mark.parametrize("status", [400, 410, 413, 415, 422])
async def test_what_the_sink_will_never_take_is_dead_at_once(
    api: Api, receiver: Receiver, status: int
) -> None:
    receiver.answer = lambda event: web.Response(status=status)
    id = await api.subscribe(receiver, source="orders")
    await api.order("o1")
    operations = Operations(api.node.runtime)
    await until(
        lambda: api.node.runtime.subscription(f"push@{id}").blocked.dead == 1, "the dead letter"
    )
    (letter,) = await operations.letters(subscription=f"push@{id}")
    assert (letter.code, letter.attempts, len(receiver.requests)) == ("push.refused", 1, 1)


async def test_retry_after_is_honoured(api: Api, receiver: Receiver) -> None:
    waits = [web.Response(status=503, headers={"retry-after": "1"})]
    receiver.answer = lambda event: waits.pop() if waits else web.Response(status=204)
    loop_time = api.node.runtime.clock.monotonic
    await api.subscribe(receiver, source="orders", config={"backoff": 0.001})
    await api.order("o1")
    await receiver.until(lambda: len(receiver.requests) == 1)
    asked = loop_time()
    await receiver.until(lambda: len(receiver.taken) == 1)
    assert loop_time() - asked >= 0.9


async def test_an_operator_does_not_wait_for_a_sink_that_wants_to_be_left_alone(
    api: Api, receiver: Receiver
) -> None:
    """Nor is anything sent twice because of it."""
    refusing, counts = True, dict[str, int]()

    def answer(event: CloudEvent) -> web.Response:
        if refusing and len(receiver.taken) >= 3:
            return web.Response(status=429, headers={"retry-after": "4"})
        counts[event.id] = counts.get(event.id, 0) + 1
        return web.Response(status=204)

    receiver.answer = answer
    id = await api.subscribe(receiver, source="orders", config={"backoff": 0.001, "concurrency": 4})
    await api.call("POST", f"/subscriptions/{id}/pause")
    for number in range(20):
        await api.order(f"o{number}")
    await api.call("POST", f"/subscriptions/{id}/resume")
    push = api.node.runtime.subscription(f"push@{id}")
    await until(lambda: push.reaction.quiet > 0, "the sink's refusal")
    async with asyncio.timeout(3), push.letters, push.alone():
        assert len(receiver.taken) == 3
    refusing = False
    await receiver.until(lambda: len(receiver.taken) >= 20)
    assert counts == {f"o{number}-0": 1 for number in range(20)}


async def test_a_sink_that_is_away_is_tried_again(api: Api, receiver: Receiver) -> None:
    receiver.gate.clear()  # it takes requests and does not answer
    id = await api.subscribe(
        receiver, source="orders", config={"backoff": 0.01}, protocolsettings={"timeout": 0.1}
    )
    await api.order("o1")
    push = api.node.runtime.subscription(f"push@{id}")
    await until(lambda: push.failures >= 1, "a time-out")
    receiver.gate.set()
    await receiver.until(lambda: bool(receiver.taken))
    assert {e.id for e in receiver.taken} == {"o1-0"}


async def test_nothing_is_parked_while_the_sink_is_away(api: Api) -> None:
    """No connection is the fault of no event: all wait, in order, without attempts."""
    port = free_port()
    body = {
        "sink": f"http://127.0.0.1:{port}/in", "protocol": "HTTP", "source": "orders",
        "config": {"attempts": 1},
    }  # fmt: skip
    status, made = await api.call("POST", "/subscriptions", body)
    assert status == 201
    for number in range(20):
        await api.order(f"o{number % 4}", number)
    name = f"push@{made['id']}"
    reaction = api.node.runtime.subscription(name).reaction
    assert isinstance(reaction, PushReaction)
    await until(lambda: reaction.outages >= 2, "two attempts")
    assert await Operations(api.node.runtime).letters(subscription=name) == []
    async with receiving(port) as receiver:
        await receiver.until(lambda: len(receiver.taken) == 20)
        for key, events in receiver.by_subject().items():
            numbers = [int(event.id.partition("-")[2]) for event in events]
            assert numbers == sorted(numbers), key


async def test_keys_are_sent_at_the_same_time_within_the_bound(
    api: Api, receiver: Receiver
) -> None:
    id = await api.subscribe(receiver, source="orders", config={"concurrency": 4})
    receiver.gate.clear()
    await api.call("POST", f"/subscriptions/{id}/pause")
    for number in range(40):
        await api.order(f"o{number}")
    await api.call("POST", f"/subscriptions/{id}/resume")
    await receiver.until(lambda: receiver.most_at_once == 4)
    receiver.gate.set()
    await receiver.until(lambda: len(receiver.taken) == 40)
    assert receiver.most_at_once == 4


async def test_pause_holds_across_a_restart_and_nothing_is_lost(
    tmp_path: Path, receiver: Receiver
) -> None:
    async with serving(tmp_path / "data") as api:
        running = await api.subscribe(receiver, source="orders")
        paused = await api.subscribe(receiver, source="orders")
        assert (await api.call("POST", f"/subscriptions/{paused}/pause"))[1]["paused"] is True
        await api.order("o1")
        await receiver.until(lambda: len(receiver.taken) == 1)
    async with serving(tmp_path / "data") as api:
        _, listed = await api.call("GET", "/subscriptions")
        assert {one["id"]: one["paused"] for one in listed} == {running: False, paused: True}
        await api.order("o2")
        await receiver.until(lambda: len(receiver.taken) == 2)
        await api.call("POST", f"/subscriptions/{paused}/resume")
        await receiver.until(lambda: len(receiver.taken) == 4)
    assert [e.subject for e in receiver.taken] == ["o1", "o2", "o1", "o2"]


async def test_parked_events_survive_a_restart(tmp_path: Path, receiver: Receiver) -> None:
    receiver.answer = lambda event: web.Response(status=500)
    async with serving(tmp_path / "data") as api:
        id = await api.subscribe(receiver, source="orders", config={"attempts": 50, "backoff": 0.2})
        for number in (1, 2, 3):
            await api.order("o", number)
        push = api.node.runtime.subscription(f"push@{id}")
        await until(lambda: push.lag == 0 and bool(push.blocked), "all parked")
    receiver.answer = lambda event: web.Response(status=204)
    async with serving(tmp_path / "data"):
        await receiver.until(lambda: len(receiver.taken) == 3)
    assert [e.id for e in receiver.taken] == ["o-1", "o-2", "o-3"]


def _lags(api: Api) -> list[int]:
    return [s.lag for name, s in api.node.runtime.subscriptions.items() if name.startswith("push@")]
