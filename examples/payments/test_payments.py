"""The payments as a whole: reservations that expire, are captured at the last moment, or in crowds."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from eventmill import Rejected, Unavailable
from eventmill.adapters.memory.store import Store as MemoryStore
from eventmill.adapters.postgres.store import Store as PostgresStore
from eventmill.adapters.sqlite.store import Store as SqliteStore
from eventmill.ports.store import Store
from eventmill.testing import ActionKit, ConsumerKit, EntityKit, FaultyStore, Host, VirtualClock
from examples.payments import books
from examples.payments.service import (
    HOLD,
    REMIND_BEFORE,
    Account,
    Captured,
    CaptureSoon,
    Deposited,
    Hold,
    Merchant,
    Merchants,
    Reservations,
    Reserved,
    Taken,
    Total,
    notices,
    remind,
    service,
    settle,
    takings,
)

ACCOUNTS, MERCHANTS, PAYMENTS = 20, 5, 240
START = 10_000
"""What each account begins with."""


def test_a_reservation_sets_its_timers_and_its_capture_removes_them() -> None:
    account = EntityKit(Account, "a1").given(Deposited(amount=100))
    reserved = account.run(Account.reserve, payment="p1", merchant="m1", amount=60)
    assert reserved.reply == 40
    assert [(t.name, t.when) for t in reserved.scheduled] == [
        ("expire-p1", HOLD),
        ("remind-p1", HOLD - REMIND_BEFORE),
    ]
    captured = account.run(Account.capture, payment="p1")
    assert captured.events == [Captured(payment="p1", merchant="m1", amount=60)]
    assert captured.cancelled == ["expire-p1", "remind-p1"]


def test_whoever_comes_last_finds_nothing_to_do() -> None:
    reserved = Reserved(payment="p1", merchant="m1", amount=60)
    account = EntityKit(Account, "a1").given(Deposited(amount=100), reserved)
    assert account.run(Account.expire, payment="p1").state.balance == 100
    assert account.run(Account.expire, payment="p1").events == []
    refused = account.run(Account.capture, payment="p1").rejected
    assert refused is not None
    assert refused.code == "payment.not_reserved"


async def test_the_reminder_tells_the_merchant() -> None:
    effects = await ActionKit(remind).run("m1", payment="p1")
    assert effects.published == [(notices, CaptureSoon(merchant="m1", payment="p1"))]


async def test_a_settlement_pays_who_is_owed_something() -> None:
    kit = ActionKit(settle).answer(Merchants.owed, ["m1", "m2"])
    effects = await kit.run(tick=datetime(2026, 3, 1, 1, tzinfo=UTC))
    assert [(sent.id, sent.arguments) for sent in effects.sent] == [
        ("m1", {"day": "2026-03-01"}),
        ("m2", {"day": "2026-03-01"}),
    ]


async def test_what_is_not_captured_in_time_is_given_back() -> None:
    async with Host(service) as host:
        told = host.probe(notices)
        await host.call(Account.deposit, "a1", 100)
        await host.call(Account.reserve, "a1", "p1", "m1", 60)
        await host.call(Account.reserve, "a1", "p2", "m1", 30)
        assert await host.query(Reservations.total) == Total(amount=90, holds=2)
        await host.call(Account.capture, "a1", "p2")
        await host.advance(HOLD - timedelta(seconds=1))
        assert await told.expect_one(CaptureSoon) == CaptureSoon(merchant="m1", payment="p1")
        assert await host.call(Account.content, "a1") == (
            10,
            {"p1": Hold(merchant="m1", amount=60)},
        )
        await host.advance(timedelta(seconds=1))
        assert await host.call(Account.content, "a1") == (70, {})
        assert await host.query(Reservations.total) == Total(amount=0, holds=0)
        assert await host.call(Merchant.content, "m1") == (30, 0)


async def test_merchants_are_paid_at_two_in_the_night_in_berlin() -> None:
    clock = VirtualClock(datetime(2026, 3, 28, 12, tzinfo=UTC))  # clocks go forward that night
    async with Host(service, clock=clock) as host:
        await host.call(Account.deposit, "a1", 100)
        await host.call(Account.reserve, "a1", "p1", "m1", 60)
        await host.call(Account.capture, "a1", "p1")
        await host.advance(timedelta(hours=12, minutes=59))
        assert await host.call(Merchant.content, "m1") == (60, 0)
        await host.advance(timedelta(minutes=1))
        assert await host.call(Merchant.content, "m1") == (0, 60)


async def test_the_books_know_what_merchants_took_and_nothing_else() -> None:
    effects = await ConsumerKit(takings).run(Captured(payment="p1", merchant="m1", amount=60))
    assert [one.event for one in effects.published] == [Taken(merchant="m1", amount=60)]
    async with Host(books.service, beside=[service]) as host:
        payments = host.beside["payments"]
        await payments.call(Account.deposit, "a1", 100)
        for payment, merchant, amount in (("p1", "m1", 60), ("p2", "m2", 30), ("p3", "m2", 10)):
            await payments.call(Account.reserve, "a1", payment, merchant, amount)
        await payments.call(Account.release, "a1", "p2")
        await payments.call(Account.capture, "a1", "p1")
        await payments.call(Account.capture, "a1", "p3")
        await host.restart(crash=True)
        await host.settle()
        assert await host.query(books.Turnover.largest, places=9) == [
            books.Turnover.Row(merchant="m1", payments=1, amount=60),
            books.Turnover.Row(merchant="m2", payments=1, amount=10),
        ]


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def store(request: pytest.FixtureRequest, tmp_path: object) -> Store:
    if request.param == "memory":
        return MemoryStore()
    if request.param == "sqlite":
        return SqliteStore(request.getfixturevalue("tmp_path"))
    return PostgresStore(await request.getfixturevalue("postgres").fresh(4))


async def test_no_cent_is_lost_in_a_crowd(store: Store) -> None:
    """Captures, releases and expiries of hundreds of payments meet at the same moments, commits fail,
    and the node dies in between."""
    luck, faulty = random.Random(7), FaultyStore(store)
    async with Host(service, store=faulty, patience=60) as host:
        for n in range(ACCOUNTS):
            await host.call(Account.deposit, f"a{n}", START)
        homes = {f"p{n}": f"a{luck.randrange(ACCOUNTS)}" for n in range(PAYMENTS)}
        for portion in range(4):
            mine = [p for n, p in enumerate(homes) if n % 4 == portion]
            await asyncio.gather(*(reserve(host, homes[p], p, luck) for p in mine))
            await host.advance(timedelta(minutes=luck.randrange(12, 15)))
            faulty.fail(when="after", matching=lambda commit: bool(commit.fired))
            host.clock.move_to(host.clock.now() + round(HOLD.total_seconds() * 5e5))
            ends = (end(host, homes[p], p, luck) for p in mine if luck.random() < 0.7)
            await asyncio.gather(*ends)
            await host.restart(crash=True)
        await host.advance(2 * HOLD)
        accounts = [await host.call(Account.content, f"a{n}") for n in range(ACCOUNTS)]
        merchants = [await host.call(Merchant.content, f"m{n}") for n in range(MERCHANTS)]
        assert (
            sum(balance for balance, _ in accounts) + sum(map(sum, merchants)) == ACCOUNTS * START
        )
        assert not any(holds for _, holds in accounts)
        assert sum(map(sum, merchants)) > 0
        waiting = [timer.name for timer in await host.store.timers(limit=9)]
        assert waiting == ["$tick/settlement"]
        assert await host.letters() == []


async def reserve(host: Host, account: str, payment: str, luck: random.Random) -> None:
    merchant, amount = f"m{luck.randrange(MERCHANTS)}", luck.randrange(1, 900)
    with contextlib.suppress(Rejected):  # not enough money
        await persistently(
            lambda: host.call_once(payment, Account.reserve, account, payment, merchant, amount)
        )


async def end(host: Host, account: str, payment: str, luck: random.Random) -> None:
    command = luck.choice([Account.capture, Account.release])
    with contextlib.suppress(Rejected):  # it has expired, or was never reserved
        await persistently(lambda: host.call_once(payment, command, account, payment))


async def persistently(call: Callable[[], Awaitable[Any]]) -> None:
    """As a client does that was told to try again: with the same key."""
    while True:
        with contextlib.suppress(Unavailable):
            await call()
            return
