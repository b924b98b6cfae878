"""Consumers: what reaches them, in which order, from where, and what their effects do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from eventmill import (
    Context,
    Effect,
    EntityDeleted,
    Event,
    Service,
    Topic,
    cancel,
    consumer,
    publish,
    schedule,
    send,
)
from eventmill.sdk.consumer import Consumer
from eventmill.testing import FaultyStore, Host
from eventmill.testing.clock import MIDNIGHT
from tests.flow.bank import Account, Booked, Closed, Deposited, Noted, Withdrawn, ledger
from tests.flow.journals import everything


class Heard(Event):
    what: str
    by: str = ""
    batch: int = 0


heard = Topic("heard", Heard)


def bank(*consumers: Consumer) -> Service:
    return Service("bank", components=[Account, *consumers], topics=[ledger, heard])


async def whats(host_probe: Any, count: int) -> list[str]:
    return [event.what for event in await host_probe.expect_n(count, Heard)]


async def test_the_annotation_selects_the_events(store: FaultyStore) -> None:
    @consumer("one", source=Account)
    def one(event: Deposited) -> Effect[None]:
        return publish(heard, Heard(what=f"one {event.amount}"))

    @consumer("some", source=Account)
    async def some(event: Withdrawn | Closed) -> Effect[None]:
        return publish(heard, Heard(what=f"some {type(event).__name__}"))

    @consumer("all", source=Account)
    async def every(event: Event) -> Effect[None]:
        return publish(heard, Heard(what=f"all {type(event).__name__}"))

    async with Host(bank(one, some, every), store=store) as host:
        probe = host.probe(heard)
        await host.call(Account.move, "a", [5, -1])
        await host.call(Account.close, "a", "moved")
        assert sorted(await whats(probe, 6)) == [
            "all Closed", "all Deposited", "all Withdrawn", "one 5", "some Closed", "some Withdrawn",
        ]  # fmt: skip


async def test_a_deletion_is_told_to_those_who_name_it(store: FaultyStore) -> None:
    @consumer("ends", source=Account)
    def ends(event: EntityDeleted | Closed, ctx: Context) -> Effect[None]:
        return publish(heard, Heard(what=f"{type(event).__name__} {ctx.subject} {ctx.sequence}"))

    async with Host(bank(ends), store=store) as host:
        probe = host.probe(heard)
        await host.call(Account.deposit, "a", 1)
        await host.call(Account.close, "a", "moved")
        assert await whats(probe, 2) == ["Closed a 2", "EntityDeleted a 3"]


async def test_the_context_tells_about_the_event(store: FaultyStore) -> None:
    told: list[Any] = []

    @consumer("curious", source=Account)
    def curious(event: Deposited, ctx: Context) -> None:
        told.append((ctx.subject, ctx.source, ctx.sequence, ctx.position, ctx.event_id))
        told.append((ctx.attempt, ctx.idempotency_key, ctx.time, ctx.metadata))

    async with Host(bank(curious), store=store) as host:
        await host.call(Account.book, "a", 1)
        await host.settle()
        at = f"{store.placement.entity('a')}:1"
        assert told[0] == ("a", "account", 1, 1, at)
        assert told[1][:3] == (1, f"curious:{at}", MIDNIGHT)
        assert told[1][3]["teller"] == "ann"


async def test_order_is_kept_per_key_whatever_the_concurrency(store: FaultyStore) -> None:
    seen: dict[str, list[int]] = {}
    at_once = most = 0

    @consumer("slow", source=Account, concurrency=4)
    async def slow(event: Deposited, ctx: Context) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        for _ in range(event.amount % 3):
            await asyncio.sleep(0)
        seen.setdefault(ctx.subject, []).append(event.amount)
        at_once -= 1

    async with Host(bank(slow), store=store) as host:
        await host.operations.pause("slow")
        for n in range(10):
            for id in "abcdefgh":
                await host.call(Account.deposit, id, n)
        await host.operations.resume("slow")
        await host.settle()
        assert seen == {id: list(range(10)) for id in "abcdefgh"}
        assert 1 < most <= 4


async def test_topic_messages_keep_their_keys_order(store: FaultyStore) -> None:
    @consumer("reader", source=ledger)
    def reader(event: Booked | Noted, ctx: Context) -> Effect[None]:
        return publish(heard, Heard(what=f"{ctx.subject} {type(event).__name__}"))

    async with Host(bank(reader), store=store) as host:
        probe = host.probe(heard)
        await host.publish(ledger, Booked(account="a", amount=1), Noted(text="x"))
        assert await whats(probe, 2) == ["a Booked", "notes Noted"]


async def test_a_batch_handler_gets_lists_and_one_context(store: FaultyStore) -> None:
    @consumer("bulk", source=Account, batch_size=4)
    async def bulk(events: list[Deposited | Withdrawn], ctx: Context) -> Effect[None]:
        amounts = [event.amount for event in events]
        return publish(heard, Heard(what=f"{amounts}", batch=len(events)))

    async with Host(bank(bulk), store=store) as host:
        probe = host.probe(heard)
        await host.operations.pause("bulk")
        await host.call(Account.move, "a", [1, 2, 3, -4, 5, -6])
        await host.operations.resume("bulk")
        assert await whats(probe, 2) == ["[1, 2, 3, 4]", "[5, 6]"]


async def test_groups_progress_apart(store: FaultyStore) -> None:
    @consumer("pair", source=Account, group="left")
    def left(event: Deposited) -> Effect[None]:
        return publish(heard, Heard(what=f"{event.amount}", by="left"))

    async with Host(bank(left), store=store) as host:
        probe = host.probe(heard)
        await host.call(Account.deposit, "a", 1)
        await probe.expect_one(Heard)

    @consumer("pair", source=Account, group="right")
    def right(event: Deposited) -> Effect[None]:
        return publish(heard, Heard(what=f"{event.amount}", by="right"))

    async with Host(bank(right), store=store) as host:
        probe = host.probe(heard)
        await host.call(Account.deposit, "a", 2)
        await host.settle()
        every = [json.loads(entry.payload) for entry in await everything(store, "heard")]
        assert sorted((h["by"], h["what"]) for h in every) == [
            ("left", "1"), ("right", "1"), ("right", "2"),
        ]  # fmt: skip


async def started(store: FaultyStore, start: Any) -> list[str]:
    """What a consumer hears that begins at `start`, when three deposits are an hour apart."""

    @consumer("late", source=Account, start=start)
    def late(event: Deposited) -> Effect[None]:
        return publish(heard, Heard(what=f"{event.amount}"))

    async with Host(bank(), store=store) as host:
        for amount in (1, 2, 3):
            await host.call(Account.deposit, "a", amount)
            await host.advance(timedelta(hours=1))
        clock = host.clock
    async with Host(bank(late), store=store, clock=clock) as host:
        await host.settle()
        await host.restart(crash=True)
        await host.call(Account.deposit, "a", 4)
        await host.settle()
        entries = await everything(store, "heard")
        return [json.loads(entry.payload)["what"] for entry in entries]


async def test_it_starts_at_the_beginning(store: FaultyStore) -> None:
    assert await started(store, "beginning") == ["1", "2", "3", "4"]


async def test_it_starts_at_the_end(store: FaultyStore) -> None:
    assert await started(store, "latest") == ["4"]


async def test_it_starts_at_a_time(store: FaultyStore) -> None:
    assert await started(store, MIDNIGHT + timedelta(minutes=30)) == ["2", "3", "4"]


async def test_it_continues_where_it_stopped(store: FaultyStore) -> None:
    @consumer("reader", source=Account)
    def reader(event: Deposited) -> Effect[None]:
        return publish(heard, Heard(what=f"{event.amount}"))

    async with Host(bank(reader), store=store) as host:
        probe = host.probe(heard)
        for amount in range(6):
            await host.call(Account.deposit, "a", amount)
            if amount % 2:
                await host.restart(crash=amount == 3)
        assert await whats(probe, 6) == [f"{n}" for n in range(6)]


async def test_effects_of_a_reaction(store: FaultyStore) -> None:
    @consumer("router", source=ledger)
    async def router(event: Booked | Noted, ctx: Context) -> Effect[None]:
        match event:
            case Booked():
                effect = send(Account.deposit, event.account, event.amount)
                later = timedelta(hours=1)
                return effect.schedule(f"bonus-{event.account}", later, Account.deposit, "a", 100)
            case Noted(text="soon"):
                return schedule("bonus-a", MIDNIGHT + timedelta(minutes=5), Account.deposit, "a", 7)
            case Noted():
                return cancel("bonus-a")

    async with Host(bank(router), store=store) as host:
        await host.publish(ledger, Booked(account="a", amount=5))
        await host.settle()
        assert await host.call(Account.content, "a") == 5
        await host.advance(timedelta(hours=1))
        assert await host.call(Account.content, "a") == 105
        await host.publish(ledger, Booked(account="a", amount=1))
        await host.settle()
        await host.publish(ledger, Noted(text="no"))
        await host.advance(timedelta(hours=3))
        assert await host.call(Account.content, "a") == 106
        await host.publish(ledger, Noted(text="soon"))
        await host.settle()
        assert await host.call(Account.content, "a") == 113, "a time in the past is due at once"


async def test_caused_events_carry_causation_and_correlation(store: FaultyStore) -> None:
    @consumer("first", source=Account)
    def first(event: Deposited, ctx: Context) -> Effect[None]:
        return publish(ledger, Booked(account=ctx.subject, amount=event.amount))

    @consumer("second", source=ledger)
    def second(event: Booked) -> Effect[None]:
        return send(Account.withdraw, event.account, 1)

    async with Host(bank(first, second), store=store) as host:
        await host.call(Account.deposit, "a", 5)
        await host.settle()
        found = {entry.type: entry for entry in await everything(store)}
        first_id, second_id = found["Deposited"].id, found["Booked"].id
        assert found["Deposited"].metadata is None
        for type in ("Booked", "withdraw", "Withdrawn"):
            assert json.loads(found[type].metadata or b"{}")["correlation"] == first_id
        assert json.loads(found["Booked"].metadata or b"{}")["causation"] == first_id
        assert json.loads(found["withdraw"].metadata or b"{}")["causation"] == second_id


async def test_ctx_call_and_publish(store: FaultyStore) -> None:
    @consumer("caller", source=ledger)
    async def caller(event: Booked, ctx: Context) -> None:
        balance = await ctx.call(Account.deposit, event.account, event.amount)
        await ctx.publish(heard, Heard(what=f"{balance}"))

    async with Host(bank(caller), store=store) as host:
        probe = host.probe(heard)
        await host.publish(ledger, Booked(account="a", amount=5), Booked(account="a", amount=6))
        assert await whats(probe, 2) == ["5", "11"]


def test_a_consumer_that_names_a_foreign_event_is_refused() -> None:
    @consumer("wrong", source=Account)
    def wrong(event: Booked) -> None: ...

    assert_problem([Account, wrong], "'account' has no events of type Booked")


def test_a_consumer_of_an_absent_source_is_refused() -> None:
    @consumer("lonely", source=ledger)
    def lonely(event: Booked) -> None: ...

    assert_problem([Account, lonely], "its source 'ledger' is not part of service")


def test_all_problems_are_told_at_once() -> None:
    @consumer("wrong", source=Account)
    def wrong(event: Booked) -> None: ...

    @consumer("wrong", source=ledger)
    def twin(event: Booked) -> None: ...

    _, problems = Service("bank", components=[wrong, twin, Account, Account]).define()
    text = "\n".join(problems)
    assert "has no events of type Booked" in text
    assert "'wrong' is already taken" in text
    assert "Account: it is listed twice" in text


def assert_problem(components: Sequence[Any], text: str) -> None:
    _, problems = Service("bank", components=components).define()
    assert any(text in problem for problem in problems), problems
