"""Topics in a broker: what differs from topics in the store, and what must not."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from eventmill import (
    Effect,
    Event,
    EventSourcedEntity,
    Service,
    Topic,
    command,
    component,
    consumer,
    event_type,
    on,
    query,
    send,
    upcast,
)
from eventmill.errors import ConfigurationError
from eventmill.model import limits
from eventmill.model.commit import Commit, LetterStatus
from eventmill.runtime.operating.inspection import Inspection
from eventmill.runtime.topics import relay
from eventmill.runtime.topics.publisher import Message
from eventmill.testing import FaultyStore, Host
from tests.flow.brokers import MemoryAndBroker


@event_type("Paid", version=2)
class Paid(Event):
    account: str
    amount: int


@upcast(Paid, from_version=1)
def in_cents(data: dict[str, Any]) -> dict[str, Any]:
    return {"account": data["account"], "amount": data["euros"] * 100}


class Booked(Event):
    amount: int


@component("account")
class Account(EventSourcedEntity):
    total: int = 0

    @command
    def deposit(self, amount: int) -> Effect[None]:
        return self.persist(Booked(amount))

    @query
    def content(self) -> int:
        return self.total

    @on(Booked)
    def booked(self, event: Booked) -> None:
        self.total += event.amount


payments = Topic("payments", Paid, key="account", retention=timedelta(hours=1))


@consumer("booking", source=payments)
def book(event: Paid) -> Effect[None]:
    return send(Account.deposit, event.account, event.amount)


service = Service("bank", components=[Account, book], topics=[payments])
FORGOTTEN = timedelta(seconds=limits.DUPLICATES_SECONDS + 1)


@pytest.fixture
def store() -> MemoryAndBroker:
    return MemoryAndBroker()


def relayed(commit: Commit) -> bool:
    return any(offset.subscription == relay.NAME for offset in commit.offsets)


async def after_fault(store: FaultyStore) -> None:
    while not store.injected:  # noqa: ASYNC110 - the store has no event for it
        await asyncio.sleep(0)


async def test_a_message_is_in_the_store_until_it_was_relayed(store: MemoryAndBroker) -> None:
    async with Host(service, store=store) as host:
        await host.publish(payments, Paid("a", 1))
        (shard,) = store.placement.of_topic("payments")
        (entry,) = (await store.journal.read(shard, 0, limit=9)).entries
        await host.settle()
        assert [message.origin for message in await store.messages()] == [entry.id]
        assert await host.call(Account.content, "a") == 1
        await host.advance(timedelta(seconds=11))
        assert (await store.journal.read(shard, 0, limit=9)).entries == []


async def test_a_plain_client_need_not_say_what_the_topic_knows(store: MemoryAndBroker) -> None:
    async with Host(service, store=store) as host:
        assert store.topics is not None
        headers = b"ce-specversion: 1.0\r\nce-id: %d\r\nce-source: /till\r\nce-type: Paid\r\n"
        store.topics.publish("payments", headers % 1, b'{"account":"a","amount":7}')
        older = headers % 2 + b"ce-eventversion: 1\r\n"
        store.topics.publish("payments", older, b'{"account":"a","euros":1}')
        await host.settle()
        messages = await store.messages()
        assert [(m.subject, m.version) for m in messages] == [("a", 2), ("a", 1)]
        assert await host.call(Account.content, "a") == 107


@pytest.mark.parametrize("restarts", [False, True])
async def test_what_was_appended_again_when_the_broker_had_forgotten_it_has_one_effect(
    store: MemoryAndBroker, restarts: bool
) -> None:
    async with Host(service, store=store) as host:
        await host.publish(payments, Paid("a", 1))
        await host.settle()
        store.fail(matching=relayed)
        await host.publish(payments, Paid("a", 10), Paid("b", 100))
        await after_fault(store)
        host.clock.move_to(host.clock.now() + round(FORGOTTEN.total_seconds() * 1e6))
        if restarts:
            await host.restart(crash=True)
        await host.settle()
        assert len(await store.messages()) == 5, "two of them twice"
        await host.publish(payments, Paid("a", 1_000))
        await host.settle()
        assert await host.call(Account.content, "a") == 1_011
        assert await host.call(Account.content, "b") == 100
        assert host.runtime.subscription("booking").marks.repeated == 2


@pytest.mark.parametrize("restarts", [False, True])
async def test_a_frozen_relay_that_goes_on_changes_nothing(
    store: MemoryAndBroker, restarts: bool
) -> None:
    async with Host(service, store=store) as host:
        await host.publish(payments, Paid("a", 1), Paid("a", 10))
        (shard,) = store.placement.of_topic("payments")
        outbox = (await store.journal.read(shard, 0, limit=9)).entries
        await host.settle()
        await host.advance(FORGOTTEN)
        if restarts:
            await host.restart()
        receipts = await store.new_broker(host.clock).append(outbox)
        assert [receipt.duplicate for receipt in receipts] == [False, False]
        await host.settle()
        assert await host.call(Account.content, "a") == 11
        assert host.runtime.subscription("booking").marks.repeated == 2


async def test_a_failed_reaction_to_a_repetition_and_more_is_repeated_whole(
    store: MemoryAndBroker,
) -> None:
    async with Host(service, store=store) as host:
        store.fail(matching=lambda c: any(o.subscription == "booking" for o in c.offsets))
        await host.publish(payments, Paid("a", 1), Paid("a", 2))
        await host.settle()
        assert store.injected == 1
        assert await host.call(Account.content, "a") == 3


async def test_messages_gone_before_they_were_read_are_counted(store: MemoryAndBroker) -> None:
    async with Host(service, store=store) as host:
        await host.publish(payments, Paid("a", 1))
        await host.settle()
        await host.operations.pause("booking")
        await host.publish(payments, *(Paid("a", 10) for _ in range(3)))
        await host.advance(timedelta(hours=2))
        await host.restart()  # else they are still in memory
        await host.publish(payments, Paid("a", 100))
        await host.operations.resume("booking")
        await host.settle()
        assert await host.call(Account.content, "a") == 101
        assert (await host.operations.consumer("booking")).lost == 3


async def test_the_broker_may_be_away(store: MemoryAndBroker) -> None:
    async with Host(service, store=store) as host:
        await host.publish(payments, Paid("a", 1))
        await host.settle()
        assert store.topics is not None
        store.topics.failing = True
        for amount in (10, 100):
            await host.publish(payments, Paid("a", amount))
        assert await host.call(Account.content, "a") == 1
        store.topics.failing = False
        await host.settle()
        assert await host.call(Account.content, "a") == 111


async def test_plain_clients_take_part(store: MemoryAndBroker) -> None:
    async with Host(service, store=store) as host:
        assert store.topics is not None
        headers = b"ce-specversion: 1.0\r\nce-id: 1\r\nce-source: /till\r\nce-type: Paid\r\n"
        store.topics.publish("payments", headers, b'{"account":"a","amount":7}')
        store.topics.publish("payments", b"", b"no event at all")
        await host.publish(payments, Paid("a", 70))
        (letter,) = await host.letters("booking")
        assert (letter.status, letter.code) == (LetterStatus.DEAD, "event.malformed")
        assert await host.call(Account.content, "a") == 77
        page = await Inspection(host.runtime).last_messages("payments", limit=9)
        assert sorted(m.type for m in page.messages) == ["$malformed", "Paid", "Paid"]


async def test_what_the_broker_cannot_take_blocks_nobody(store: MemoryAndBroker) -> None:
    async with Host(service, store=store) as host:
        large = b'{"account":"a","amount":%d}' % 1 + b" " * limits.PAYLOAD_BYTES_MAX
        given = [large, b'{"account":"a","amount":2}']
        await host.runtime.publisher.messages(
            "payments", [Message("Paid", 2, "a", payload) for payload in given]
        )
        (letter,) = await host.letters(relay.NAME)
        assert letter.status is LetterStatus.REFUSED
        assert letter.entry.payload == large
        assert await host.call(Account.content, "a") == 2
        assert await host.operations.redrive(relay.NAME, refused=True) == 1
        (again,) = await host.letters(relay.NAME)
        assert again.entry.position > letter.entry.position


async def test_a_reset_reads_everything_again(store: MemoryAndBroker) -> None:
    async with Host(service, store=store) as host:
        await host.publish(payments, Paid("a", 1), Paid("a", 2))
        await host.settle()
        await host.operations.reset("booking", "beginning")
        await host.settle()
        assert await host.call(Account.content, "a") == 6
        assert (await host.operations.consumer("booking")).lost == 0


async def test_topics_do_not_move_between_store_and_broker(store: MemoryAndBroker) -> None:
    other = MemoryAndBroker()
    async with Host(service, store=FaultyStore(other.inner)) as host:
        await host.publish(payments, Paid("a", 1))
    with pytest.raises(ConfigurationError, match="--topics store"):
        await Host(service, store=other).start()
    async with Host(service, store=store):
        pass
    with pytest.raises(ConfigurationError, match="live in a broker"):
        await Host(service, store=FaultyStore(store.inner)).start()
    async with Host(service, store=store) as host:
        await host.publish(payments, Paid("a", 1))


async def test_an_embedded_store_has_no_topics_in_a_broker(store: MemoryAndBroker) -> None:
    with pytest.raises(ConfigurationError, match="shared store"):
        await Host(service, broker=store.new_broker).start()
