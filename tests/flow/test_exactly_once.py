"""Effects inside the platform happen once, wherever the node dies: every commit is made to fail,
before and after it became durable, with and without a restart."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from eventmill import (
    Context,
    Effect,
    Event,
    EventSourcedEntity,
    Service,
    Topic,
    command,
    component,
    consumer,
    publish,
    schedule,
    send,
)
from eventmill.errors import Unavailable
from eventmill.model.commit import Commit, LetterStatus
from eventmill.testing import FaultyStore, Host
from eventmill.testing.faults import When
from tests.flow.bank import Account, Booked, ledger
from tests.flow.journals import everything


class Copied(Event):
    account: str
    amount: int


copies = Topic("copies", Copied, key="account")


@consumer("copier", source=ledger)
def copier(event: Booked) -> Effect[None]:
    return publish(copies, Copied(account=event.account, amount=event.amount))


@consumer("sender", source=ledger)
def sender(event: Booked) -> Effect[None]:
    return send(Account.deposit, event.account, event.amount)


@consumer("caller", source=ledger)
async def caller(event: Booked, ctx: Context) -> Effect[None]:
    balance = await ctx.call(Account.deposit, f"called-{event.account}", event.amount)
    return publish(copies, Copied(account=f"balance-{event.account}", amount=balance))


@consumer("timer", source=ledger)
def timer(event: Booked, ctx: Context) -> Effect[None]:
    name, later = f"t-{ctx.event_id}", timedelta(minutes=1)
    return schedule(name, later, Account.deposit, f"timed-{event.account}", event.amount)


service = Service(
    "bank", components=[Account, copier, sender, caller, timer], topics=[ledger, copies]
)
MESSAGES = [("a", 1), ("b", 10), ("a", 100), ("b", 1000)]


async def run(store: FaultyStore, nth: int, when: When, *, restart: bool) -> dict[str, Any]:
    """Publish, let the nth following commit fail, recover, and say what came of it."""
    async with Host(service, store=store) as host:
        await host.publish(ledger, *(Booked(account=a, amount=n) for a, n in MESSAGES))
        store.fail(nth, when=when)
        try:
            await host.settle()
            await host.advance(timedelta(minutes=2))
        except Unavailable:
            pass
        if restart:
            await host.restart(crash=True)
        await host.settle(retries=True)
        await host.advance(timedelta(minutes=5))
        return await outcome(host)


async def outcome(host: Host) -> dict[str, Any]:
    entries = await everything(host.store)
    topics = sorted(e.payload.decode() for e in entries if e.source == "copies")
    ids = ["a", "b", "called-a", "called-b", "timed-a", "timed-b"]
    return {
        "copies": topics,
        "balances": {id: await host.call(Account.content, id) for id in ids},
        "letters": [x.error for x in await host.letters()],
        "events": len([e for e in entries if e.source == "account"]),
    }


EXPECTED: dict[str, Any] = {
    "copies": sorted(
        f'{{"account":"{account}","amount":{amount}}}'
        for account, amount in [*MESSAGES, ("balance-a", 1), ("balance-a", 101),
                                ("balance-b", 10), ("balance-b", 1010)]
    ),
    "balances": {
        "a": 101, "b": 1010, "called-a": 101, "called-b": 1010, "timed-a": 101, "timed-b": 1010,
    },
    "letters": [],
    "events": 12,
}  # fmt: skip


async def test_without_faults(store: FaultyStore) -> None:
    assert await run(store, 10_000, "before", restart=False) == EXPECTED
    assert store.injected == 0


@pytest.mark.parametrize("restart", [False, True], ids=["goes-on", "restarts"])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("nth", range(1, 10))
async def test_a_failed_commit_changes_nothing_in_the_end(
    store: FaultyStore, nth: int, when: When, restart: bool
) -> None:
    assert await run(store, nth, when, restart=restart) == EXPECTED
    assert store.injected == 1


async def test_a_doubtful_command_is_acknowledged_to_nobody(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        store.fail(when="after", matching=lambda commit: bool(commit.entries))
        with pytest.raises(Unavailable):
            await host.call(Account.deposit, "x", 5)
        assert await host.call(Account.content, "x") == 5, "it became true all the same"
        assert await host.call(Account.deposit, "x", 1) == 6


async def test_followers_see_what_became_true_in_a_doubtful_commit(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        seen = host.probe(copies)
        store.fail(when="after", matching=lambda commit: bool(commit.entries))
        with pytest.raises(Unavailable):
            await host.publish(ledger, Booked(account="a", amount=1))
        await host.publish(ledger, Booked(account="a", amount=2))
        events = await seen.expect_n(4, Copied)
        assert [e.amount for e in events if e.account == "a"] == [1, 2]


async def test_followers_need_no_further_commit_to_see_it(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        seen = host.probe(copies)
        store.fail(when="after", matching=lambda commit: bool(commit.entries))
        with pytest.raises(Unavailable):
            await host.publish(ledger, Booked(account="a", amount=1))
        await host.advance(timedelta(minutes=1))
        events = await seen.expect_n(2, Copied)
        assert sorted(e.account for e in events) == ["a", "balance-a"]


async def test_a_message_with_a_known_id_is_published_once(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        seen = host.probe(copies)
        events = (Copied(account="a", amount=1), Copied(account="a", amount=2))
        for crash in (None, False, True):
            if crash is not None:
                await host.restart(crash=crash)
            await host.runtime.publisher.events(copies, events, dedupe="shop/17")
        await seen.expect_n(2, Copied)


async def test_sent_commands_to_one_entity_keep_their_order(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        amounts = [1, 20, 300, 4000]
        store.fail(3, when="after")
        await host.publish(ledger, *(Booked(account="a", amount=n) for n in amounts))
        await host.settle(retries=True)
        stored = await store.journal.history("account", "a", limit=99)
        assert [e.payload for e in stored] == [b'{"amount":%d}' % n for n in amounts]
    assert store.injected == 1


def has_offsets_of(name: str) -> Any:
    def matches(commit: Commit) -> bool:
        return any(offset.subscription == name for offset in commit.offsets)

    return matches


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_courier_that_dies_before_its_offset_delivers_nothing_twice(
    store: FaultyStore, when: When
) -> None:
    async with Host(service, store=store) as host:
        store.fail(when=when, matching=has_offsets_of("$courier"))
        await host.publish(ledger, Booked(account="a", amount=5))
        await host.settle()
        assert await host.call(Account.content, "a") == 5
        await host.restart(crash=True)
        await host.settle()
        assert await host.call(Account.content, "a") == 5
    assert store.injected == 1


async def until_injected(store: FaultyStore) -> None:
    while not store.injected:  # noqa: ASYNC110 - a counter, not an event
        await asyncio.sleep(0)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_snapshot_remembers_which_commands_had_their_effect(
    store: FaultyStore, when: When
) -> None:
    async with Host(service, store=store) as host:
        await host.operations.pause("$courier")
        amounts = range(1, Account.snapshot_every + 1)
        await host.publish(ledger, *(Booked(account="a", amount=n) for n in amounts))
        await host.settle()
        store.fail(when=when, matching=has_offsets_of("$courier"))
        await host.operations.resume("$courier")
        await until_injected(store)
        snapshot, after = await store.journal.load("account", "a")
        assert snapshot is not None
        assert (snapshot.sequence, after) == (5, [])
        await host.restart(crash=True)
        await host.settle()
        assert await host.call(Account.who, "a") == ("a", 5)
        assert await host.call(Account.content, "a") == sum(amounts)


@pytest.mark.parametrize("crash", [False, True])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_sent_command_without_events_of_its_own_has_its_effect_once(
    store: FaultyStore, when: When, crash: bool
) -> None:
    @consumer("announcer", source=ledger)
    def announcer(event: Booked) -> Effect[None]:
        return send(Announcer.announce, event.account, event.amount)

    service = Service("bank", components=[Announcer, announcer], topics=[ledger, copies])
    async with Host(service, store=store) as host:
        announced = host.probe(copies)
        store.fail(when=when, matching=has_offsets_of("$courier"))
        await host.publish(ledger, Booked(account="a", amount=1), Booked(account="a", amount=2))
        await until_injected(store)
        if crash:
            await host.restart(crash=True)
        events = await announced.expect_n(2, Copied)
        assert [event.amount for event in events] == [1, 2]


@component("announcer-entity")
class Announcer(EventSourcedEntity):
    @command
    def announce(self, amount: int) -> Effect[None]:
        return self.reply(None).publish(copies, Copied(account=self.entity_id, amount=amount))


@pytest.mark.parametrize("crash", [False, True])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_refused_command_is_told_although_it_is_delivered_again(
    store: FaultyStore, when: When, crash: bool
) -> None:
    @consumer("payer", source=ledger)
    def payer(event: Booked) -> Effect[None]:
        if event.amount < 0:
            return send(Account.withdraw, event.account, -event.amount)
        return send(Account.deposit, event.account, event.amount)

    service = Service("bank", components=[Account, payer], topics=[ledger])
    async with Host(service, store=store) as host:
        store.fail(when=when, matching=has_offsets_of("$courier"))
        await host.publish(ledger, *(Booked(account="a", amount=n) for n in (5, -9, 7)))
        await until_injected(store)
        if crash:
            await host.restart(crash=True)
        (letter,) = await host.letters()
        assert (letter.status, letter.code) == (LetterStatus.REFUSED, "account.short")
        assert await host.call(Account.content, "a") == 12


async def test_a_caller_that_gives_up_takes_nothing_from_the_others(store: FaultyStore) -> None:
    async with Host(Service("bank", components=[Account], topics=[ledger]), store=store) as host:
        await host.call(Account.deposit, "a", 0)
        gate, under_way, commit = asyncio.Event(), asyncio.Event(), store.inner.commit

        async def slowly(what: Commit) -> None:
            under_way.set()
            await gate.wait()
            await commit(what)

        store.inner.commit = slowly  # type: ignore[method-assign]
        first = asyncio.ensure_future(host.call_once("key", Account.deposit, "a", 5))
        await under_way.wait()
        follower = asyncio.ensure_future(host.call_once("key", Account.deposit, "a", 5))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        late = asyncio.ensure_future(host.call_once("key", Account.deposit, "a", 5))
        await asyncio.sleep(0)
        gate.set()
        assert await follower == 5
        assert await late == 5
        assert await host.call(Account.deposit, "a", 0) == 5
