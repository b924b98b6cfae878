"""The NATS server is killed, stopped and misconfigured while topics and transport are used.

What must hold: nothing that was acknowledged is lost, nothing is stored twice, each key's order is
kept, every outcome becomes known, and all goes on by itself. Each test proves that its fault
happened and that enough succeeded.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
import nats
import pytest

from eventmill.adapters.clock import SystemClock
from eventmill.adapters.nats.broker import Broker
from eventmill.adapters.nats.transport import Transport
from eventmill.errors import BrokerUnavailable, Unavailable, Unreachable
from eventmill.model import limits
from eventmill.model.entry import Entry
from eventmill.testing.contract.broker_harness import (
    SHARDS,
    TOPICS,
    News,
    event_headers,
    outgoing,
    partition_of,
    shard_of,
)
from eventmill.testing.nats_server import NatsServer

KEYS = [f"k{n}" for n in range(20)]
LONG = 60.0
MOVED = 300


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with NatsServer(tmp_path) as server:
        yield server


class CountingClock(SystemClock):
    """A clock that counts the pauses that were made by it: attempts that had no answer."""

    pauses = 0

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        self.pauses += 1


class Relay:
    """Appends the entries of one outbox in order, as the runtime's relay does."""

    def __init__(self, server: NatsServer, shard: int) -> None:
        self.shard = shard
        self.clock = CountingClock()
        self.acknowledged: list[Entry] = []
        self.failures = 0
        self.duplicates = 0
        self._server = server
        self._next = 0

    async def run(self, until: asyncio.Event) -> None:
        luck = random.Random(self.shard)
        broker = Broker([self._server.url], self.clock, service="shop")
        await opened(broker, News())
        while not until.is_set():
            size = luck.choice((1, 2, 30, 200))
            batch = [self._entry(luck) for _ in range(size)]
            while True:
                try:
                    receipts = await broker.append(batch)
                    break
                except BrokerUnavailable:
                    self.failures += 1
            self.duplicates += sum(receipt.duplicate for receipt in receipts)
            self.acknowledged += batch
        await broker.close()

    def _entry(self, luck: random.Random) -> Entry:
        self._next += 1
        return outgoing(self._next, luck.choice(KEYS), shard=self.shard)


Harm = Callable[[NatsServer, list[Relay]], Awaitable[None]]
"""Does harm to a server, while relays use it."""


class Follower:
    """Reads all shards as they grow."""

    def __init__(self, server: NatsServer) -> None:
        self.found: dict[int, list[Entry]] = {shard: [] for shard in range(SHARDS, 2 * SHARDS)}
        self.failures = 0
        self._news = News()
        self._broker = Broker([server.url], SystemClock(), service="shop")

    async def __aenter__(self) -> Follower:
        await opened(self._broker, self._news)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._broker.close()

    async def follow(self, shard: int, expected: asyncio.Future[dict[int, int]]) -> None:
        """Read a shard until as many entries are there as were acknowledged."""
        position = 0
        while not (expected.done() and len(self.found[shard]) >= expected.result()[shard]):
            try:
                scan = await self._broker.read(shard, position, limit=500)
            except BrokerUnavailable:
                self.failures += 1
                await asyncio.sleep(0.05)
                continue
            self.found[shard] += scan.entries
            position = scan.position
            if not scan.entries:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.5):
                        await self._news.of(shard)


async def opened(broker: Broker, news: News) -> None:
    async with asyncio.timeout(LONG):
        while True:
            try:
                await broker.open(SHARDS, TOPICS, partition_of, news.tell)
                return
            except BrokerUnavailable:
                await asyncio.sleep(0.05)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - the relays know of no event for it
        await asyncio.sleep(0.01)


async def stored_further(relays: list[Relay], count: int) -> None:
    """Wait until so many more entries were acknowledged."""
    goal = acknowledged(relays) + count
    await until(lambda: acknowledged(relays) >= goal)


def acknowledged(relays: list[Relay]) -> int:
    return sum(len(relay.acknowledged) for relay in relays)


async def stormed(server: NatsServer, harm: Harm) -> tuple[list[Relay], Follower]:
    """Let relays append and a follower read while the server is harmed; check what must hold."""
    relays = [Relay(server, shard) for shard in range(3)]
    over = asyncio.Event()
    expected: asyncio.Future[dict[int, int]] = asyncio.get_running_loop().create_future()
    async with Follower(server) as follower, asyncio.timeout(LONG), asyncio.TaskGroup() as group:
        working = [group.create_task(relay.run(over)) for relay in relays]
        for shard in follower.found:
            group.create_task(follower.follow(shard, expected))
        await harm(server, relays)
        over.set()
        await asyncio.gather(*working)
        counts = dict.fromkeys(follower.found, 0)
        for relay in relays:
            for entry in relay.acknowledged:
                counts[shard_of(entry.subject)] += 1
        expected.set_result(counts)
    check(relays, follower)
    return relays, follower


def check(relays: list[Relay], follower: Follower) -> None:
    stored = [entry.id for relay in relays for entry in relay.acknowledged]
    found = [entry.origin for entries in follower.found.values() for entry in entries]
    assert len(found) == len(set(found)), "stored twice, or read twice"
    assert sorted(map(str, found)) == sorted(stored)
    for shard, entries in follower.found.items():
        last: dict[tuple[str, str], int] = {}
        for entry in entries:
            assert shard_of(entry.subject) == shard
            outbox, _, position = (entry.origin or "").partition(":")
            assert int(position) > last.get((outbox, entry.subject), 0), "order was not kept"
            last[outbox, entry.subject] = int(position)


async def test_kills_of_the_server_lose_and_repeat_nothing(server: NatsServer) -> None:
    kills = 0

    async def kill(server: NatsServer, relays: list[Relay]) -> None:
        nonlocal kills
        luck = random.Random(1)
        for _ in range(8):
            await stored_further(relays, luck.randint(200, 400))
            server.kill()
            kills += 1
            await server.start()

    relays, _ = await stormed(server, kill)
    assert kills == 8
    assert acknowledged(relays) > 1_600


async def test_a_server_that_stood_still_leaves_no_outcome_unknown(server: NatsServer) -> None:
    async def pause(server: NatsServer, relays: list[Relay]) -> None:
        await stored_further(relays, 200)
        server.pause()
        before = [relay.clock.pauses for relay in relays]
        # All send again while nothing is known.
        await until(lambda: all(r.clock.pauses > b for r, b in zip(relays, before, strict=True)))
        server.resume()
        await stored_further(relays, 200)

    relays, _ = await stormed(server, pause)
    assert sum(relay.duplicates for relay in relays) > 0, "nothing was sent twice"


async def test_plain_messages_are_moved_once_though_the_server_is_killed(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BROKER_ADMITTED_MAX", MOVED // 10)
    broker = Broker([server.url], SystemClock(), service="shop")
    await opened(broker, News())
    plain = await nats.connect(server.url)
    for n in range(MOVED):
        headers = event_headers(id=f"e{n}")
        await plain.jetstream().publish("eventmill.orders", b"{}", headers=headers)
    await plain.close()
    luck, cut_off = random.Random(1), 0
    async with asyncio.timeout(LONG):
        while cut_off < 4:
            moving = asyncio.create_task(broker.admit("orders"))
            for _ in range(luck.randrange(200)):  # somewhere on its way
                await asyncio.sleep(0)
            server.kill()
            await server.start()
            try:
                await moving
            except BrokerUnavailable:
                cut_off += 1
        found = await moved(broker)
    ids = [msgspec.json.decode(entry.metadata or b"")["cloudevent"]["id"] for entry in found]
    assert ids == [f"e{n}" for n in range(MOVED)]
    await broker.close()


async def moved(broker: Broker) -> list[Entry]:
    """Move what is left; return all that was moved."""
    found: list[Entry] = []
    position = 0
    while True:
        try:
            await broker.admit("orders")
            scan = await broker.read(shard_of(""), position, limit=MOVED)
        except BrokerUnavailable:
            await asyncio.sleep(0.01)
            continue
        found += scan.entries
        position = scan.position
        if len(found) >= MOVED and not scan.entries:
            return found


async def test_the_transport_comes_back_with_the_server(server: NatsServer) -> None:
    a, b = (Transport([server.url], node=name) for name in "ab")
    await a.open()
    await b.open()
    await b.serve("x", _echo)
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    await b.listen("news", heard.put_nowait)
    errors: set[type[Exception]] = set()
    for round in range(3):
        server.kill()
        with pytest.raises(Unavailable):
            await a.request("x", b"lost", 5)
        await a.broadcast("news", b"lost")
        await b.serve(f"new {round}", _echo)
        await server.start()
        for address in ("x", f"new {round}"):
            assert await persistent(a, b"%d" % round, errors, address) == b"%d" % round
        async with asyncio.timeout(LONG):
            while heard.empty():
                await a.broadcast("news", b"here")
                await asyncio.sleep(0.02)
        while not heard.empty():
            heard.get_nowait()
    assert errors <= {Unreachable}
    await a.close()
    await b.close()


async def test_a_connection_that_the_client_gives_up_is_made_again(
    server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    a, b = (Transport([server.url], node=name) for name in "ab")
    await a.open()
    await b.open()
    await b.serve("x", _echo)
    server.reload('authorization { user: "somebody", password: "else" }')  # an operator's slip
    async with asyncio.timeout(LONG):  # told when the client has given up, and so has the next one
        await until(lambda: caplog.text.count("NATS cannot be reached") >= 2)
    with pytest.raises(Unavailable):
        await a.request("x", b"x", 5)
    server.reload("")
    assert await persistent(a, b"x", set()) == b"x"
    await a.close()
    await b.close()


async def test_a_closed_transport_lets_go_while_there_is_no_server(server: NatsServer) -> None:
    before = asyncio.all_tasks()
    transport = Transport([server.url])
    await transport.open()
    server.kill()
    async with asyncio.timeout(20):
        await transport.close()
        while asyncio.all_tasks() - before:  # noqa: ASYNC110 - those that go on looking for one
            await asyncio.sleep(0.01)
    with pytest.raises(Unavailable):
        await transport.request("x", b"x", 1)


async def persistent(
    transport: Transport, payload: bytes, errors: set[type[Exception]], address: str = "x"
) -> bytes:
    """Ask until there is an answer."""
    async with asyncio.timeout(LONG):
        while True:
            try:
                return await transport.request(address, payload, 5)
            except Unavailable as error:
                errors.add(type(error))
            await asyncio.sleep(0.02)


async def _echo(payload: bytes) -> bytes:
    return payload
