"""Topics that may take so many bytes: who publishes to a full one comes again, nothing is lost."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from eventmill import (
    WHEN_READ,
    Effect,
    Event,
    EventSourcedEntity,
    Service,
    Topic,
    command,
    component,
    consumer,
    on,
    publish,
    query,
)
from eventmill.adapters.memory.store import Store as MemoryStore
from eventmill.errors import ConfigurationError, TopicFull
from eventmill.http import problems
from eventmill.model import limits
from eventmill.model.topic import WhenRead
from eventmill.runtime.topics import readers
from eventmill.runtime.topics.publisher import Message
from eventmill.testing import FaultyStore, Host
from tests.flow.brokers import need_time_in_hand
from tests.flow.conftest import ENGINES
from tests.flow.journals import everything

BOUND = 100_000
ROUNDS = timedelta(seconds=3 * readers.LOOK_SECONDS)
A_MOMENT = timedelta(seconds=3)


class Filled(Event):
    number: int
    text: str = "x" * 1_000


class Asked(Event):
    number: int


class Counted(Event):
    number: int


@pytest.fixture(autouse=True)
def small_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TOPIC_BYTES_MIN", 1)


@pytest.fixture(params=["broker", "memory", "sqlite", pytest.param("nats", marks=pytest.mark.soak)])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> FaultyStore:
    """Engines that know how large a topic is."""
    made = await ENGINES[request.param](request, tmp_path)
    return made if isinstance(made, FaultyStore) else FaultyStore(made)


class Filling:
    """A service whose topic `filled` is bounded; `seen` are the numbers that its reader has read."""

    def __init__(self, *, read: bool = True, retention: timedelta | WhenRead | None = None) -> None:
        self.filled = Topic("filled", Filled, bytes_max=BOUND, retention=retention)
        self.asked = Topic("asked", Asked)
        self.seen: list[int] = []
        filled = self.filled

        @component("counter")
        class Counter(EventSourcedEntity):
            last: int = 0

            @command
            def count(self, number: int) -> Effect[None]:
                return self.persist(Counted(number)).publish(filled, Filled(number))

            @query
            def latest(self) -> int:
                return self.last

            @on(Counted)
            def counted(self, event: Counted) -> None:
                self.last = event.number

        @consumer("reader", source=filled)
        def see(event: Filled) -> None:
            self.seen.append(event.number)

        @consumer("answerer", source=self.asked)
        def answer(event: Asked) -> Effect[None]:
            return publish(filled, Filled(event.number))

        self.counter = Counter
        components = [Counter, answer, *([see] if read else [])]
        self.service = Service("filling", components=components, topics=[filled, self.asked])


async def fill(host: Host, filling: Filling, numbers: range) -> int:
    """Publish until it is refused; return how many were not."""
    for count, number in enumerate(numbers):
        try:
            await host.publish(filling.filled, Filled(number))
        except TopicFull:
            return count
        await host.advance(timedelta(seconds=1.1))
    return len(numbers)


async def kept(store: FaultyStore) -> int:
    return len(await everything(store, "filled"))


async def test_who_publishes_to_a_full_topic_is_told_and_nothing_unread_goes(
    store: FaultyStore,
) -> None:
    filling = Filling()
    async with Host(filling.service, store=store) as host:
        await host.publish(filling.filled, Filled(0))
        await host.settle()
        await host.operations.pause("reader")
        count = await fill(host, filling, range(1, 200))
        assert 60 < count < 90
        await host.advance(ROUNDS)
        assert await kept(store) >= count, "only the one that was read may be gone"
        with pytest.raises(TopicFull, match=r"consumers\s+list") as refused:
            await host.publish(filling.filled, Filled(-1))
        assert problems.status_of(refused.value) == 429
        assert refused.value.code == "unavailable.topic_full"
        await host.operations.resume("reader")
        await host.advance(ROUNDS)
        assert filling.seen == list(range(count + 1))
        assert await kept(store) < 0.8 * count
        await host.publish(filling.filled, Filled(count + 1))
        await host.settle()
        assert filling.seen[-1] == count + 1


async def test_a_command_that_publishes_is_refused_whole(store: FaultyStore) -> None:
    filling = Filling()
    async with Host(filling.service, store=store) as host:
        await host.call(filling.counter.count, "c", 1)
        await host.settle()
        await host.operations.pause("reader")
        await fill(host, filling, range(200))
        with pytest.raises(TopicFull):
            await host.call(filling.counter.count, "c", 2)
        assert await host.call(filling.counter.latest, "c") == 1
        await host.operations.resume("reader")
        await host.advance(ROUNDS)
        await host.call(filling.counter.count, "c", 3)
        assert await host.call(filling.counter.latest, "c") == 3


async def test_a_consumer_that_publishes_waits(store: FaultyStore) -> None:
    filling = Filling()
    async with Host(filling.service, store=store) as host:
        await host.operations.pause("reader")
        count = await fill(host, filling, range(200))
        await host.publish(filling.asked, *(Asked(1_000 + n) for n in range(20)))
        for _ in range(600):  # it tries again and again, so the host is not settled
            await host.clock.advance(1)
        handled = host.runtime.subscription("answerer")
        assert (handled.handled, handled.failures, len(handled.blocked)) == (0, 0, 0)
        await host.operations.resume("reader")
        await host.advance(timedelta(minutes=5))
        assert filling.seen == [*range(count), *range(1_000, 1_020)]


async def test_a_repetition_of_what_was_published_is_not_refused(store: FaultyStore) -> None:
    filling = Filling()
    async with Host(filling.service, store=store) as host:
        await host.operations.pause("reader")
        message = Message("Filled", 1, "", b'{"number":7,"text":""}', dedupe="once")
        assert await host.runtime.publisher.messages("filled", [message]) == 1
        await fill(host, filling, range(200))
        assert await host.runtime.publisher.messages("filled", [message]) == 0


async def test_a_topic_that_nobody_here_reads_keeps_the_newest(store: FaultyStore) -> None:
    filling = Filling(read=False)
    async with Host(filling.service, store=store) as host:
        await host.advance(ROUNDS)
        for number in range(200):
            await host.publish(filling.filled, Filled(number))
            if not number % 5:
                await host.advance(A_MOMENT)
        await host.advance(A_MOMENT)
        payloads = [entry.payload for entry in await everything(store, "filled")]
        assert 40 < len(payloads) < 90
        numbers = [int(payload.split(b":")[1].split(b",")[0]) for payload in payloads]
        assert numbers == list(range(200 - len(numbers), 200))


async def test_it_may_be_removed_when_read_as_well(store: FaultyStore) -> None:
    filling = Filling(retention=WHEN_READ)
    async with Host(filling.service, store=store) as host:
        await host.publish(filling.filled, Filled(0))
        await host.advance(ROUNDS)
        assert await kept(store) == 0


async def test_the_bytes_are_known_again_after_a_restart(store: FaultyStore) -> None:
    filling = Filling()
    async with Host(filling.service, store=store) as host:
        await host.operations.pause("reader")
        await fill(host, filling, range(200))
        await host.restart()
        await host.advance(A_MOMENT)
        with pytest.raises(TopicFull):
            await host.publish(filling.filled, Filled(-1))


async def test_where_several_nodes_have_topics_in_their_store_it_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="bytes_max= cannot be kept"):
        await Host(Filling().service, store=MemoryStore(16)).start()


async def test_what_retention_removes_leaves_room(store: FaultyStore) -> None:
    need_time_in_hand(store)
    filling = Filling(retention=timedelta(hours=1))
    async with Host(filling.service, store=store) as host:
        for _ in range(3):
            for number in range(60):
                await host.publish(filling.filled, Filled(number))
            await host.advance(A_MOMENT)
            assert await kept(store) == 60, "not crowded"
            await host.advance(timedelta(hours=2))
            assert await kept(store) == 0
