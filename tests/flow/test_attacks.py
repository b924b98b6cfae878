# mypy: disable-error-code="empty-body"
"""Flows that once lost, stuck or spoiled something: poison values, readers far behind, unknown
outcomes of what an operator asks for."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from eventmill import (
    Context,
    Effect,
    EntityDeleted,
    Event,
    EventSourcedEntity,
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
    send,
)
from eventmill.adapters.sqlite.store import Store as SqliteStore
from eventmill.errors import Conflict, EventmillError, HandlerFailed, Unavailable
from eventmill.model import limits
from eventmill.model.commit import Commit, LetterStatus
from eventmill.model.events import event_type_of
from eventmill.model.pushing import read as pushing_of
from eventmill.ports.sender import Answer
from eventmill.runtime.runtime import Runtime
from eventmill.runtime.topics.publisher import Message
from eventmill.runtime.views.projector import Projector
from eventmill.testing import FaultyStore, Host, VirtualClock

HOUR = timedelta(hours=1)


class Ping(Event):
    id: str
    n: int = 0


class Added(Event):
    n: int


pings = Topic("pings", Ping, key="id")
seen: list[tuple[str, int]] = []
deletions: list[str] = []


@component("account")
class Account(EventSourcedEntity):
    total: int = 0

    @command
    def add(self, n: int) -> Effect[int]:
        if self.total < 0:
            raise Rejected("it is closed")
        return self.persist(Added(n=n)).reply(lambda account: account.total)

    @command
    def wait_for_ever(self) -> Effect[None]:
        return self.persist(Added(n=1)).schedule("late", timedelta.max, Account.add, "b", 1)

    @command
    def expire_never(self) -> Effect[None]:
        return self.persist(Added(n=1)).expiring(timedelta.max)

    @command
    def end(self) -> Effect[None]:
        return self.delete()

    @on(Added)
    def added(self, event: Added) -> None:
        self.total += event.n


@component("totals")
class Totals(View):
    class Row(Record):
        id: str
        n: int = 0

    @on(Account)
    def change(self, event: Added, row: Row | None, context: Context) -> Row | None:
        return Totals.Row(id=context.subject, n=(row.n if row else 0) + event.n)

    @query("SELECT * FROM totals ORDER BY id")
    def all(self) -> list[Row]: ...


@consumer("deletions", source=Account)
def note_deletion(event: EntityDeleted, ctx: Context) -> None:
    deletions.append(ctx.subject)


@consumer("latest", source=pings, start="latest")
def latest(event: Ping) -> None:
    seen.append((event.id, event.n))


@consumer("poisoned", source=pings, retry=Retry(attempts=1))
def poisoned(event: Ping) -> Effect[None] | None:
    match event.id:
        case "file":
            raise ValueError("cannot open \udce9.txt")
        case "late":
            return schedule("late", timedelta.max, Account.add, "b", 1)
        case "bad":
            if event.n == 0:
                raise ValueError("poison")
    seen.append((event.id, event.n))
    return None


@consumer("batches", source=pings, retry=Retry(attempts=1))
def batches(events: list[Ping]) -> None:
    if any(event.id == "bad" for event in events):
        raise ValueError("poison")
    seen.extend((event.id, event.n) for event in events)


@consumer("sender", source=pings)
def pass_on(event: Ping) -> Effect[None]:
    return send(Account.add, event.id, n=event.n)


@pytest.fixture(autouse=True)
def fresh() -> None:
    seen.clear()
    deletions.clear()


def with_letters(commit: Commit) -> bool:
    return bool(commit.settled)


def redrives(commit: Commit) -> bool:
    return any(letter.status is LetterStatus.RETRYING for letter in commit.letters)


async def test_a_consumer_of_the_latest_begins_once(store: FaultyStore) -> None:
    async with Host(Service("s", components=[latest], topics=[pings]), store=store) as host:
        await host.operations.pause("latest")
        await host.publish(pings, Ping(id="a"))
        await host.restart()
        await host.operations.resume("latest")
        await host.settle()
        assert seen == [("a", 0)]


async def test_an_error_whose_text_is_no_unicode_is_parked(store: FaultyStore) -> None:
    service = Service("s", components=[Account, poisoned], topics=[pings])
    async with Host(service, store=store, patience=2) as host:
        await host.publish(pings, Ping(id="file"), Ping(id="a"))
        (letter,) = await host.letters()
        assert letter.error == r"cannot open \udce9.txt"
        assert letter.status is LetterStatus.DEAD
        assert seen == [("a", 0)]


async def test_a_timer_beyond_all_times_fails_its_handler_alone(store: FaultyStore) -> None:
    service = Service("s", components=[Account, poisoned], topics=[pings])
    async with Host(service, store=store, patience=2) as host:
        good, *bad = await asyncio.gather(
            host.call(Account.add, "a", n=1),
            host.call(Account.wait_for_ever, "b"),
            host.call(Account.expire_never, "c"),
            return_exceptions=True,
        )
        assert good == 1
        assert all(isinstance(error, HandlerFailed) for error in bad), bad
        await host.publish(pings, Ping(id="late"), Ping(id="a"))
        (letter,) = await host.letters()
        assert letter.status is LetterStatus.DEAD
        assert seen == [("a", 0)]


async def test_what_precedes_an_undecodable_entry_in_a_batch_does_not_wait_behind_it(
    store: FaultyStore,
) -> None:
    name = event_type_of(Ping).name
    service = Service("s", components=[batches], topics=[pings])
    async with Host(service, store=store) as host:
        payloads = [
            ("a", b'{"id":"a","n":1}'),
            ("a", b'{"id":"a","n":"x"}'),
            ("bad", b'{"id":"bad"}'),
        ]
        await host.runtime.publisher.messages(
            "pings", [Message(name, 1, key, payload) for key, payload in payloads]
        )
        dead = await host.letters()
        found = sorted((x.entry.payload, x.status) for x in dead)
        assert found == [(payloads[1][1], "dead"), (payloads[2][1], "dead")]
        assert seen == [("a", 1)]
        await host.operations.discard("batches")
        await host.publish(pings, Ping(id="a", n=3))
        await host.settle()
        assert seen == [("a", 1), ("a", 3)]


async def test_a_discard_of_unknown_outcome_leaves_no_key_blocked(store: FaultyStore) -> None:
    service = Service("s", components=[Account, poisoned], topics=[pings])
    async with Host(service, store=store) as host:
        await host.publish(pings, Ping(id="bad"))
        assert len(await host.letters()) == 1
        store.fail(when="after", matching=with_letters)
        with pytest.raises(Unavailable):
            await host.operations.discard("poisoned")
        await host.publish(pings, Ping(id="bad", n=1))
        await host.advance(HOUR)
        assert seen == [("bad", 1)]
        assert await host.letters() == []


async def test_a_discard_that_failed_leaves_its_letter_dead(store: FaultyStore) -> None:
    service = Service("s", components=[Account, poisoned], topics=[pings])
    async with Host(service, store=store) as host:
        await host.publish(pings, Ping(id="bad"))
        (before,) = await host.letters()
        store.fail(matching=with_letters)
        with pytest.raises(Unavailable):
            await host.operations.discard("poisoned")
        await host.advance(HOUR)
        assert await host.letters() == [before]
        assert await host.operations.discard("poisoned") == 1


async def test_a_redrive_of_unknown_outcome_is_tried(store: FaultyStore) -> None:
    service = Service("s", components=[Account, poisoned], topics=[pings])
    async with Host(service, store=store) as host:
        await host.publish(pings, Ping(id="bad"))
        assert len(await host.letters()) == 1
        store.fail(when="after", matching=redrives)
        with pytest.raises(Unavailable):
            await host.operations.redrive("poisoned")
        await host.advance(HOUR)
        (letter,) = await host.letters()
        assert letter.status is LetterStatus.DEAD


async def test_a_reset_of_unknown_outcome_is_noticed(store: FaultyStore) -> None:
    service = Service("s", components=[Account, poisoned], topics=[pings])
    async with Host(service, store=store) as host:
        await host.publish(pings, Ping(id="a"), Ping(id="bad"))
        assert len(await host.letters()) == 1
        store.fail(when="after", matching=with_letters)
        with pytest.raises(Unavailable):
            await host.operations.reset("poisoned", "beginning")
        await host.settle()
        assert seen == [("a", 0), ("a", 0)]


async def test_a_deleted_entity_stays_until_everybody_has_read_its_deletion(
    store: FaultyStore,
) -> None:
    service = Service("s", components=[Account, Totals, note_deletion])
    async with Host(service, store=store) as host:
        await host.call(Account.add, "a", n=1)
        await host.settle()
        await host.operations.pause("totals")
        await host.operations.pause("deletions")
        await host.call(Account.end, "a")
        await host.advance(timedelta(days=8))
        await host.restart()  # nothing is in memory any more
        await host.operations.resume("totals")
        await host.operations.resume("deletions")
        assert await host.query(Totals.all) == []
        assert deletions == ["a"]
        await host.advance(2 * HOUR)
        assert await store.journal.load("account", "a") == (None, [])


async def test_a_build_across_a_purge_leaves_no_row(
    store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Projector, "batch", 1)
    monkeypatch.setattr(limits, "DISPATCH_BATCH", 1)
    async with Host(Service("s", components=[Account, Totals]), store=store) as host:
        await host.call(Account.add, "a", n=1)
        await host.call(Account.add, "b", n=1)
        await host.call(Account.end, "a")
        await host.advance(timedelta(days=6, hours=23))
        await host.restart()
        number = await host.operations.rebuild("totals")
        build = host.runtime.subscriptions[f"totals@{number}"]
        shard = store.placement.entity("a")
        while build.positions[shard] < 1:  # noqa: ASYNC110 - a counter, not an event
            await asyncio.sleep(0)
        build.pause()
        assert build.positions[shard] == 1
        await host.advance(2 * HOUR)
        build.resume()
        await host.advance(HOUR)
        assert (await host.operations.views())[0]["live"]["version"] == number
        assert [row.id for row in await host.query(Totals.all)] == ["b"]


async def test_a_sent_command_is_not_refused_by_what_never_became_true(
    store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service("s", components=[Account, pass_on], topics=[pings])
    async with Host(service, store=store) as host:
        courier = host.runtime.subscription("$courier")
        courier.pause()
        await host.publish(pings, Ping(id="a", n=5), Ping(id="b", n=7))
        await host.settle()
        gate = asyncio.Event()
        store.fail(matching=lambda commit: bool(commit.entries), until=gate)
        closing = asyncio.create_task(host.call(Account.add, "a", n=-1))  # closes it
        while store.to_come:  # noqa: ASYNC110 - a counter, not an event
            await asyncio.sleep(0)
        # The next entity takes its time to load: the first one's fate is known before.
        load = host.runtime.entities.cells.load

        async def slowly(key: tuple[str, str]) -> None:
            if key[1] == "b":
                gate.set()
                await asyncio.wait({closing})
            await load(key)

        monkeypatch.setattr(host.runtime.entities.cells, "load", slowly)
        courier.resume()
        with pytest.raises(Unavailable):
            await closing
        await host.advance(HOUR)
        assert await host.letters() == []
        assert await host.call(Account.add, "a", n=0) == 5
        assert await host.call(Account.add, "b", n=0) == 7


async def test_more_watchers_than_queries_at_once_all_see_a_change(tmp_path: Path) -> None:
    count = 3 * limits.VIEW_QUERIES_MAX
    changed: list[int] = []
    failed: list[EventmillError] = []
    service = Service("s", components=[Account, Totals])
    async with Host(service, store=SqliteStore(tmp_path)) as host:
        await host.call(Account.add, "a", n=1)
        await host.settle()

        async def watch(number: int) -> None:
            rows = host.runtime.watch_view("totals", "all", {})
            try:
                await anext(rows)
                watching.release()
                await anext(rows)
                changed.append(number)
            except EventmillError as error:
                failed.append(error)

        watching = asyncio.Semaphore(0)
        watchers = []
        for number in range(count):
            watchers.append(asyncio.create_task(watch(number)))
            await watching.acquire()
        await asyncio.sleep(0)
        await host.call(Account.add, "a", n=1)
        while not all(watcher.done() for watcher in watchers):
            await host.advance(timedelta(seconds=1))
        assert failed == []
        assert sorted(changed) == list(range(count))


class Nowhere:
    """A sender to nobody."""

    def check(self, sink: str) -> None:
        """All are fine."""

    async def send(
        self, sink: str, headers: dict[str, str], body: bytes, *, method: str, seconds: float
    ) -> Answer:
        return Answer(200)

    async def close(self) -> None:
        """Nothing is held."""


async def test_an_end_of_a_pushed_subscription_that_failed_can_be_asked_for_again(
    store: FaultyStore,
) -> None:
    definition, _ = Service("s", components=[], topics=[pings]).define()
    clock = VirtualClock()
    runtime = Runtime(definition, store, clock, lambda: 0.5, sender=Nowhere())
    await runtime.start()
    proposal = b'{"id":"one","sink":"https://example.com","protocol":"HTTP","source":"pings"}'
    await runtime.pushes.create(pushing_of(proposal))
    store.fail(matching=lambda commit: bool(commit.registry))
    with pytest.raises(Unavailable):
        await runtime.pushes.delete("one")
    assert [one.id for one in runtime.pushes.list()] == ["one"]
    assert not runtime.pushes.is_paused("one")
    store.fail(matching=lambda commit: bool(commit.forgotten))
    await runtime.pushes.delete("one")
    assert runtime.pushes.list() == []
    with pytest.raises(Conflict, match="still being ended"):
        await runtime.pushes.create(pushing_of(proposal))
    async with asyncio.timeout(10):
        while True:  # it can be taken once this node has seen that nothing of it is left
            try:
                await runtime.pushes.create(pushing_of(proposal))
                break
            except Conflict:
                await clock.advance(1)
    assert [one.id for one in runtime.pushes.list()] == ["one"]
    await runtime.stop()
