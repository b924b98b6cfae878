"""Topics that do not keep their messages for ever."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from eventmill import WHEN_READ, Event, Service, Topic, consumer
from eventmill.errors import ConfigurationError
from eventmill.model import limits
from eventmill.ports.broker import TopicLayout
from eventmill.runtime.topics import readers, retention
from eventmill.testing import FaultyStore, Host
from tests.flow.brokers import MemoryAndBroker, need_time_in_hand
from tests.flow.journals import everything, length


class Reading(Event):
    number: int


readings = Topic("readings", Reading, retention=timedelta(hours=1))
kept = Topic("kept", Reading)


async def numbers(store: FaultyStore, source: str) -> list[bytes]:
    return [entry.payload for entry in await everything(store, source)]


async def test_old_messages_go_and_topics_without_retention_keep_theirs(
    store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_time_in_hand(store)
    monkeypatch.setattr(retention, "TRIM_POSITIONS", 3)
    async with Host(Service("meter", topics=[readings, kept]), store=store) as host:
        for number in range(8):
            await host.publish(readings, Reading(number))
            await host.publish(kept, Reading(number))
        await host.advance(timedelta(minutes=59))
        await host.publish(readings, Reading(99))
        assert len(await numbers(store, "readings")) == 9
        await host.advance(timedelta(minutes=2))
        assert await numbers(store, "readings") == [b'{"number":99}']
        assert len(await numbers(store, "kept")) == 8
        await host.advance(timedelta(hours=1))
        assert await numbers(store, "readings") == []


async def test_positions_go_on_after_everything_was_removed(store: FaultyStore) -> None:
    need_time_in_hand(store)
    async with Host(Service("meter", topics=[readings]), store=store) as host:
        await host.publish(readings, Reading(1))
        await host.advance(timedelta(hours=2))
        assert await numbers(store, "readings") == []
        await host.restart()
        probe = host.probe(readings)
        await host.publish(readings, Reading(2))
        assert [event.number for event in await probe.expect_n(1, Reading)] == [2]
        assert await length(store) == 2


async def test_a_message_that_a_subscription_has_still_to_read_is_kept(store: FaultyStore) -> None:
    if store.broker is not None:
        pytest.skip("a broker removes what is old, read or not: see test_broker.py")
    seen: list[int] = []

    @consumer("slow", source=readings)
    def slow(event: Reading) -> None:
        seen.append(event.number)

    service = Service("meter", components=[slow], topics=[readings])
    async with Host(service, store=store) as host:
        await host.publish(readings, Reading(0))
        await host.settle()
        await host.operations.pause("slow")
        await host.publish(readings, Reading(1), Reading(2))
        await host.advance(timedelta(hours=2))
        assert await numbers(store, "readings") == [b'{"number":1}', b'{"number":2}']
        await host.operations.resume("slow")
        await host.settle()
        await host.advance(timedelta(minutes=1))
        assert seen == [0, 1, 2]
        assert await numbers(store, "readings") == []


passing = Topic("passing", Reading, retention=WHEN_READ)
ROUNDS = timedelta(seconds=3 * readers.LOOK_SECONDS)


class Meter:
    """A service with a consumer of `passing`, and what that has seen."""

    def __init__(self, *names: str) -> None:
        self.seen: dict[str, list[int]] = {name: [] for name in names}
        components = [consumer(name, source=passing)(self._reader(name)) for name in names]
        self.service = Service("meter", components=components, topics=[passing])

    def _reader(self, name: str) -> Callable[[Reading], None]:
        def read(event: Reading) -> None:
            self.seen[name].append(event.number)

        return read


async def test_what_every_subscription_has_read_goes(store: FaultyStore) -> None:
    meter = Meter("fast", "slow")
    async with Host(meter.service, store=store) as host:
        await host.publish(passing, Reading(0))
        await host.advance(ROUNDS)
        assert await numbers(store, "passing") == []
        await host.operations.pause("slow")
        await host.publish(passing, Reading(1), Reading(2))
        await host.advance(ROUNDS)
        assert await numbers(store, "passing") == [b'{"number":1}', b'{"number":2}']
        await host.restart()
        await host.advance(ROUNDS)
        assert len(await numbers(store, "passing")) == 2
        await host.operations.resume("slow")
        await host.advance(ROUNDS)
        assert await numbers(store, "passing") == []
        assert meter.seen == {"fast": [0, 1, 2], "slow": [0, 1, 2]}


async def test_what_nobody_has_read_stays(store: FaultyStore) -> None:
    async with Host(Meter().service, store=store) as host:
        await host.publish(passing, Reading(0))
        await host.advance(ROUNDS)
        assert len(await numbers(store, "passing")) == 1


async def test_a_reset_reads_again_what_is_left(store: FaultyStore) -> None:
    meter = Meter("fast", "slow")
    async with Host(meter.service, store=store) as host:
        await host.publish(passing, Reading(0))
        await host.advance(ROUNDS)
        await host.restart()  # else it is still in memory
        await host.operations.pause("slow")
        await host.publish(passing, Reading(1))
        await host.settle()
        await host.operations.reset("fast", "beginning")
        await host.advance(ROUNDS)
        assert meter.seen["fast"] == [0, 1, 1]
        assert (await host.operations.consumer("fast")).lost == 0


async def test_a_subscription_that_begins_is_not_overtaken(store: FaultyStore) -> None:
    """Others have read what comes from then on, before retention knows that there is one more."""
    meter = Meter("fast")
    async with Host(meter.service, store=store) as host:
        await host.publish(passing, Reading(0))
        await host.advance(ROUNDS)
        await host.restart()
        host.service = (more := Meter("fast", "late")).service
        await host.publish(passing, Reading(1))
        await host.restart()
        await host.advance(ROUNDS)
        assert more.seen["late"] == [1]
        assert await numbers(store, "passing") == []


async def test_a_setting_without_effect_is_told(store: FaultyStore) -> None:
    if store.broker is not None:
        pytest.skip("it has an effect there")
    held = Topic("held", Reading, replicas=3)
    with capture_logs() as logs:
        async with Host(Service("meter", topics=[held]), store=store) as host:
            await host.publish(held, Reading(1))
    told = [line for line in logs if line.get("topic") == "held"]
    assert "replicas= has no effect" in told[0]["event"]


async def test_copies_and_bytes_are_the_brokers(store: FaultyStore) -> None:
    assert isinstance(store, FaultyStore)
    if not isinstance(store, MemoryAndBroker):
        pytest.skip("no broker whose layouts are known")
    topics = [
        Topic("many", Reading, replicas=3, bytes_max=limits.TOPIC_BYTES_MIN),
        Topic("aged", Reading, retention=timedelta(days=7)),
        passing,
    ]
    async with Host(Service("meter", topics=topics), store=store):
        assert store.topics is not None
        assert store.topics.layouts == {
            "many": TopicLayout(1, replicas=3, bytes=limits.TOPIC_BYTES_MIN),
            "aged": TopicLayout(2, age_seconds=7 * 86_400),
            "passing": TopicLayout(3, when_read=True),
        }


async def test_what_the_broker_keeps_otherwise_is_not_removed(store: FaultyStore) -> None:
    """The stream was made to keep its messages: changed settings do not change it."""
    if not isinstance(store, MemoryAndBroker):
        pytest.skip("there is no stream")
    kept_then = Topic("passing", Reading)
    async with Host(Service("meter", topics=[kept_then]), store=store):
        pass
    meter = Meter("fast")
    with capture_logs() as logs:
        async with Host(meter.service, store=store) as host:
            await host.publish(passing, Reading(0))
            await host.advance(ROUNDS)
            assert meter.seen["fast"] == [0]
            assert len(await numbers(store, "passing")) == 1
    assert any("differs from the settings" in line["event"] for line in logs)


async def test_a_beginning_that_is_not_the_topics_is_told() -> None:
    store = MemoryAndBroker()
    async with Host(Meter("fast").service, store=store) as host:
        await host.publish(passing, Reading(0), Reading(1))
        await host.advance(ROUNDS)
        host.service = (more := Meter("fast", "late")).service
        await host.restart()
        with capture_logs() as logs:
            await host.publish(passing, Reading(2))
            await host.settle()
        assert more.seen["late"] == [2]
        assert (await host.operations.consumer("late")).lost == 0
    (told,) = [line for line in logs if "begins behind" in line["event"]]
    assert (told["subscription"], told["messages"]) == ("late", 2)


def test_a_retention_is_above_zero() -> None:
    with pytest.raises(ConfigurationError, match="retention"):
        Topic("never", Reading, retention=timedelta())
