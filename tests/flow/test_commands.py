"""Commands and queries of an event-sourced entity, from the caller's side."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest

from eventmill import (
    Effect,
    Event,
    EventSourcedEntity,
    Rejected,
    Service,
    command,
    component,
    on,
    query,
)
from eventmill.errors import HandlerFailed, InvalidPayload, StoreUnavailable
from eventmill.testing import FaultyStore, Host
from tests.flow.bank import Account, Booked, Deposited, Noted, ledger

service = Service("bank", components=[Account], topics=[ledger])


async def events_of(host: Host, id: str) -> list[Any]:
    entries = await host.store.journal.history("account", id, limit=99)
    return [(e.type, json.loads(e.payload)) for e in entries]


async def until_commits(store: FaultyStore, count: int) -> None:
    """Wait until the store has been asked for that many commits."""
    while store.commits < count:  # noqa: ASYNC110 - a counter, not an event
        await asyncio.sleep(0)


async def test_a_command_persists_and_replies_from_the_new_state(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        assert await host.call(Account.deposit, "a", amount=5) == 5
        assert await host.call(Account.deposit, "a", 7) == 12
        assert await host.call(Account.content, "a") == 12
        assert await host.call(Account.content, "b") == 0
        assert await events_of(host, "a") == [
            ("Deposited", {"amount": 5}),
            ("Deposited", {"amount": 7}),
        ]


async def test_state_survives_a_restart_and_a_crash(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        for crash in (False, True):
            await host.call(Account.deposit, "a", 5)
            await host.restart(crash=crash)
        assert await host.call(Account.content, "a") == 10


async def test_several_events_of_one_command_are_stored_all_or_none(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        assert await host.call(Account.move, "a", [5, 6, -1]) == 10
        store.fail(matching=lambda commit: bool(commit.entries))
        with pytest.raises(StoreUnavailable):
            await host.call(Account.move, "a", [1, 2, 3])
        assert await host.call(Account.content, "a") == 10
        assert len(await events_of(host, "a")) == 3
    assert store.injected == 1


async def test_commands_on_top_of_a_failed_one_fail_with_it(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        await host.call(Account.deposit, "a", 1)
        begun = store.commits
        store.fail(matching=lambda commit: bool(commit.entries))
        calls = [asyncio.ensure_future(host.call(Account.deposit, "a", 1)) for _ in range(5)]
        await until_commits(store, begun + 1)
        calls += [asyncio.ensure_future(host.call(Account.deposit, "a", 1)) for _ in range(5)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(outcome, StoreUnavailable) for outcome in outcomes)
        assert store.commits == begun + 1, "the second five never came to the store"
        assert await host.call(Account.deposit, "a", 1) == 2
        assert len(await events_of(host, "a")) == 2


async def test_a_query_waits_for_the_commit_that_its_answer_depends_on(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        await host.call(Account.deposit, "a", 1)
        begun = store.commits
        store.fail(matching=lambda commit: bool(commit.entries))
        deposit = asyncio.ensure_future(host.call(Account.deposit, "a", 1))
        await until_commits(store, begun + 1)
        answers = await asyncio.gather(
            deposit, host.call(Account.content, "a"), return_exceptions=True
        )
        assert all(isinstance(answer, StoreUnavailable) for answer in answers)
        assert await host.call(Account.content, "a") == 1


async def test_commands_of_one_entity_take_effect_one_after_the_other(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        replies = await asyncio.gather(*(host.call(Account.deposit, "a", 1) for _ in range(50)))
        assert replies == list(range(1, 51))
        entries = await host.store.journal.history("account", "a", limit=99)
        assert [e.sequence for e in entries] == list(range(1, 51))


async def test_a_rejection_carries_code_and_details_and_stores_nothing(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        with pytest.raises(Rejected) as refused:
            await host.call(Account.withdraw, "a", amount=3)
        assert refused.value.code == "account.short"
        assert refused.value.details == {"missing": 3}
        assert await events_of(host, "a") == []


async def test_a_defect_in_a_command_names_the_handler_and_stores_nothing(
    store: FaultyStore,
) -> None:
    async with Host(service, store=store) as host:
        with pytest.raises(HandlerFailed, match=r"Account\.crash raised RuntimeError: a defect"):
            await host.call(Account.crash, "a")
        assert await host.call(Account.deposit, "a", 1) == 1


async def test_wrong_arguments_are_refused_before_the_handler_runs(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        with pytest.raises(InvalidPayload, match="amount"):
            await host.call(Account.deposit, "a", amount="five")  # type: ignore[arg-type]
        with pytest.raises(InvalidPayload):
            await host.call(Account.deposit, "a")  # type: ignore[call-arg]
        with pytest.raises(InvalidPayload):
            await host.call(Account.deposit, "a", 1, 2)  # type: ignore[call-arg]
        with pytest.raises(InvalidPayload):
            await host.call(Account.deposit, "a", amount=1, more=2)  # type: ignore[call-arg]


async def test_handlers_know_entity_id_and_sequence(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        assert await host.call(Account.who, "a") == ("a", 0)
        await host.call(Account.move, "a", [1, 2])
        assert await host.call(Account.who, "a") == ("a", 2)
        await host.restart()
        assert await host.call(Account.who, "a") == ("a", 2)


async def test_metadata_is_stored_with_each_event_of_the_effect(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        await host.call(Account.book, "a", 5)
        (entry,) = await host.store.journal.history("account", "a", limit=9)
        assert entry.metadata is not None
        assert json.loads(entry.metadata)["teller"] == "ann"


async def test_what_a_command_publishes_is_atomic_with_its_events(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        booked = host.probe(ledger)
        await host.call(Account.book, "a", 5)
        assert await booked.expect_one(Booked) == Booked(account="a", amount=5)
        assert booked.entries[0].subject == "a"
        store.fail(matching=lambda commit: bool(commit.entries))
        with pytest.raises(StoreUnavailable):
            await host.call(Account.book, "a", 6)
        await booked.expect_none()
        assert await host.call(Account.content, "a") == 5


async def test_a_repeated_command_gets_the_first_answer_and_no_second_effect(
    store: FaultyStore,
) -> None:
    async with Host(service, store=store) as host:
        assert await host.call_once("k1", Account.deposit, "a", 5) == 5
        await host.call(Account.deposit, "a", 1)
        assert await host.call_once("k1", Account.deposit, "a", 5) == 5
        assert await host.call_once("k2", Account.deposit, "a", 5) == 11
        assert await host.call_once("k1", Account.deposit, "b", 9) == 9
        await host.restart(crash=True)
        assert await host.call_once("k1", Account.deposit, "a", 5) == 5
        assert await host.call(Account.content, "a") == 11


async def test_an_idempotency_key_is_remembered_for_a_day(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        await host.call_once("k", Account.deposit, "a", 5)
        await host.advance(timedelta(hours=23, minutes=59))
        assert await host.call_once("k", Account.deposit, "a", 5) == 5
        await host.advance(timedelta(minutes=2))
        assert await host.call_once("k", Account.deposit, "a", 5) == 10
        await host.advance(timedelta(days=2))
        assert await store.journal.outcomes("account", "a", [b"k"]) == [], "swept away"


async def test_a_repeated_rejection_is_the_same_rejection(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        for deposit in (0, 10):
            await host.call(Account.deposit, "a", deposit)
            with pytest.raises(Rejected) as refused:
                await host.call_once("k", Account.withdraw, "a", 3)
            assert (refused.value.code, refused.value.details) == ("account.short", {"missing": 3})
        assert await host.call(Account.content, "a") == 10


async def test_a_rejection_that_is_no_text_fails_nobody_elses_commit(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        refused, deposited = await asyncio.gather(
            host.call_once("k", Account.refuse, "a", "odd"),
            host.call(Account.deposit, "b", 5),
            return_exceptions=True,
        )
        assert deposited == 5
        assert isinstance(refused, Rejected)
        assert (refused.message, refused.code) == ("no \\udcff", "account.\\udcff")
        with pytest.raises(HandlerFailed, match=r"Account\.refuse raised TypeError"):
            await host.call_once("l", Account.refuse, "a", "object")


async def test_repetitions_at_the_same_time_have_one_effect(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        replies = await asyncio.gather(
            *(host.call_once("k", Account.deposit, "a", 5) for _ in range(10))
        )
        assert replies == [5] * 10
        assert len(await events_of(host, "a")) == 1


async def test_a_keyed_command_whose_commit_is_doubtful_has_one_effect(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        store.fail(when="after", matching=lambda commit: bool(commit.entries))
        with pytest.raises(StoreUnavailable):
            await host.call_once("k", Account.deposit, "a", 5)
        assert await host.call_once("k", Account.deposit, "a", 5) == 5
        assert await host.call(Account.content, "a") == 5
    assert store.injected == 1


async def test_a_lost_effect_is_found_and_names_the_method(store: FaultyStore) -> None:
    async with Host(Service("careless", components=[Careless]), store=store) as host:
        with pytest.raises(HandlerFailed, match=r"Careless\.lose .*test_commands\.py") as failed:
            await host.call(Careless.lose, "x")
        assert failed.value.code == "guard.effect_lost"


async def test_a_state_changed_by_a_command_is_found_and_undone(store: FaultyStore) -> None:
    async with Host(Service("careless", components=[Careless]), store=store) as host:
        with pytest.raises(HandlerFailed, match=r"Careless\.meddle .*changed the state") as failed:
            await host.call(Careless.meddle, "x")
        assert failed.value.code == "guard.state_changed"
        assert await host.call(Careless.content, "x") == []


async def test_a_missing_fold_is_found_and_names_event_and_method(store: FaultyStore) -> None:
    async with Host(Service("careless", components=[Careless]), store=store) as host:
        with pytest.raises(HandlerFailed, match=r"Careless\.unfolded.*@on\(Noted\)") as failed:
            await host.call(Careless.unfolded, "x")
        assert failed.value.code == "guard.fold_missing"
        assert await host.call(Careless.content, "x") == []


async def test_a_command_that_returns_no_effect_is_found(store: FaultyStore) -> None:
    for guards in (True, False):
        careless = Service("careless", components=[Careless])
        async with Host(careless, store=store, guards=guards) as host:
            with pytest.raises(
                HandlerFailed, match=r"Careless\.silent (\(.*\) )?returned NoneType"
            ):
                await host.call(Careless.silent, "x")


async def test_a_fold_that_fails_leaves_the_entity_as_it_was(store: FaultyStore) -> None:
    async with Host(Service("careless", components=[Careless]), store=store) as host:
        await host.call(Careless.add, "x", "one")
        with pytest.raises(HandlerFailed, match=r"Careless\.tear raised ZeroDivisionError"):
            await host.call(Careless.tear, "x")
        assert await host.call(Careless.content, "x") == ["one"]
        assert len(await host.store.journal.history("careless", "x", limit=9)) == 1
        await host.call(Careless.add, "x", "two")
        assert await host.call(Careless.content, "x") == ["one", "two"]


async def test_what_a_query_returns_cannot_reach_the_state(store: FaultyStore) -> None:
    async with Host(Service("careless", components=[Careless]), store=store) as host:
        await host.call(Careless.add, "x", "one")
        answer = await host.call(Careless.content, "x")
        answer.append("mine")
        assert await host.call(Careless.content, "x") == ["one"]


async def test_an_event_cannot_be_changed_after_it_was_decided(store: FaultyStore) -> None:
    async with Host(Service("careless", components=[Careless]), store=store) as host:
        await host.call(Careless.share, "x")
        await host.call(Careless.add, "x", "two")
        entries = await host.store.journal.history("careless", "x", limit=9)
        assert json.loads(entries[0].payload) == {"lines": ["one"]}
        before = await host.call(Careless.content, "x")
        await host.restart(crash=True)
        assert await host.call(Careless.content, "x") == before


class Added(Event):
    line: str


class Torn(Event):
    pass


class Shared(Event):
    lines: list[str]


@component("careless")
class Careless(EventSourcedEntity):
    lines: list[str] = []

    @command
    def add(self, line: str) -> Effect[None]:
        return self.persist(Added(line=line))

    @command
    def lose(self) -> Effect[None]:
        self.persist(Added(line="lost"))
        return self.reply(None)

    @command
    def meddle(self) -> Effect[None]:
        self.lines.append("meddled")
        return self.reply(None)

    @command
    def unfolded(self) -> Effect[None]:
        events = [Added(line="x"), Noted(text="x")]  # as the check at start cannot see
        return self.persist(*events)

    @command
    def silent(self) -> Effect[None]:
        return None  # type: ignore[return-value]  # the point of the test

    @command
    def tear(self) -> Effect[None]:
        return self.persist(Added(line="x"), Torn())

    @command
    def share(self) -> Effect[None]:
        return self.persist(Shared(lines=["one"]))

    @query
    def content(self) -> list[str]:
        return self.lines

    @on(Added)
    def added(self, event: Added) -> None:
        self.lines.append(event.line)

    @on(Torn)
    def torn(self, event: Torn) -> None:
        self.lines.append("half")
        _ = 1 / 0

    @on(Shared)
    def shared(self, event: Shared) -> None:
        self.lines = event.lines


@component("sloppy")
class Sloppy(EventSourcedEntity):
    """What a beginner gets wrong, and only a later snapshot or event would tell."""

    total: int = 0
    items: dict[str, int] = {}

    @command
    def add(self, n: int) -> Effect[int]:
        return self.persist(Deposited(amount=n)).reply(lambda sloppy: sloppy.total)

    @query
    def ghost(self) -> dict[str, int]:
        self.items["ghost"] = 1
        return self.items

    @query
    def strange(self) -> int:
        self.sum = self.total  # type: ignore[attr-defined]
        return self.total

    @query
    def content(self) -> dict[str, int]:
        return self.items

    @on(Deposited)
    def added(self, event: Deposited) -> None:
        if event.amount < 0:
            self.totl = self.total + event.amount  # type: ignore[attr-defined]
        else:
            self.total += event.amount


@pytest.mark.parametrize("asked", [Sloppy.ghost, Sloppy.strange])
async def test_a_state_changed_by_a_query_is_found_and_undone(
    store: FaultyStore, asked: Any
) -> None:
    async with Host(Service("sloppy", components=[Sloppy]), store=store) as host:
        await host.call(Sloppy.add, "a", 1)
        with pytest.raises(HandlerFailed, match=asked.name) as failed:
            await host.call(asked, "a")
        assert failed.value.code == "guard.state_changed"
        assert await host.call(Sloppy.content, "a") == {}


async def test_a_field_that_is_not_declared_is_found_before_it_is_lost(store: FaultyStore) -> None:
    async with Host(Service("sloppy", components=[Sloppy]), store=store) as host:
        await host.call(Sloppy.add, "a", 1)
        with pytest.raises(HandlerFailed, match=r"Sloppy\.added .*totl") as failed:
            await host.call(Sloppy.add, "a", -1)
        assert failed.value.code == "guard.undeclared"
        assert await host.call(Sloppy.add, "a", 1) == 2
