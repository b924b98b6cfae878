"""Entities as they become: changes as they happen, queries kept up to date, on every engine."""

from __future__ import annotations

from contextlib import aclosing
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from eventmill import Service, WorkflowMoved
from eventmill.model import limits
from eventmill.testing import FaultyStore, Host
from eventmill.testing.web import Events
from tests.flow import journeys
from tests.flow.arcade import Player, arcade
from tests.flow.bank import Account, Profile, ledger
from tests.flow.journeys import Journey, Paid

bank = Service("bank", components=[Account, Profile], topics=[ledger])

BEGINNING = "/components/account/a/changes?from=beginning"
CHANGES = "/components/account/a/changes"


async def told(events: Events, count: int) -> list[tuple[str, str, Any]]:
    """Take events of a stream: id, type and data of each."""
    heard = [await events.next() for _ in range(count)]
    return [(one.id, one.data["type"], one.data["data"]) for one in heard]


async def test_every_event_is_told_in_order_and_from_where_one_left(store: FaultyStore) -> None:
    async with Host(bank, store=store) as host:
        await host.call(Account.move, "a", [1, 2])
        async with host.web.events(BEGINNING) as events:
            assert await told(events, 2) == [
                ("1", "Deposited", {"amount": 1}),
                ("2", "Deposited", {"amount": 2}),
            ]
            await host.call(Account.deposit, "b", 100)
            await host.call(Account.withdraw, "a", 3)
            assert await told(events, 1) == [("3", "Withdrawn", {"amount": 3})]
        await host.call(Account.deposit, "a", 4)
        async with host.web.events(BEGINNING, headers={"Last-Event-ID": "2"}) as events:
            assert [id for id, _, _ in await told(events, 2)] == ["3", "4"]
        async with host.web.events(CHANGES) as events, host.web.events(CHANGES) as others:
            await events.begun()
            await others.begun()
            await host.call(Account.deposit, "a", 5)
            assert await told(events, 1) == [("5", "Deposited", {"amount": 5})]
            assert await told(others, 1) == [("5", "Deposited", {"amount": 5})]
        assert "0 entities" in repr(host.runtime.changes)


async def test_an_event_is_a_cloudevent_with_its_sequence(store: FaultyStore) -> None:
    async with Host(bank, store=store) as host:
        await host.call(Account.book, "a", 7)
        async with host.web.events(BEGINNING) as events:
            event = (await events.next()).data
        assert event["source"] == "/bank/components/account"
        assert (event["subject"], event["eventsequence"], event["eventversion"]) == ("a", "1", 1)


async def test_of_a_key_value_entity_its_states_are_told(store: FaultyStore) -> None:
    path = "/components/profile/p/changes?from=beginning"
    async with Host(bank, store=store) as host:
        await host.call(Profile.rename, "p", "ann")
        await host.call(Profile.rename, "p", "bob")
        async with host.web.events(path) as events:
            bob = ("2", "eventmill.state", {"name": "bob", "tags": []})
            assert await told(events, 1) == [bob]
            await host.call(Profile.remove, "p")
            assert await told(events, 1) == [("3", "eventmill.deleted", {})]
        async with host.web.events(path, headers={"Last-Event-ID": "1"}) as events:
            assert await told(events, 1) == [("3", "eventmill.deleted", {})]


async def test_of_a_workflow_its_states_and_what_happened_are_told(store: FaultyStore) -> None:
    async with Host(journeys.service, store=store) as host:
        await host.call(Journey.wait_for_payment, "j", 1)
        async with host.web.events("/components/journey/j/changes?from=beginning") as events:
            ((_, type, waits),) = await told(events, 1)
            assert (type, waits["status"], waits["name"]) == (
                "eventmill.step",
                "waiting",
                "wait_for_payment",
            )
            await host.publish(journeys.payments, Paid(journey="j", amount=7))
            heard, state, paid = await told(events, 3)
        assert heard[2]["input"] == {"journey": "j", "amount": 7}
        assert (state[1], state[2]["amount"]) == ("eventmill.state", 7)
        assert paid[2].keys() == {f.name for f in msgspec.structs.fields(WorkflowMoved)}
        assert (paid[2]["status"], paid[2]["attempt"]) == ("ended", 1)
        assert paid[2]["result"] == {"amount": 7, "notes": ["paid 7"]}


async def test_of_a_replicated_entity_its_values_are_told(store: FaultyStore) -> None:
    path = "/components/player/p/changes?from=beginning"
    async with Host(arcade, store=store) as host:
        await host.call(Player.award, "p", badge="gold")
        await host.call(Player.score, "p", "go", 5)
        await host.settle()
        async with host.web.events(path) as events:
            ((_, type, values),) = await told(events, 1)
            assert type == "eventmill.state"
            assert values == {"points": 5, "name": "nobody", "badges": ["gold"], "games": {"go": 1}}
            await host.call(Player.leave, "p")
            await host.settle()
            assert [type for _, type, _ in await told(events, 1)] == ["eventmill.deleted"]


async def test_an_entity_that_begins_anew_is_told_from_its_beginning(store: FaultyStore) -> None:
    async with Host(bank, store=store) as host:
        await host.call(Account.deposit, "a", 1)
        async with host.web.events(BEGINNING) as events:
            await host.call(Account.close, "a", "moved")
            assert [id for id, _, _ in await told(events, 3)] == ["1", "2", "3"]
            await host.advance(timedelta(days=3))
            await host.call(Account.deposit, "a", 9)
            assert await told(events, 1) == [("1", "Deposited", {"amount": 9})]
        async with host.web.events(CHANGES, headers={"Last-Event-ID": "3"}) as events:
            assert await told(events, 1) == [("1", "Deposited", {"amount": 9})]


async def test_who_is_slow_misses_nothing(
    store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CHANGES_HELD", 3)
    async with Host(bank, store=store) as host:
        await host.call(Account.deposit, "a", 1)
        following = host.runtime.changes.follow("account", "a", 0, lambda: 1)
        async with aclosing(following) as pages:
            seen = [entry.sequence for entry in await anext(pages)]
            for amount in range(20):
                await host.call(Account.deposit, "a", amount)
                if amount == 9:
                    seen += [entry.sequence for entry in await anext(pages)]
            await host.settle()
            while seen[-1] < 21:
                seen += [entry.sequence for entry in await anext(pages)]
        assert seen == list(range(1, 22))


async def test_a_restart_goes_on_behind_the_last_id(store: FaultyStore) -> None:
    async with Host(bank, store=store) as host:
        await host.call(Account.move, "a", [1, 2, 3])
        await host.restart(crash=True)
        async with host.web.events(CHANGES, headers={"Last-Event-ID": "1"}) as events:
            assert [id for id, _, _ in await told(events, 2)] == ["2", "3"]


async def test_a_query_is_answered_again_when_its_answer_changes(store: FaultyStore) -> None:
    path = "/components/account/a/content"
    async with Host(bank, store=store) as host, host.web.events(path) as answers:
        assert (await answers.next()).data == 0
        await host.call(Account.move, "a", [5, -5])
        await host.call(Account.deposit, "a", 3)
        heard = await answers.next()
        assert (heard.event, heard.data) == ("answer", 3)


async def test_items_of_an_answer_come_line_by_line(store: FaultyStore) -> None:
    async with Host(bank, store=store) as host:
        await host.call(Account.deposit, "a", 1)
        accept = {"accept": "application/x-ndjson"}
        answer = await host.web.get("/components/account/a/who", headers=accept)
        assert answer.text == '"a"\n1\n'
        assert answer.headers["content-type"] == "application/x-ndjson"
        answer = await host.web.get("/components/account/a/content", headers=accept)
        assert answer.text == "1\n"


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/components/nothing/a/changes", 404, "request.unknown_component"),
        ("/components/account/a/changes?from=soon", 400, "request.payload"),
        ("/components/account/a/changes?from=-1", 400, "request.payload"),
        ("/components/account/a/changes?since=1", 400, "request.payload"),
        ("/components/account/a/content?as_of_sequence=1", 406, "request.not_acceptable"),
        ("/components/account/gone/content", 410, "entity.deleted"),
    ],
)
async def test_what_cannot_be_followed(path: str, status: int, code: str) -> None:
    async with Host(bank) as host:
        await host.call(Account.deposit, "a", 1)
        await host.call(Account.close, "gone", "x")
        answer = await host.web.get(path, headers={"accept": "text/event-stream"})
        assert (answer.status, answer.json()["code"]) == (status, code)


async def test_changes_are_only_read() -> None:
    async with Host(bank) as host:
        answer = await host.web.request("DELETE", "/components/account/a/changes")
        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
