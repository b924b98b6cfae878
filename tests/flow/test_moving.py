"""A store moves from SQLite to PostgreSQL and back: everything in it goes on as if it had not."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from eventmill import (
    Context,
    Effect,
    Event,
    EventSourcedEntity,
    KeyValueEntity,
    Record,
    Rejected,
    Retry,
    Service,
    Topic,
    View,
    command,
    component,
    consumer,
    on,
    query,
    schedule,
    scheduled,
    send,
    timed,
)
from eventmill.adapters.postgres import archive as postgres_archive
from eventmill.adapters.postgres import restoring
from eventmill.adapters.postgres.store import Store as PostgresStore
from eventmill.adapters.sqlite import archive as sqlite_archive
from eventmill.adapters.sqlite.store import Store as SqliteStore
from eventmill.model.entry import metadata_of
from eventmill.runtime.turns import past
from eventmill.testing import Host, VirtualClock
from eventmill.testing.postgres import Server

SHARDS = 16
IDS = [f"s{n}" for n in range(12)] + ["ü/é", "a\0b"]

CLOSED = "s11"
"""From some time on."""

OPEN = [id for id in IDS if id != CLOSED]


class Sold(Event):
    number: int


class Paid(Event):
    number: int


class Told(Event):
    shop: str
    number: int


news = Topic("news", Told, key="shop")
echo = Topic("echo", Told, key="shop")


@component("shop")
class Shop(EventSourcedEntity):
    snapshot_every = 7
    retention = timedelta(days=2)
    total: int = 0
    broken: bool = False

    @command
    def sell(self, number: int) -> Effect[int]:
        return (
            self.persist(Sold(number=number))
            .publish(news, Told(shop=self.entity_id, number=number))
            .send(Bank.pay, "main", number)
            .reply(lambda shop: shop.total)
        )

    @command
    def remind(self, minutes: float) -> Effect[None]:
        return self.persist(Sold(number=0)).schedule(
            f"remind/{self.entity_id}", timedelta(minutes=minutes), Bank.pay, "timers", 1
        )

    @command
    def close(self) -> Effect[None]:
        return self.delete()

    @query
    def content(self) -> int:
        return self.total

    @on(Sold)
    def sold(self, event: Sold) -> None:
        self.total += event.number


@component("bank")
class Bank(EventSourcedEntity):
    total: int = 0

    @command
    def pay(self, number: int) -> Effect[int]:
        if number in BROKEN and self.entity_id == "main":
            raise ValueError("the bank is broken")
        if number in REFUSED and self.entity_id == "main":
            raise Rejected("not this one")
        return self.persist(Paid(number=number)).reply(lambda bank: bank.total)

    @query
    def content(self) -> int:
        return self.total

    @on(Paid)
    def paid(self, event: Paid) -> None:
        self.total += event.number


@component("label")
class Label(KeyValueEntity):
    keep_history = timedelta(days=365)

    text: str = ""

    @command
    def write(self, text: str) -> Effect[None]:
        return self.update(text=text)

    @query
    def read(self) -> str:
        return self.text


@component("totals")
class Totals(View):
    class Row(Record):
        shop: str
        total: int = 0
        share: float = 0.0

    @on(Shop)
    def change(self, event: Sold, row: Row | None, context: Context) -> Row:
        total = (row.total if row else 0) + event.number
        return Totals.Row(shop=context.subject, total=total, share=total / 7)

    @query("SELECT * FROM totals WHERE total >= :least ORDER BY shop")
    def all(self, least: int = 0) -> list[Row]: ...


BROKEN: set[int] = set()
"""What the bank cannot take."""

REFUSED: set[int] = set()
"""What it does not want."""


class World:
    """The service, what its consumers saw, and what they stumble over."""

    def __init__(self) -> None:
        self.seen: dict[str, list[tuple[str, int]]] = defaultdict(list)
        """By consumer: ids and numbers of the events it has handled."""
        self.poison: set[int] = set()

        def handled(name: str, event: Told, context: Context) -> None:
            self.seen[name].append((context.event_id, event.number))

        @consumer("reader", source=news)
        async def read(event: Told, context: Context) -> None:
            handled("reader", event, context)

        @consumer("later", source=news)
        async def later(event: Told, context: Context) -> None:
            handled("later", event, context)

        @consumer("booker", source=Shop, retry=Retry(attempts=1))
        async def book(event: Sold, context: Context) -> None:
            await context.call(Bank.pay, "booked", event.number)
            await context.publish(echo, Told(shop=context.subject, number=event.number))
            if event.number in self.poison:
                raise ValueError(f"{event.number} is poison")

        @consumer("gone", source=news)
        async def gone(event: Told, context: Context) -> None:
            handled("gone", event, context)

        parts = [Shop, Bank, Label, Totals, read, later, book]
        self.service = Service("market", components=parts, topics=[news, echo])
        self.former = Service("market", components=[*parts, gone], topics=[news, echo])
        """Its former version."""


@asynccontextmanager
async def running(service: Service, store: Any, clock: VirtualClock) -> AsyncIterator[Host]:
    async with Host(service, store=store, clock=clock) as host:
        yield host


async def content(host: Host, times: list[int]) -> dict[str, Any]:
    """Return everything that can be observed."""
    runtime, store = host.runtime, host.runtime.store
    await host.settle(retries=True)
    found: dict[str, Any] = {"rows": await host.query(Totals.all)}
    definitions = runtime.service.entities
    for source in ("shop", "bank", "label"):
        for subject, sequence in await store.journal.subjects(source, limit=100):
            entries = await store.journal.history(source, subject, limit=1_000)
            found[source, subject] = (
                sequence,
                [
                    (
                        e.id,
                        e.sequence,
                        e.type,
                        e.version,
                        e.time,
                        e.payload,
                        metadata_of(e),
                        e.origin,
                    )
                    for e in entries
                ],
            )
            for time in times:
                live = await past.restore(
                    store.journal, definitions[source], subject, sequence=None, time=time
                )
                state = live.definition.encode_state(live.state)
                found["as of", time, source, subject] = state, live.deleted
    for topic in ("news", "echo"):
        keys = found[topic] = defaultdict(list)
        for shard in store.placement.of_topic(topic):
            scan = await store.journal.read(shard, 0, limit=100_000, sources=frozenset({topic}))
            for e in scan.entries:
                keys[e.subject].append((e.id, e.type, e.time, e.payload, metadata_of(e)))
    found["letters"] = sorted(
        (x.subscription, x.key, x.entry.id, x.status, x.attempts, x.due, x.code, x.error)
        for x in await host.letters()
    )
    found["timers"] = [(t.name, t.due, t.command.payload) for t in await store.timers(limit=100)]
    found["facts"] = await store.registry()
    found["paused"] = [n for n, s in runtime.subscriptions.items() if s.paused and n != "gone"]
    return found


async def busy(host: Host, begin: int, ids: list[str]) -> None:
    """Let something of everything happen."""
    for n, id in enumerate(ids):
        for step in range(3):
            await host.call(Shop.sell, id, begin + 10 * n + step)
        await host.call(Label.write, id, f"{begin}{id}")
    await host.settle()


async def to_postgres(directory: Path, dsn: str) -> None:
    file = io.BytesIO()
    sqlite_archive.export(directory, file, lambda done, total: None)
    file.seek(0)
    await restoring.restore(dsn, SHARDS, file, lambda done, total: None)


async def to_sqlite(dsn: str, directory: Path) -> None:
    file = io.BytesIO()
    await postgres_archive.export(dsn, file, lambda done, total: None)
    file.seek(0)
    sqlite_archive.restore(directory, file, lambda done, total: None)


@pytest.fixture
async def dsn(postgres: Server) -> str:
    await postgres.execute("DROP DATABASE IF EXISTS moving WITH (FORCE)")
    await postgres.execute("CREATE DATABASE moving")
    return postgres.dsn("moving")


@pytest.fixture(autouse=True)
def mended() -> None:
    BROKEN.clear()
    REFUSED.clear()


async def test_everything_goes_on_in_postgresql_and_back(tmp_path: Path, dsn: str) -> None:
    world, clock = World(), VirtualClock()
    async with running(world.former, SqliteStore(tmp_path / "first"), clock) as host:
        await busy(host, 1_000, IDS)
        await host.runtime.roster.pause("gone")
    times = [clock.now()]
    async with running(world.service, SqliteStore(tmp_path / "first"), clock) as host:
        await host.advance(timedelta(minutes=5))
        await host.runtime.roster.pause("later")
        world.poison |= {2_010, 2_021}
        BROKEN.update({2_030})
        REFUSED.add(2_000)
        await busy(host, 2_000, IDS)
        REFUSED.clear()
        await host.call(Shop.remind, "s1", 90)
        await host.call(Shop.close, CLOSED)
        assert await host.call_once("once", Shop.sell, "s2", 5) == await host.call(
            Shop.content, "s2"
        )
        times.append(clock.now())
        before = await content(host, times)
        answer = await host.call_once("once", Shop.sell, "s2", 5)
        seen = {name: list(events) for name, events in world.seen.items()}
    assert len(before["letters"]) > 9
    assert len(before["timers"]) == 2

    await to_postgres(tmp_path / "first", dsn)
    async with running(world.service, PostgresStore(dsn), clock) as host:
        assert await content(host, times) == before
        assert await host.call_once("once", Shop.sell, "s2", 5) == answer
        await host.settle()
        assert world.seen == seen  # nothing was delivered again
        world.poison.clear()
        await host.operations.redrive("booker")
        assert await host.operations.redrive("$courier", refused=True) == 1
        BROKEN.clear()
        await host.operations.redrive("$courier")
        await host.settle()
        booked = await host.call(Bank.content, "booked")
        BROKEN.add(3_030)
        REFUSED.add(3_000)
        await busy(host, 3_000, OPEN)
        REFUSED.clear()
        await host.advance(timedelta(hours=2))
        assert await host.call(Bank.content, "timers") == 1
        times.append(clock.now())
        before = await content(host, times)
        seen = {name: list(events) for name, events in world.seen.items()}
    numbers = [b + 10 * i + n for b in (1_000, 2_000) for i in range(len(IDS)) for n in range(3)]
    assert booked == sum(numbers) + 5  # what was retried was not booked again

    await to_sqlite(dsn, tmp_path / "second")
    async with running(world.former, SqliteStore(tmp_path / "second"), clock) as host:
        assert await content(host, times) == before
        assert world.seen == seen
        assert await host.call_once("once", Shop.sell, "s2", 5) == answer
        BROKEN.clear()
        assert await host.operations.redrive("$courier") == 1
        assert await host.operations.redrive("$courier", refused=True) == 1
        await host.runtime.roster.resume("later")
        await host.runtime.roster.resume("gone")
        await host.settle()
        assert not await host.letters()
        everything = world.seen["reader"]
        assert len(everything) == len(set(everything)) == 3 * (2 * len(IDS) + len(OPEN)) + 1
        for name in ("later", "gone"):
            assert sorted(world.seen[name]) == sorted(everything)
        total = sum(number for _, number in everything)
        assert await host.call(Bank.content, "main") == total
        assert await host.call(Bank.content, "timers") == 1


@timed("collect")
def collect(ctx: Context, number: int) -> Effect[None]:
    return send(Bank.pay, "collected", number)


@scheduled(timedelta(hours=1), id="hourly")
def hourly(ctx: Context) -> Effect[None]:
    return send(Bank.pay, "hours", 1)


async def test_actions_and_schedules_go_on_in_postgresql_and_back(tmp_path: Path, dsn: str) -> None:
    clock, service = VirtualClock(), Service("clocks", components=[Bank, collect, hourly])

    async def go_on(host: Host, number: int) -> None:
        """Two ticks and two timers since the last time, one of which was set there."""
        for minutes in (30, 90):
            timer = schedule(f"t{number}-{minutes}", timedelta(minutes=minutes), collect, 1)
            await host.runtime.set_timer(timer.outgoing[0], None)
        await host.advance(timedelta(hours=1))
        assert await host.call(Bank.content, "hours") == number
        assert await host.call(Bank.content, "collected") == 2 * number - 1

    async with running(service, SqliteStore(tmp_path / "first"), clock) as host:
        await go_on(host, 1)
    await to_postgres(tmp_path / "first", dsn)
    async with running(service, PostgresStore(dsn), clock) as host:
        await go_on(host, 2)
    await to_sqlite(dsn, tmp_path / "second")
    async with running(service, SqliteStore(tmp_path / "second"), clock) as host:
        await go_on(host, 3)


async def test_what_is_read_is_known_before_anything_was_read(dsn: str) -> None:
    """Else an export could not tell unread messages from those that nobody asks for."""
    world, clock = World(), VirtualClock()
    async with running(world.service, PostgresStore(dsn), clock) as host:
        read = {shard for name, shard in await host.store.offsets() if name == "reader"}
        assert read == set(host.store.placement.of_topic("news"))
