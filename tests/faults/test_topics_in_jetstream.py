"""A service whose topics live in JetStream: the server is killed while events flow, and plain clients
take part. PostgreSQL and NATS are real."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import nats
import pytest

from eventmill import Service
from eventmill.adapters.clock import SystemClock
from eventmill.adapters.nats.broker import Broker
from eventmill.adapters.postgres.store import Store
from eventmill.errors import BrokerUnavailable, ConfigurationError
from eventmill.model.commit import Commit, LetterStatus
from eventmill.runtime.operating.operations import Operations
from eventmill.runtime.runtime import Runtime
from eventmill.testing.nats_server import NatsServer
from eventmill.testing.postgres import Server
from eventmill.testing.watched import WatchedStore
from tests.cluster.talk import Ear, Said, listen, said

KEYS = [f"k{number}" for number in range(12)]
LONG = 60.0
ROUNDS = 30

service = Service("talk", components=[Ear, listen], topics=[said])


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with NatsServer(tmp_path) as server:
        yield server


def node(dsn: str, server: NatsServer) -> Runtime:
    definition, problems = service.define()
    assert problems == []
    clock = SystemClock()
    broker = Broker([server.url], clock, service="talk", prefix="talk")
    return Runtime(definition, WatchedStore(Store(dsn)), clock, lambda: 0.5, broker=broker)


@pytest.fixture
async def dsn(postgres: Server) -> str:
    return await postgres.fresh(16)


@pytest.fixture
async def runtime(dsn: str, server: NatsServer) -> AsyncIterator[Runtime]:
    runtime = node(dsn, server)
    await runtime.start()
    yield runtime
    await runtime.stop()
    assert runtime.supervisor.failures == {}


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for what other processes bring about."""
    async with asyncio.timeout(LONG):
        while not await condition():  # noqa: ASYNC110 - other processes
            await asyncio.sleep(0.02)


async def heard(runtime: Runtime, key: str) -> list[int]:
    return await runtime.call(Ear.everything, key, ())


async def say(runtime: Runtime, number: int) -> None:
    await runtime.publish(said, tuple(Said(key, number) for key in KEYS))


async def expect(runtime: Runtime, numbers: list[int]) -> None:
    async def complete() -> bool:
        return all([len(await heard(runtime, key)) >= len(numbers) for key in KEYS])

    await until(complete)
    for key in KEYS:
        assert await heard(runtime, key) == numbers


async def test_the_server_is_killed_while_events_flow(runtime: Runtime, server: NatsServer) -> None:
    kills = 0
    for number in range(ROUNDS):
        await say(runtime, number)
        if number % 10 == 4:
            await until(_some(runtime, number))
            server.kill()
            kills += 1
        elif number % 10 == 7:
            await server.start()
    assert kills == 3
    await expect(runtime, list(range(ROUNDS)))
    assert runtime.subscription("listener").handled == ROUNDS * len(KEYS)


def _some(runtime: Runtime, number: int) -> Callable[[], Awaitable[bool]]:
    """Whether something of a round has arrived: events are flowing."""

    async def arrived() -> bool:
        return number in await heard(runtime, KEYS[0])

    return arrived


async def test_a_node_starts_again_on_what_is_there(
    runtime: Runtime, server: NatsServer, dsn: str
) -> None:
    await say(runtime, 0)
    await expect(runtime, [0])
    await say(runtime, 1)  # perhaps relayed, perhaps not
    await runtime.stop()
    again = node(dsn, server)
    await again.start()
    await say(again, 2)
    await expect(again, [0, 1, 2])
    await again.stop()


async def test_a_node_needs_the_broker_to_start(dsn: str, server: NatsServer) -> None:
    server.kill()
    refused = node(dsn, server)
    with pytest.raises(BrokerUnavailable, match="start one"):
        await refused.start()
    assert refused.supervisor.names() == []
    await server.start()
    runtime = node(dsn, server)
    await runtime.start()
    await runtime.stop()


async def test_plain_clients_publish_and_subscribe(runtime: Runtime, server: NatsServer) -> None:
    plain = await nats.connect(server.url)
    stream = plain.jetstream()
    headers = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/x", "ce-type": "Said"}
    body = b'{"key":"k0","number":7}'
    await stream.publish("talk.said", body, headers={**headers, "ce-subject": "k0"})
    await stream.publish("talk.said", b"no event at all")

    async def taken() -> bool:
        letters = await Operations(runtime).letters("listener")
        return bool(letters) and await heard(runtime, "k0") == [7]

    await until(taken)
    (letter,) = await Operations(runtime).letters("listener")
    assert (letter.status, letter.code) == (LetterStatus.DEAD, "event.malformed")
    await runtime.publish(said, (Said("k1", 8),))
    reading = await stream.subscribe("talk.said.*.k1", ordered_consumer=True)
    message = await reading.next_msg(timeout=LONG)
    assert message.data == b'{"key":"k1","number":8}'
    assert message.headers is not None
    assert message.headers["ce-type"] == "Said"
    assert message.headers["ce-source"] == "/talk/topics/said"
    await plain.close()


async def test_streams_of_a_store_that_is_gone_are_not_taken(
    runtime: Runtime, server: NatsServer, postgres: Server
) -> None:
    await say(runtime, 0)
    await expect(runtime, [0])
    await runtime.stop()
    other = node(await postgres.fresh(16), server)
    with pytest.raises(ConfigurationError, match="another store"):
        await other.start()


async def test_a_stream_that_is_gone_is_told_and_another_one_begun(
    dsn: str, server: NatsServer
) -> None:
    first = node(dsn, server)
    await first.start()
    for number in range(3):
        await say(first, number)
    await expect(first, [0, 1, 2])
    await first.stop()
    plain = await nats.connect(server.url)
    await plain.jetstream().delete_stream("talk-said")
    with pytest.raises(ConfigurationError, match="no stream 'talk-said' any more"):
        await node(dsn, server).start()
    store = Store(dsn)
    await store.open()
    await store.commit(Commit(registry={"topics/said": None}))
    await store.close()
    again = node(dsn, server)
    await again.start()
    await say(again, 3)
    await expect(again, [0, 1, 2, 3])
    await again.stop()
    await plain.jetstream().delete_stream("talk-said")
    await plain.jetstream().add_stream(name="talk-said", subjects=["talk.said"])
    with pytest.raises(ConfigurationError, match="belongs to another topic"):
        await node(dsn, server).start()
    await plain.close()
