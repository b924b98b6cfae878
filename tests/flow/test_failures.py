"""What fails: retries on time, order behind a parked letter, dead letters, operators' answers."""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from eventmill import Context, Effect, Event, Retry, Service, Topic, consumer, publish, send
from eventmill.errors import Conflict, NotFound
from eventmill.model import codec
from eventmill.model.commit import LetterStatus
from eventmill.model.envelope import Envelope
from eventmill.runtime.control.acts import letter_id
from eventmill.runtime.topics.publisher import Message
from eventmill.testing import FaultyStore, Host
from tests.flow.bank import Account, Booked, Deposited, Noted, ledger


class Done(Event):
    account: str
    amount: int
    attempt: int = 0


done = Topic("done", Done, key="account")


class Moody:
    """Decides which events fail, and notes every attempt with its time."""

    def __init__(self) -> None:
        self.failing: set[tuple[str, int]] = set()
        self.attempts: dict[tuple[str, int], list[int]] = defaultdict(list)
        self.host: Host | None = None

    def meet(self, event: Booked, ctx: Context) -> Effect[None]:
        assert self.host is not None
        this = (event.account, event.amount)
        self.attempts[this].append(self.host.clock.now())
        if this in self.failing:
            raise ValueError(f"cannot book {event.account} {event.amount}")
        return publish(done, Done(account=event.account, amount=event.amount, attempt=ctx.attempt))

    def waits(self, account: str, amount: int) -> list[float]:
        times = self.attempts[account, amount]
        return [round((b - a) / 1e6, 6) for a, b in itertools.pairwise(times)]


@pytest.fixture
def moody() -> Moody:
    return Moody()


def service_of(moody: Moody, **options: Any) -> Service:
    @consumer("booker", source=ledger, **options)
    def booker(event: Booked, ctx: Context) -> Effect[None]:
        return moody.meet(event, ctx)

    return Service("bank", components=[Account, booker], topics=[ledger, done])


def running(moody: Moody, store: FaultyStore, **options: Any) -> Host:
    moody.host = Host(service_of(moody, **options), store=store)
    return moody.host


async def book(host: Host, *what: tuple[str, int]) -> None:
    await host.publish(ledger, *(Booked(account=account, amount=n) for account, n in what))


async def statuses(host: Host) -> list[tuple[str, str, int]]:
    letters = await host.letters("booker")
    return [(x.key.partition("/")[2], str(x.status), x.attempts) for x in letters]


def pairs(events: list[Done]) -> list[tuple[str, int]]:
    return [(event.account, event.amount) for event in events]


async def test_a_failed_event_is_tried_again_with_growing_waits(
    store: FaultyStore, moody: Moody
) -> None:
    policy = Retry(attempts=6, initial=1.0, factor=3.0, maximum=20.0)
    moody.failing = {("a", 1)}
    async with running(moody, store, retry=policy) as host:
        await book(host, ("a", 1))
        await host.settle()
        assert await statuses(host) == [("a", "retrying", 1)]
        await host.settle(retries=True)
        assert moody.waits("a", 1) == [1.0, 3.0, 9.0, 20.0, 20.0]
        assert await statuses(host) == [("a", "dead", 6)]
        await host.advance(timedelta(days=1))
        assert len(moody.attempts["a", 1]) == 6


async def test_an_event_that_succeeds_later_has_its_effect_once(
    store: FaultyStore, moody: Moody
) -> None:
    moody.failing = {("a", 1)}
    async with running(moody, store, retry=Retry(initial=10.0)) as host:
        probe = host.probe(done)
        await book(host, ("a", 1))
        await probe.expect_none()
        moody.failing = set()
        await host.advance(timedelta(seconds=9))
        await probe.expect_none()
        await host.advance(timedelta(seconds=1))
        assert await probe.expect_one(Done) == Done(account="a", amount=1, attempt=2)
        assert await statuses(host) == []


async def test_later_events_of_the_key_wait_and_other_keys_go_on(
    store: FaultyStore, moody: Moody
) -> None:
    moody.failing = {("a", 2)}
    async with running(moody, store, retry=Retry(attempts=3, initial=10.0)) as host:
        probe = host.probe(done)
        await book(host, ("a", 1), ("b", 1), ("a", 2), ("a", 3), ("b", 2))
        await host.settle()
        await book(host, ("a", 4), ("b", 3))
        assert sorted(pairs(await probe.expect_n(4, Done))) == [
            ("a", 1), ("b", 1), ("b", 2), ("b", 3),
        ]  # fmt: skip
        assert await statuses(host) == [("a", "retrying", 1), ("a", "waiting", 0),
                                        ("a", "waiting", 0)]  # fmt: skip
        moody.failing = set()
        await host.advance(timedelta(seconds=10))
        assert pairs(await probe.expect_n(3, Done)) == [("a", 2), ("a", 3), ("a", 4)]
        await book(host, ("a", 5))
        assert pairs(await probe.expect_n(1, Done)) == [("a", 5)]


async def test_parked_letters_and_their_order_survive_restarts(
    store: FaultyStore, moody: Moody
) -> None:
    moody.failing = {("a", 1)}
    async with running(moody, store, retry=Retry(initial=10.0)) as host:
        probe = host.probe(done)
        await book(host, ("a", 1), ("a", 2))
        await host.settle()
        await host.restart(crash=True)
        await book(host, ("a", 3))
        await host.settle()
        moody.failing = set()
        await host.restart()
        await host.advance(timedelta(seconds=10))
        assert pairs(await probe.expect_n(3, Done)) == [("a", 1), ("a", 2), ("a", 3)]
        assert await statuses(host) == []


async def test_a_dead_letter_tells_what_happened(store: FaultyStore, moody: Moody) -> None:
    moody.failing = {("a", 1)}
    async with running(moody, store, retry=Retry(attempts=1)) as host:
        await book(host, ("a", 1))
        (letter,) = await host.letters()
        assert letter.status is LetterStatus.DEAD
        assert letter.error == "cannot book a 1"
        assert letter.code == "ValueError"
        assert "in meet" in letter.traceback
        assert letter.key == "ledger/a"
        assert letter.entry.payload == b'{"account":"a","amount":1}'
        assert letter.parked == host.clock.now()


async def test_a_redriven_letter_is_followed_by_what_waits_behind_it(
    store: FaultyStore, moody: Moody
) -> None:
    moody.failing = {("a", 1), ("b", 1)}
    async with running(moody, store, retry=Retry(attempts=2)) as host:
        probe = host.probe(done)
        await book(host, ("a", 1), ("b", 1), ("a", 2))
        await host.settle(retries=True)
        moody.failing = set()
        assert await host.operations.redrive("booker", key="ledger/a") == 1
        assert pairs(await probe.expect_n(2, Done)) == [("a", 1), ("a", 2)]
        assert await statuses(host) == [("b", "dead", 2)]
        assert await host.operations.redrive("booker") == 1
        assert pairs(await probe.expect_n(1, Done)) == [("b", 1)]


async def test_a_redriven_letter_that_fails_again_has_fresh_attempts(
    store: FaultyStore, moody: Moody
) -> None:
    moody.failing = {("a", 1)}
    async with running(moody, store, retry=Retry(attempts=3)) as host:
        await book(host, ("a", 1), ("a", 2))
        await host.settle(retries=True)
        for _ in range(2):
            await host.operations.redrive("booker")
            await host.settle(retries=True)
        assert len(moody.attempts["a", 1]) == 9
        assert await statuses(host) == [("a", "dead", 3), ("a", "waiting", 0)]


async def test_a_discarded_letter_is_gone_and_the_next_proceeds(
    store: FaultyStore, moody: Moody
) -> None:
    moody.failing = {("a", 1)}
    async with running(moody, store, retry=Retry(attempts=1)) as host:
        probe = host.probe(done)
        await book(host, ("a", 1), ("a", 2), ("a", 3))
        await host.settle()
        first, second, _ = await host.letters()
        with pytest.raises(Conflict, match="waits behind another"):
            await host.operations.redrive("booker", letter=letter_id(second))
        assert await host.operations.discard("booker", letter=letter_id(second)) == 1
        assert await host.operations.discard("booker", letter=letter_id(first)) == 1
        assert pairs(await probe.expect_n(1, Done)) == [("a", 3)]
        assert await host.letters() == []
        with pytest.raises(NotFound):
            await host.operations.discard("booker", letter=letter_id(first))


async def test_an_event_that_does_not_decode_is_dead_at_once(
    store: FaultyStore, moody: Moody
) -> None:
    async with running(moody, store) as host:
        probe = host.probe(done)
        broken = Message("Booked", 1, "a", b'{"account": "a", "amount": "x"}')
        await host.runtime.publisher.messages(ledger.id, [broken])  # as HTTP does: unchecked
        await host.publish(ledger, Booked(account="b", amount=1))
        assert pairs(await probe.expect_n(1, Done)) == [("b", 1)]
        (letter,) = await host.letters()
        assert (letter.status, letter.attempts) == (LetterStatus.DEAD, 1)
        assert "Booked" in letter.error


async def test_an_event_of_an_undeclared_type_is_parked_unless_ignored(store: FaultyStore) -> None:
    wide = Topic("wide", Booked, Noted, Deposited)
    narrow = Topic("wide", Booked)

    @consumer("strict", source=narrow)
    def strict(event: Booked) -> None: ...

    @consumer("lenient", source=narrow, ignore_unknown=True)
    def lenient(event: Booked) -> None: ...

    async with Host(Service("a", topics=[wide]), store=store) as host:
        await host.publish(wide, Noted(text="x"))
    async with Host(
        Service("a", components=[strict, lenient], topics=[narrow]), store=store
    ) as host:
        (letter,) = await host.letters()
        assert letter.subscription == "strict"
        assert letter.code == "event.unknown_type"
        assert "'Noted'" in letter.error


async def test_a_rejection_from_a_called_entity_is_not_retried(store: FaultyStore) -> None:
    @consumer("payer", source=ledger)
    async def payer(event: Booked, ctx: Context) -> None:
        await ctx.call(Account.withdraw, event.account, event.amount)

    async with Host(
        Service("bank", components=[Account, payer], topics=[ledger]), store=store
    ) as host:
        await book(host, ("a", 1))
        (letter,) = await host.letters()
        assert (letter.status, letter.code, letter.attempts) == (
            LetterStatus.DEAD, "account.short", 1,
        )  # fmt: skip


async def test_a_redriven_letter_may_ask_again_what_was_rejected(store: FaultyStore) -> None:
    @consumer("payer", source=ledger)
    async def payer(event: Booked, ctx: Context) -> None:
        await ctx.call(Account.withdraw, event.account, event.amount)

    async with Host(
        Service("bank", components=[Account, payer], topics=[ledger]), store=store
    ) as host:
        await book(host, ("a", 1))
        assert len(await host.letters()) == 1
        await host.call(Account.deposit, "a", 5)
        assert await host.operations.redrive("payer") == 1
        await host.settle()
        assert await host.letters() == []
        assert await host.call(Account.deposit, "a", 1) == 5


async def test_a_batch_that_fails_is_taken_apart_to_find_the_culprit(store: FaultyStore) -> None:
    @consumer("bulk", source=ledger, retry=Retry(attempts=1))
    def bulk(events: list[Booked]) -> Effect[None]:
        if any(event.amount < 0 for event in events):
            raise ValueError("negative")
        return publish(done, *(Done(account=e.account, amount=e.amount) for e in events))

    async with Host(Service("bank", components=[bulk], topics=[ledger, done]), store=store) as host:
        probe = host.probe(done)
        await book(host, ("a", 1), ("b", -1), ("b", 2), ("a", 3), ("c", 4))
        assert pairs(await probe.expect_n(3, Done)) == [("a", 1), ("a", 3), ("c", 4)]
        letters = await host.letters()
        assert [(x.key, str(x.status)) for x in letters] == [
            ("ledger/b", "dead"), ("ledger/b", "waiting"),
        ]  # fmt: skip


async def test_a_handler_that_takes_too_long_fails(store: FaultyStore) -> None:
    @consumer("endless", source=ledger, retry=Retry(attempts=1), timeout=0.01)
    async def endless(event: Booked) -> None:
        await asyncio.Event().wait()

    async with Host(Service("bank", components=[endless], topics=[ledger]), store=store) as host:
        await book(host, ("a", 1))
        (letter,) = await host.letters()
        assert (letter.status, letter.code) == (LetterStatus.DEAD, "TimeoutError")


async def test_a_lost_effect_of_a_consumer_is_a_dead_letter_that_names_it(
    store: FaultyStore,
) -> None:
    @consumer("lossy", source=ledger, retry=Retry(attempts=1))
    def lossy(event: Booked) -> None:
        publish(done, Done(account="a", amount=1))

    async with Host(
        Service("bank", components=[lossy], topics=[ledger, done]), store=store
    ) as host:
        await book(host, ("a", 1))
        (letter,) = await host.letters()
        assert letter.code == "guard.effect_lost"
        assert "lossy" in letter.error


async def test_a_sent_command_that_is_refused_is_kept_and_blocks_nobody(store: FaultyStore) -> None:
    @consumer("sender", source=ledger)
    def sender(event: Booked) -> Effect[None]:
        if event.amount < 0:
            return send(Account.withdraw, event.account, -event.amount)
        return send(Account.deposit, event.account, event.amount)

    async with Host(
        Service("bank", components=[Account, sender], topics=[ledger]), store=store
    ) as host:
        await book(host, ("a", 5), ("a", -9), ("a", 2))
        (letter,) = await host.letters()
        assert (letter.status, letter.code) == (LetterStatus.REFUSED, "account.short")
        assert await host.call(Account.content, "a") == 7
        await host.call(Account.deposit, "a", 5)
        assert await host.operations.redrive("$courier", refused=True) == 1
        assert await host.letters() == []
        assert await host.call(Account.content, "a") == 3


async def test_a_sent_command_whose_handler_fails_holds_back_its_entity_only(
    store: FaultyStore,
) -> None:
    @consumer("sender", source=ledger)
    def sender(event: Booked) -> Effect[None]:
        if event.amount == 0:
            return send(Account.crash, event.account)
        return send(Account.deposit, event.account, event.amount)

    async with Host(
        Service("bank", components=[Account, sender], topics=[ledger]), store=store
    ) as host:
        await book(host, ("a", 0), ("a", 1), ("b", 2))
        await host.settle(retries=True)
        assert await host.call(Account.content, "b") == 2
        assert await host.call(Account.content, "a") == 0
        await host.operations.discard("$courier")
        await host.settle()
        assert await host.call(Account.content, "a") == 1


async def test_an_operator_waits_for_the_retry_under_way(store: FaultyStore) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    @consumer("fragile", source=ledger, retry=Retry(initial=5.0))
    async def fragile(event: Booked, ctx: Context) -> None:
        if ctx.attempt > 1:
            reached.set()
            await go_on.wait()
        raise ValueError("again")

    async with Host(Service("bank", components=[fragile], topics=[ledger]), store=store) as host:
        await book(host, ("a", 1))
        await host.settle()
        advancing = asyncio.ensure_future(host.advance(timedelta(seconds=5)))
        await reached.wait()
        discarding = asyncio.ensure_future(host.operations.discard("fragile", key="ledger/a"))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not discarding.done()
        go_on.set()
        assert await discarding == 1
        await advancing
        assert await host.letters() == []
        assert await store.parking.heads([0]) == []


async def test_pause_and_resume(store: FaultyStore, moody: Moody) -> None:
    async with running(moody, store) as host:
        probe = host.probe(done)
        await host.operations.pause("booker")
        await book(host, ("a", 1))
        await host.restart(crash=True)
        await probe.expect_none()
        assert (await host.operations.consumer("booker")).paused
        assert (await host.operations.consumer("booker")).lag == 1
        await host.operations.resume("booker")
        assert pairs(await probe.expect_n(1, Done)) == [("a", 1)]
        await host.restart()
        assert not (await host.operations.consumer("booker")).paused


async def test_a_paused_subscription_does_not_retry(store: FaultyStore, moody: Moody) -> None:
    moody.failing = {("a", 1)}
    async with running(moody, store, retry=Retry(initial=10.0)) as host:
        await book(host, ("a", 1))
        await host.settle()
        await host.operations.pause("booker")
        await host.advance(timedelta(minutes=5))
        assert len(moody.attempts["a", 1]) == 1
        moody.failing = set()
        await host.operations.resume("booker")
        await host.settle()
        assert len(moody.attempts["a", 1]) == 2
        assert await statuses(host) == []


async def test_reset_reads_again_and_drops_letters(store: FaultyStore, moody: Moody) -> None:
    moody.failing = {("a", 1)}
    async with running(moody, store, retry=Retry(attempts=1)) as host:
        probe = host.probe(done)
        await book(host, ("a", 1), ("b", 2))
        await probe.expect_n(1, Done)
        assert await statuses(host) == [("a", "dead", 1)]
        moody.failing = set()
        await host.operations.reset("booker", "beginning")
        assert sorted(pairs(await probe.expect_n(2, Done))) == [("a", 1), ("b", 2)]
        assert await statuses(host) == []
        await host.operations.reset("booker", "latest")
        await probe.expect_none()


async def test_a_thousand_messages_with_poison_are_counted_exactly(
    store: FaultyStore, moody: Moody
) -> None:
    messages = [(f"k{n % 97}", n) for n in range(1_000)]
    poison = {m for m in messages if m[1] % 100 == 50}
    moody.failing = set(poison)
    async with running(moody, store, retry=Retry(attempts=2)) as host:
        probe = host.probe(done)
        for start in range(0, len(messages), 100):
            await book(host, *messages[start : start + 100])
        await host.settle(retries=True)
        for _ in range(len(poison)):
            await host.operations.discard("booker")
            await host.settle(retries=True)
        handled = pairs(await probe.expect_n(990, Done))
        assert sorted(handled, key=lambda m: m[1]) == [m for m in messages if m not in poison]
        for key in {key for key, _ in messages}:
            of_key = [n for k, n in handled if k == key]
            assert of_key == sorted(of_key)
        assert all(len(moody.attempts[m]) == 2 for m in poison)


async def refused_letters(host: Host, count: int) -> None:
    """Have that many commands refused, each of its own account."""
    await host.publish(ledger, *(Booked(account=f"a{n}", amount=-9) for n in range(count)))
    await host.settle()
    letters = await host.letters("$courier")
    assert [x.status for x in letters] == [LetterStatus.REFUSED] * count


def paying() -> Service:
    @consumer("payer", source=ledger)
    def payer(event: Booked) -> Effect[None]:
        return send(Account.withdraw, event.account, -event.amount)

    return Service("bank", components=[Account, payer], topics=[ledger])


async def test_refused_letters_go_after_a_week(store: FaultyStore) -> None:
    async with Host(paying(), store=store) as host:
        await refused_letters(host, 2)
        await host.advance(timedelta(days=6, hours=23))
        assert len(await host.letters()) == 2
        await host.advance(timedelta(hours=2))
        assert await host.letters() == []


async def test_refused_letters_can_be_discarded(store: FaultyStore) -> None:
    async with Host(paying(), store=store) as host:
        await refused_letters(host, 3)
        assert await host.operations.discard("$courier") == 0
        first = (await host.letters())[0]
        assert await host.operations.discard("$courier", letter=letter_id(first)) == 1
        assert await host.operations.discard("$courier", refused=True) == 2
        assert await host.letters() == []


async def test_a_head_that_failed_is_tried_alone_until_it_succeeds(store: FaultyStore) -> None:
    sizes: list[int] = []
    broken = True

    @consumer("booker", source=ledger, retry=Retry(initial=1.0, jitter=0.0))
    def booker(events: list[Booked]) -> None:
        sizes.append(len(events))
        if broken and any(event.amount == 1 for event in events):
            raise ValueError("away")

    async with Host(Service("bank", components=[booker], topics=[ledger]), store=store) as host:
        await host.publish(ledger, Booked(account="a", amount=1))
        await host.settle()
        await host.publish(ledger, *(Booked(account="a", amount=n) for n in range(2, 7)))
        await host.advance(timedelta(seconds=4))
        broken = False
        await host.settle(retries=True)
        *outage, rest = sizes
        assert set(outage) == {1}
        assert len(outage) > 3
        assert rest == 5
        assert await host.letters() == []


async def test_the_log_of_a_failure_leads_to_the_request_behind_it() -> None:
    @consumer("broken", source=done, retry=Retry(attempts=1))
    def broken(event: Done) -> None:
        raise ValueError(event.account)

    @consumer("relay", source=Account)
    def relay(event: Deposited, ctx: Context) -> Effect[None]:
        return publish(done, Done(account=ctx.subject, amount=event.amount))

    service = Service("bank", components=[Account, relay, broken], topics=[ledger, done])
    asked = {"request_id": "r-1", "traceparent": "00-1-2-01", "correlation": "c-1"}
    async with Host(service) as host:
        with capture_logs() as logs:
            metadata = codec.encode(asked)
            envelope = Envelope("account", "a1", "deposit", (5,), metadata=metadata)
            await host.runtime.execute(envelope)
            await host.settle()
    (dead,) = (entry for entry in logs if entry["event"] == "dead letter")
    assert {name: dead[name] for name in asked} == asked
