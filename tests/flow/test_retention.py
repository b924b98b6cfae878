"""Topics that do not keep their messages for ever."""

from __future__ import annotations

from datetime import timedelta

import pytest

from eventmill import Event, Service, Topic, consumer
from eventmill.errors import ConfigurationError
from eventmill.runtime import retention
from eventmill.testing import FaultyStore, Host
from tests.flow.brokers import need_time_in_hand
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


def test_a_retention_is_above_zero() -> None:
    with pytest.raises(ConfigurationError, match="retention"):
        Topic("never", Reading, retention=timedelta())
