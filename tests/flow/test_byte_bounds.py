"""Few large payloads are bounded like many small ones: no commit, batch or load holds up the loop."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from eventmill import (
    Effect,
    Event,
    EventSourcedEntity,
    Overloaded,
    Retry,
    Service,
    Topic,
    command,
    component,
    consumer,
    on,
    publish,
    query,
)
from eventmill.adapters.sqlite.store import Store
from eventmill.errors import TooLarge
from eventmill.model import limits
from eventmill.model.commit import Commit
from eventmill.ports.store import Scan
from eventmill.runtime.operating.inspection import Inspection
from eventmill.sdk.consumer import Consumer
from eventmill.testing import FaultyStore, Host
from tests.faults import inprocess

FULL = limits.PAYLOAD_BYTES_MAX - 100


class Text(Event):
    text: str = ""


texts = Topic("texts", Text)
keyed = Topic("keyed", Text, key=lambda event: event.text[0])
echoes = Topic("echoes", Text, key=lambda event: event.text[0])


@component("book")
class Book(EventSourcedEntity):
    snapshot_every = 0
    size: int = 0
    pages: int = 0

    @command
    def write(self, size: int, times: int = 1) -> Effect[int]:
        events = [Text(text="x" * size) for _ in range(times)]
        return self.persist(*events).reply(lambda book: book.pages)

    @command
    def label(self, size: int) -> Effect[None]:
        return self.persist(Text()).with_metadata(label="x" * size)

    @command
    def read_out(self, size: int, times: int) -> Effect[None]:
        return publish(texts, *(Text(text="x" * size) for _ in range(times)))

    @query
    def content(self) -> tuple[int, int]:
        return self.pages, self.size

    @on(Text)
    def written(self, event: Text) -> None:
        self.pages += 1
        self.size += len(event.text)


service = Service("library", components=[Book], topics=[texts])


def size_of(commit: Commit) -> int:
    return sum(len(entry.payload) for entry in commit.entries)


async def test_a_commit_is_full_when_its_bytes_are_enough(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        sizes: list[int] = []
        host.runtime.committer.on_commit.append(lambda commit: sizes.append(size_of(commit)))
        calls = [host.call(Book.write, f"b{n}", FULL) for n in range(20)]
        messages = [host.publish(texts, Text(text="x" * FULL)) for _ in range(5)]
        await asyncio.gather(*calls, *messages)
        assert sum(sizes) >= 25 * FULL
        assert max(sizes) <= limits.COMMIT_BYTES_MAX + limits.PAYLOAD_BYTES_MAX


async def test_metadata_count_in_what_a_commit_holds(
    store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Host(service, store=store) as host:
        await asyncio.gather(*(host.call(Book.content, f"b{n}") for n in range(8)))
        monkeypatch.setattr(limits, "COMMIT_BYTES_MAX", 20_000)
        counts: list[int] = []
        host.runtime.committer.on_commit.append(lambda commit: counts.append(len(commit.entries)))
        await asyncio.gather(*(host.call(Book.label, f"b{n}", 10_000) for n in range(8)))
        assert sum(counts) == 8
        assert max(counts) <= 2


async def test_what_waits_for_the_disk_is_bounded_in_bytes(
    store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Host(service, store=store) as host:
        await asyncio.gather(*(host.call(Book.content, f"b{n}") for n in range(100)))
        monkeypatch.setattr(limits, "COMMIT_BYTES_MAX", 1_000)
        calls = [host.call(Book.write, f"b{n}", 500) for n in range(100)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        refused = [isinstance(answer, Overloaded) for answer in answers]
        assert 0 < len(refused) - sum(refused) <= 2 * (limits.COMMITS_WAITING_MAX + 1)
        assert all(answer == 1 or isinstance(answer, Overloaded) for answer in answers)


async def test_an_effect_of_too_many_bytes(store: FaultyStore) -> None:
    most = limits.EFFECT_BYTES_MAX // limits.PAYLOAD_BYTES_MAX
    async with Host(service, store=store) as host:
        assert await host.call(Book.write, "a", FULL, most) == most
        with pytest.raises(TooLarge, match=r"Book\.write .* persists \d+ bytes at once"):
            await host.call(Book.write, "a", FULL, most + 1)
        await host.call(Book.read_out, "a", FULL, most)
        with pytest.raises(TooLarge, match=r"Book\.read_out .* sends and schedules \d+ bytes"):
            await host.call(Book.read_out, "a", FULL, most + 1)
        assert await host.call(Book.content, "a") == (most, most * FULL)


async def test_a_batch_of_a_subscription_is_bounded_in_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SCAN_BYTES_MAX", 1_000)
    sizes: list[int] = []

    @consumer("reader", source=texts)
    def read(events: list[Text]) -> None:
        sizes.append(len(events))

    service = Service("library", components=[read], topics=[texts])
    store = Store(tmp_path)
    async with inprocess.running(service, store) as runtime:
        await runtime.roster.pause("reader")
        await runtime.publish(texts, tuple(Text(text="x" * 400) for _ in range(10)))
        await runtime.roster.resume("reader")  # reads the tail in memory
        await inprocess.drained(runtime)
        assert sizes == [3, 3, 3, 1]
        await runtime.roster.pause("reader")
        await runtime.publish(texts, tuple(Text(text="x" * 400) for _ in range(10)))
    sizes.clear()
    async with inprocess.running(service, store) as runtime:
        await runtime.roster.resume("reader")  # reads the store
        await inprocess.drained(runtime)
        assert sizes == [3, 3, 3, 1]


def loud(kind: str, calls: list[str]) -> Consumer:
    """A consumer that makes a large message of each small one; the last of each key fails."""

    def react(event: Text) -> Effect[None]:
        calls.append(event.text)
        if event.text.endswith("9"):
            raise ValueError("torn")
        return publish(echoes, Text(text=event.text.ljust(1_000, ".")))

    async def lane(event: Text) -> Effect[None]:
        await asyncio.sleep(0)
        return react(event)

    def whole(events: list[Text]) -> Effect[None]:
        (effect,) = [react(event) for event in events]  # fails unless it is given one alone
        return effect

    functions = {"sync": react, "async": lane, "batch": whole}
    return consumer("loud", source=keyed, retry=Retry(attempts=1))(functions[kind])


@pytest.mark.parametrize("kind", ["sync", "async", "batch"])
async def test_large_effects_of_small_events_are_committed_in_portions(
    store: FaultyStore, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    calls: list[str] = []
    loudly = Service("library", components=[loud(kind, calls)], topics=[keyed, echoes])
    monkeypatch.setattr(limits, "COMMIT_BYTES_MAX", 10_000)
    async with Host(loudly, store=store) as host:
        sizes: list[int] = []
        host.runtime.committer.on_commit.append(lambda commit: sizes.append(size_of(commit)))
        probe = host.probe(echoes)
        await host.operations.pause("loud")
        names = [f"{key}{n}" for n in range(10) for key in "abcdefgh"]
        await host.publish(keyed, *(Text(text=name) for name in names))
        await host.operations.resume("loud")
        await host.settle()
        heard = [e.text.rstrip(".") for e in await probe.expect_n(72, Text)]
        assert max(sizes) < 13_000  # what all letters and a message more may bring
        for key in "abcdefgh":
            assert [name for name in heard if name[0] == key] == [f"{key}{n}" for n in range(9)]
        assert sorted(letter.key for letter in await host.letters()) == [
            f"keyed/{key}" for key in "abcdefgh"
        ]
        if kind != "batch":  # which is given all of them first
            assert sorted(calls) == sorted(names)


async def test_large_effects_of_parked_events_are_committed_in_portions(
    store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    mended = False

    @consumer("loud", source=keyed, retry=Retry(attempts=1))
    def loud(event: Text) -> Effect[None]:
        if not mended:
            raise ValueError("torn")
        return publish(echoes, Text(text=event.text.ljust(1_000, ".")))

    loudly = Service("library", components=[loud], topics=[keyed, echoes])
    monkeypatch.setattr(limits, "COMMIT_BYTES_MAX", 10_000)
    async with Host(loudly, store=store) as host:
        sizes: list[int] = []
        host.runtime.committer.on_commit.append(lambda commit: sizes.append(size_of(commit)))
        probe = host.probe(echoes)
        await host.publish(keyed, *(Text(text=f"a{n}") for n in range(50)))
        await host.settle()
        mended = True
        await host.operations.redrive("loud")
        await host.settle(retries=True)
        assert len(await probe.expect_n(50, Text)) == 50
        assert max(sizes) < 12_000


async def test_a_long_history_is_folded_while_others_work(store: FaultyStore) -> None:
    pages = 5
    async with Host(service, store=store) as host:
        for _ in range(pages):
            await host.call(Book.write, "a", 1, limits.EVENTS_PER_EFFECT_MAX)
        await host.restart()
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        working = asyncio.ensure_future(others())
        count = pages * limits.EVENTS_PER_EFFECT_MAX
        assert await host.call(Book.content, "a") == (count, count)
        working.cancel()
        assert turns >= count // limits.SCAN_ROWS - 1  # one between two pages


async def test_large_events_are_read_in_portions_and_whole(
    store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SCAN_BYTES_MAX", 1_000)
    async with Host(service, store=store) as host:
        for size in (100, 900, 989, 990, 5_000, 0, 3):
            await host.call(Book.write, "a", size)
        await host.restart()
        assert await host.call(Book.content, "a") == (7, 7_982)
        await host.publish(texts, *(Text(text="x" * 600) for _ in range(7)))
        await host.settle()
        looks = Inspection(host.runtime)
        assert len(await looks.events("book", "a")) == 7
        assert len((await looks.last_messages("texts", limit=9)).messages) == 7


async def test_pages_of_the_operating_surface_end_by_bytes(
    store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PAGE_BYTES_MAX", 3_000)
    monkeypatch.setattr(limits, "SCAN_BYTES_MAX", 2_000)
    async with Host(service, store=store) as host:
        looks = Inspection(host.runtime)
        for _ in range(10):
            await host.call(Book.write, "a", 1_000)
        events = await looks.events("book", "a")
        assert [entry.sequence for entry in events] == [1, 2, 3, 4]  # a page, and the next two
        await host.publish(texts, *(Text(text=f"{n}" * 1_000) for n in range(9)))
        await host.settle()
        last = await looks.last_messages("texts", limit=9)
        assert [entry.payload[9:10] for entry in last.messages] == [b"6", b"7", b"8"]
        (one,) = (await looks.last_messages("texts", limit=1)).messages
        assert one.payload == last.messages[-1].payload
        found, position = [], "beginning"
        while (page := await looks.messages("texts", after=position, limit=9)).messages:
            assert len(page.messages) <= 4
            found += [entry.payload[9:10] for entry in page.messages]
            position = page.position
        assert found == [b"%d" % n for n in range(9)]


async def test_the_last_message_is_found_without_reading_all_before_it(
    store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Host(service, store=store) as host:
        await host.publish(texts, *(Text(text=f"{n}") for n in range(500)))
        await host.settle()
        looked: list[int] = []
        read = host.runtime.tails.between

        async def between(shard: int, low: int, high: int, sources: frozenset[str]) -> Scan:
            looked.append(high - low)
            return await read(shard, low, high, sources)

        monkeypatch.setattr(host.runtime.tails, "between", between)
        last = await Inspection(host.runtime).last_messages("texts", limit=1)
        assert [entry.payload for entry in last.messages] == [b'{"text":"499"}']
        assert sum(looked) < 20
