"""Replays: a consumer's function run again over the past, in a group of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from eventmill import Context, Effect, Service, Topic, consumer, publish
from eventmill.errors import Conflict, InvalidPayload, NotFound
from eventmill.model import limits
from eventmill.model.commit import LetterStatus
from eventmill.runtime.control.replays import ReplayStatus
from eventmill.runtime.dispatch.shadow import FACT
from eventmill.testing import FaultyStore, Host
from tests.flow import weather
from tests.flow.arcade import arcade
from tests.flow.bank import Account, Booked, ledger
from tests.flow.brokers import PostgresAndNats

copies = Topic("copies", Booked, key="account")
seen: list[tuple[bool, str]] = []
factor = [1]


@consumer("copier", source=ledger, batch_size=8)
def copy(event: Booked, ctx: Context) -> Effect[None] | None:
    seen.append((ctx.replay, ctx.idempotency_key))
    if event.amount == 13:
        raise ValueError("unlucky")
    if not event.amount:
        return None
    copied = Booked(account=event.account, amount=event.amount * factor[0])
    return publish(copies, copied).send(Account.deposit, event.account, event.amount)


@consumer("asker", source=ledger)
async def ask(event: Booked, ctx: Context) -> None:
    if await ctx.call(Account.content, event.account) > 1_000:
        await ctx.call(Account.withdraw, event.account, amount=1)


service = Service("bank", components=[Account, copy, ask], topics=[ledger, copies])


@pytest.fixture
async def host(store: FaultyStore) -> AsyncIterator[Host]:
    seen.clear()
    factor[0] = 1
    async with Host(service, store=store) as host:
        yield host


async def book(host: Host, *amounts: int) -> None:
    bookings = [Booked(account=f"a{n % 7}", amount=amount) for n, amount in enumerate(amounts)]
    await host.publish(ledger, *bookings)
    await host.settle(retries=True)


async def balance(host: Host, account: str) -> int:
    await host.settle()
    return await host.call(Account.content, account)


async def ended(host: Host, name: str = "replay@copier.shadow") -> ReplayStatus:
    """Wait for a replay's end."""
    for _ in range(60):
        (found,) = [one for one in await host.operations.replays() if one.name == name]
        if found.finished:
            return found
        await host.advance(timedelta(seconds=1))
    raise AssertionError(f"it does not end: {found}")


async def test_it_counts_what_would_happen_and_nothing_happens(host: Host) -> None:
    await book(host, 1, 2, 0, 4, 5)
    before = await balance(host, "a1")
    copied = host.probe(copies)
    begun = await host.operations.replay("copier", "beginning")
    assert (begun.consumer, begun.effects, begun.finished) == ("copier", False, False)
    done = await ended(host)
    assert done.tally.events == 5
    assert done.tally.effects == {"publish copies": 4, "send account.deposit": 4}
    assert (done.lag, done.dead) == (0, 0)
    await copied.expect_none()
    assert await balance(host, "a1") == before


async def test_the_function_is_told_and_its_outside_key_is_that_of_the_first_time(
    host: Host,
) -> None:
    await book(host, 1, 2, 3)
    first = {key for _, key in seen}
    seen.clear()
    await host.operations.replay("copier", "beginning")
    await ended(host)
    assert {replayed for replayed, _ in seen} == {True}
    assert {key for _, key in seen} == first


async def test_equal_digests_mean_equal_effects(host: Host) -> None:
    await book(host, *range(1, 11))
    await host.operations.replay("copier", "beginning", group="old")
    old = await ended(host, "replay@copier.old")
    await host.advance(timedelta(hours=1))
    await host.operations.replay("copier", "beginning", group="same")
    assert (await ended(host, "replay@copier.same")).tally.digest == old.tally.digest != 0
    factor[0] = 2  # as if the code had changed
    await host.operations.replay("copier", "beginning", group="new")
    new = await ended(host, "replay@copier.new")
    assert new.tally.digest != old.tally.digest
    assert new.tally.effects == old.tally.effects


async def test_with_effects_they_happen_again_and_the_consumer_goes_on(host: Host) -> None:
    await book(host, 1, 2, 3)
    before = await balance(host, "a1")
    copied = host.probe(copies)
    await host.operations.replay("copier", "beginning", effects=True)
    done = await ended(host)
    assert done.effects
    again = await copied.expect_n(3, Booked)
    assert sorted(event.amount for event in again) == [1, 2, 3]
    assert await balance(host, "a1") == before + 2
    await book(host, 10)
    (one,) = await copied.expect_n(1, Booked)
    assert one.amount == 10, "the consumer was where it was"


async def test_it_begins_at_a_time_and_ends_where_it_was_asked_for(
    host: Host, store: FaultyStore
) -> None:
    if isinstance(store, PostgresAndNats):
        pytest.skip("JetStream tells times by its own clock, not by the host's virtual one")
    await book(host, 1, 2)
    await host.advance(timedelta(minutes=1))
    time = datetime.fromtimestamp(host.clock.now() / 1e6, UTC)
    await book(host, 3, 4, 5)
    await host.operations.replay("copier", time)
    await book(host, 6, 7)
    assert (await ended(host)).tally.events == 3


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("nth", [1, 2, 3])
async def test_each_event_counts_once_whatever_fails(
    host: Host, store: FaultyStore, nth: int, when: str
) -> None:
    await book(host, *range(1, 31))
    before = await balance(host, "a1")
    deposited = sum(amount for amount in range(1, 31) if amount % 7 == 2)
    counted = lambda commit: any(fact.startswith(FACT) for fact in commit.registry)  # noqa: E731
    store.fail(nth, when=when, matching=counted)  # type: ignore[arg-type]
    await host.operations.replay("copier", "beginning", effects=True)
    await host.settle(retries=True)
    await host.restart(crash=True)
    done = await ended(host)
    assert store.injected == 1
    # 13 is dead, and what is behind it in its key waits.
    assert (done.tally.events, done.dead) == (27, 1)
    assert done.tally.effects == {"publish copies": 27, "send account.deposit": 27}
    assert await balance(host, "a1") == before + deposited


async def test_what_fails_in_it_is_its_own_dead_letter(host: Host) -> None:
    await book(host, 1, 2)
    await host.operations.replay("copier", "beginning")
    await book(host, 13)
    await ended(host)
    await host.operations.replay("copier", "beginning", group="later")
    done = await ended(host, "replay@copier.later")
    assert (done.dead, done.tally.events) == (1, 2)
    letters = await host.letters("replay@copier.later")
    assert [letter.status for letter in letters] == [LetterStatus.DEAD]


async def test_without_effects_it_asks_and_commands_nobody(host: Host) -> None:
    await host.call(Account.deposit, "a0", 2_000)
    await book(host, 1, 2)
    before = await balance(host, "a0")
    await host.operations.replay("asker", "beginning")
    done = await ended(host, "replay@asker.shadow")
    assert (done.tally.events, done.dead) == (1, 1)
    (letter,) = await host.letters("replay@asker.shadow")
    assert letter.code == "replay.dry"
    assert await balance(host, "a0") == before


async def test_it_is_forgotten_with_all_that_came_of_it(host: Host) -> None:
    await book(host, 1, 13)
    await host.operations.replay("copier", "beginning")
    await ended(host)
    await host.operations.forget_replay("replay@copier.shadow")
    await host.advance(timedelta(seconds=10))
    assert await host.operations.replays() == []
    assert not [fact for fact in await host.store.registry() if "replay" in fact]
    assert not [name for name, _ in await host.store.offsets() if "replay" in name]
    assert await host.letters("replay@copier.shadow") == []
    assert all("replay" not in one.name for one in await host.operations.consumers())
    await host.operations.replay("copier", "beginning")
    assert (await ended(host)).tally.events == 1


async def test_only_consumers_are_replayed() -> None:
    async with Host(arcade) as host:
        with pytest.raises(InvalidPayload, match="'scores' is a view: it is rebuilt"):
            await host.operations.replay("scores", "beginning")
    async with Host(weather.service(weather.hourly())) as host:
        with pytest.raises(InvalidPayload, match="'hourly' is a transform: only consumers are"):
            await host.operations.replay("hourly", "beginning")


async def test_what_cannot_be_replayed_is_refused(host: Host) -> None:
    with pytest.raises(NotFound, match="no consumer 'nobody'"):
        await host.operations.replay("nobody", "beginning")
    await host.operations.replay("copier", "beginning")
    with pytest.raises(Conflict, match="forget it, or name another group"):
        await host.operations.replay("copier", "beginning")
    with pytest.raises(Conflict, match="is a replay"):
        await host.operations.reset("replay@copier.shadow", "beginning")
    with pytest.raises(InvalidPayload, match=r"journal|shards"):
        await host.operations.replay("copier", 10**9, group="far")
    with pytest.raises(NotFound, match="no replay 'x'"):
        await host.operations.forget_replay("x")
    for number in range(limits.REPLAYS_MAX - 1):
        await host.operations.replay("copier", "beginning", group=f"g{number}")
    with pytest.raises(Exception, match="replays at most"):
        await host.operations.replay("copier", "beginning", group="more")
