"""The life of an entity: snapshots, deletion, clean-up, a second life, expiry, its past."""

from __future__ import annotations

from datetime import timedelta

import pytest

from eventmill import (
    ConfigurationError,
    Context,
    Deleted,
    Effect,
    EventSourcedEntity,
    KeyValueEntity,
    Service,
    command,
    component,
    consumer,
    on,
    query,
)
from eventmill.errors import DataMisfit
from eventmill.runtime.turns import past
from eventmill.testing import EntityKit, FaultyStore, Host
from eventmill.testing.clock import VirtualClock
from tests.flow.bank import Account, Closed, Deposited, ledger

FAST = VirtualClock().time + timedelta(days=30)
"""A clock that is a month ahead."""

service = Service("bank", components=[Account], topics=[ledger])


async def sequences(host: Host, id: str) -> list[int]:
    return [e.sequence for e in await host.store.journal.history("account", id, limit=99)]


async def test_a_snapshot_is_taken_every_so_many_events_and_used(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        for _ in range(4):
            await host.call(Account.deposit, "a", 1)
        assert (await store.journal.load("account", "a"))[0] is None
        for _ in range(8):
            await host.call(Account.deposit, "a", 1)
        snapshot, entries = await store.journal.load("account", "a")
        assert snapshot is not None
        assert (snapshot.sequence, [e.sequence for e in entries]) == (10, [11, 12])
        await host.restart(crash=True)
        assert await host.call(Account.deposit, "a", 1) == 13
        assert await sequences(host, "a") == list(range(1, 14))


async def test_a_snapshot_of_a_changed_state_class_is_not_used(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        for amount in range(1, 8):
            await host.call(Account.deposit, "a", amount)
    async with Host(Service("bank", components=[WiderAccount]), store=store) as host:
        assert await host.call(WiderAccount.largest, "a") == 7
        assert await host.call(WiderAccount.deposit, "a", 9) == 37


async def test_a_raised_snapshot_version_folds_the_events_anew(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        for _ in range(6):
            await host.call(Account.deposit, "a", 1)
    async with Host(Service("bank", components=[DoubleAccount]), store=store) as host:
        assert await host.call(DoubleAccount.content, "a") == 12


async def test_a_deletion_at_which_a_snapshot_is_due_is_no_less_a_deletion(
    store: FaultyStore,
) -> None:
    async with Host(service, store=store) as host:
        for _ in range(3):
            await host.call(Account.deposit, "a", 1)
        await host.call(Account.close, "a", reason="moved")
        assert await sequences(host, "a") == [1, 2, 3, 4, 5]  # one is due at every fifth
        await host.restart(crash=True)
        with pytest.raises(Deleted):
            await host.call(Account.deposit, "a", 1)
        await host.advance(timedelta(days=3))
        assert await host.call(Account.who, "a") == ("a", 0)


async def test_a_deleted_entity_refuses_commands_and_queries(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        await host.call(Account.deposit, "a", 5)
        await host.call(Account.close, "a", reason="moved")
        for crash in (None, False, True):
            if crash is not None:
                await host.restart(crash=crash)
            with pytest.raises(Deleted, match="account/a was deleted"):
                await host.call(Account.deposit, "a", 1)
            with pytest.raises(Deleted):
                await host.call(Account.content, "a")
        types = [e.type for e in await store.journal.history("account", "a", limit=9)]
        assert types == ["Deposited", "Closed", "$deleted"]


async def test_after_the_retention_everything_is_removed_and_the_id_is_free(
    store: FaultyStore,
) -> None:
    async with Host(service, store=store) as host:
        for _ in range(6):
            await host.call(Account.deposit, "a", 1)
        await host.call(Account.close, "a", reason="moved")
        await host.advance(timedelta(days=1, hours=23, minutes=59))
        assert await sequences(host, "a") == list(range(1, 9))
        await host.advance(timedelta(minutes=2))
        assert await store.journal.load("account", "a") == (None, [])
        assert await host.call(Account.who, "a") == ("a", 0)
        assert await host.call(Account.deposit, "a", 3) == 3
        await host.restart(crash=True)
        assert await host.call(Account.who, "a") == ("a", 1)
        assert await host.letters() == []


async def test_a_purge_at_the_journals_end_survives_a_restart(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        await host.call(Account.close, "a", reason="at once")
        await host.advance(timedelta(days=3))
        before = await store.journal.end(store.placement.entity("a"))
        await host.restart()
        await host.call(Account.deposit, "a", 1)
        (entry,) = await store.journal.history("account", "a", limit=9)
        assert entry.position > before


async def test_a_deletion_waits_for_its_readers_also_when_the_clock_was_set_back(
    store: FaultyStore,
) -> None:
    read: list[int] = []

    @consumer("audit", source=Account)
    def audit(event: Closed, ctx: Context) -> None:
        read.append(ctx.sequence)

    audited = Service("bank", components=[Account, audit], topics=[ledger])
    async with Host(audited, store=store, clock=VirtualClock(FAST)) as host:
        await host.call(Account.deposit, "a", 1)
        await host.settle()
    async with Host(audited, store=store) as host:
        await host.operations.pause("audit")
        await host.call(Account.close, "a", reason="moved")
        await host.advance(timedelta(days=3))
        assert await sequences(host, "a") == [1, 2, 3]
        await host.operations.resume("audit")
        await host.advance(timedelta(hours=2))
        assert read == [2]
        assert await store.journal.load("account", "a") == (None, [])


async def test_an_expiring_entity_is_deleted_when_nothing_changed_it(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        await host.call(Account.lend, "a", 5, days=1.0)
        await host.advance(timedelta(hours=23))
        assert await host.call(Account.content, "a") == 5
        await host.restart(crash=True)
        await host.advance(timedelta(hours=2))
        with pytest.raises(Deleted):
            await host.call(Account.content, "a")
        await host.advance(timedelta(days=3))
        assert await host.call(Account.who, "a") == ("a", 0)


async def test_expiry_is_renewed_by_a_later_expiring_change(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        for _ in range(3):
            await host.call(Account.lend, "a", 1, days=1.0)
            await host.advance(timedelta(hours=20))
        assert await host.call(Account.content, "a") == 3
        await host.advance(timedelta(hours=5))
        with pytest.raises(Deleted):
            await host.call(Account.content, "a")


async def test_expiry_is_cancelled_by_any_later_change(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        await host.call(Account.lend, "a", 5, days=1.0)
        await host.call(Account.deposit, "a", 1)
        await host.advance(timedelta(days=30))
        assert await host.call(Account.content, "a") == 6


async def test_a_setting_lets_every_entity_expire_after_its_last_change(
    store: FaultyStore,
) -> None:
    async with Host(Service("bank", components=[Fleeting, Draft]), store=store) as host:
        for id in ("kept", "lent"):
            await host.call(Fleeting.deposit, id, 1)
        await host.call(Draft.write, "d", "a")
        await host.advance(timedelta(hours=20))
        await host.call(Fleeting.deposit, "kept", 1)
        await host.call(Fleeting.lend, "lent", 1, days=10.0)
        await host.call(Draft.write, "d", "b")
        await host.restart(crash=True)
        await host.advance(timedelta(hours=23))
        assert await host.call(Fleeting.content, "kept") == 2  # a read is no change
        assert await host.call(Draft.read, "d") == "b"
        await host.advance(timedelta(hours=2))
        for gone, id in ((Fleeting.content, "kept"), (Draft.read, "d")):
            with pytest.raises(Deleted):
                await host.call(gone, id)
        assert await host.call(Fleeting.content, "lent") == 2
        await host.advance(timedelta(days=9))
        with pytest.raises(Deleted):
            await host.call(Fleeting.content, "lent")


def test_the_kit_tells_when_an_entity_expires() -> None:
    draft = EntityKit(Draft)
    assert draft.run(Draft.write, "a").expires_after == timedelta(days=1)
    assert draft.run(Draft.read).expires_after is None
    assert draft.run(Draft.drop).expires_after is None


async def test_the_expiry_of_a_first_life_does_not_end_the_second(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        await host.call(Account.lend, "a", 5, days=30.0)
        await host.call(Account.close, "a", reason="paid back")
        await host.advance(timedelta(days=5))
        await host.call(Account.deposit, "a", 1)
        await host.advance(timedelta(days=40))
        assert await host.call(Account.content, "a") == 1


async def test_a_stored_event_that_nobody_folds_is_a_clear_error(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        await host.call(Account.move, "a", [5, -1])
    async with Host(Service("bank", components=[Forgetful]), store=store) as host:
        with pytest.raises(DataMisfit, match=r"'Withdrawn' is unknown; keep an @on handler"):
            await host.call(Forgetful.content, "a")


async def test_an_entity_is_read_as_of_a_sequence_or_a_time(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        times = []
        for _ in range(7):
            await host.call(Account.deposit, "a", 1)
            times.append(host.clock.now())
            await host.advance(timedelta(hours=1))
        definition = host.runtime.service.entities["account"]
        for n in range(1, 8):
            for limit in ({"sequence": n, "time": None}, {"sequence": None, "time": times[n - 1]}):
                live = await past.restore(store.journal, definition, "a", **limit)
                assert (live.state.balance, live.identity.sequence) == (n, n)
        assert await host.call(Account.content, "a") == 7


async def test_a_state_without_default_is_refused_at_start(store: FaultyStore) -> None:
    @component("needy")
    class Needy(EventSourcedEntity):
        needed: int

    with pytest.raises(ConfigurationError, match="needed"):
        await Host(Service("needy", components=[Needy]), store=store).start()


@component("account")
class WiderAccount(EventSourcedEntity):
    """The account after a change: one more field of the state."""

    balance: int = 0
    highest: int = 0

    @command
    def deposit(self, amount: int) -> Effect[int]:
        return self.persist(Deposited(amount=amount)).reply(lambda account: account.balance)

    @query
    def largest(self) -> int:
        return self.highest

    @on(Deposited)
    def deposited(self, event: Deposited) -> None:
        self.balance += event.amount
        self.highest = max(self.highest, event.amount)


@component("account")
class DoubleAccount(EventSourcedEntity):
    """The account after a fold changed its meaning, its fields staying the same."""

    snapshot_version = 2

    balance: int = 0
    closed: bool = False

    @query
    def content(self) -> int:
        return self.balance

    @on(Deposited)
    def deposited(self, event: Deposited) -> None:
        self.balance += 2 * event.amount


@component("account")
class Fleeting(EventSourcedEntity):
    """An account that is gone a day after its last change."""

    expire_after = timedelta(days=1)
    balance: int = 0

    @command
    def deposit(self, amount: int) -> Effect[None]:
        return self.persist(Deposited(amount=amount))

    @command
    def lend(self, amount: int, days: float) -> Effect[None]:
        return self.persist(Deposited(amount=amount)).expiring(timedelta(days=days))

    @query
    def content(self) -> int:
        return self.balance

    @on(Deposited)
    def deposited(self, event: Deposited) -> None:
        self.balance += event.amount


@component("draft")
class Draft(KeyValueEntity):
    expire_after = timedelta(days=1)
    text: str = ""

    @command
    def write(self, text: str) -> Effect[None]:
        return self.update(text=text)

    @command
    def drop(self) -> Effect[None]:
        return self.delete()

    @query
    def read(self) -> str:
        return self.text


@component("account")
class Forgetful(EventSourcedEntity):
    """The account after somebody removed a fold too early."""

    balance: int = 0

    @query
    def content(self) -> int:
        return self.balance

    @on(Deposited)
    def deposited(self, event: Deposited) -> None:
        self.balance += event.amount


@component("brief")
class Brief(EventSourcedEntity):
    """Removed an hour after it was deleted."""

    retention = timedelta(hours=1)
    amount: int = 0

    @command
    def open(self, amount: int) -> Effect[int]:
        return self.persist(Deposited(amount=amount)).reply(lambda brief: brief.amount)

    @command
    def close(self) -> Effect[None]:
        return self.delete()

    @on(Deposited)
    def opened(self, event: Deposited) -> None:
        self.amount += event.amount


async def test_a_repeated_key_does_not_begin_a_second_life(store: FaultyStore) -> None:
    async with Host(Service("brief", components=[Brief]), store=store) as host:
        assert await host.call_once("k", Brief.open, "a", 5) == 5
        await host.call(Brief.close, "a")
        await host.advance(timedelta(hours=2))
        assert await host.call_once("k", Brief.open, "a", 5) == 5
        assert await store.journal.history("brief", "a", limit=9) == []
