"""Workflows: steps one after the other, retried, failed over, undone; the same on every engine."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta

import pytest

from eventmill import Deleted, Rejected
from eventmill.testing import FaultyStore, Host
from tests.flow.journeys import Journey, Office, Paid, Tour, begun, payments, service, trouble


@pytest.fixture(autouse=True)
def _no_trouble() -> Iterator[None]:
    trouble.clear()
    yield
    trouble.clear()


async def test_steps_run_one_after_the_other(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        assert await host.call(Journey.start, "j1") == "running"
        await host.settle()
        assert await host.call(Journey.content, "j1") == ("ended", ["LIS", "grand"])
        assert await host.call(Office.content, "o1") == ["flight LIS", "hotel grand"]


async def test_a_start_that_is_repeated_does_nothing(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        await host.call(Journey.start, "j1")
        await host.settle()
        assert await host.call(Journey.start, "j1", "ritz") == "ended"
        await host.settle()
        assert await host.call(Journey.content, "j1") == ("ended", ["LIS", "grand"])
        assert trouble.begun == ["flight", "room", "pay"]


async def test_a_failed_step_is_tried_again_under_the_same_key(store: FaultyStore) -> None:
    trouble.fails["room"] = 2
    async with Host(service, store=store) as host:
        await host.call(Journey.start, "j1")
        await host.settle()
        assert await host.call(Journey.content, "j1") == ("running", ["LIS"])
        await host.advance(timedelta(seconds=1))
        assert await host.call(Journey.content, "j1") == ("ended", ["LIS", "grand"])
        assert trouble.begun == ["flight", "room", "room", "room", "pay"]
        assert await host.call(Office.keys, "o1") == ["journey/j1/1", "journey/j1/2"]


async def test_what_was_begun_is_undone_in_reverse_order(store: FaultyStore) -> None:
    trouble.fails["pay"] = 2
    async with Host(service, store=store) as host:
        await host.call(Journey.start, "j1")
        await host.settle()
        await host.advance(timedelta(seconds=1))
        assert await host.call(Journey.content, "j1") == ("compensated", ["grand"])
        assert await host.call(Office.content, "o1") == [
            "flight LIS",
            "hotel grand",
            "no hotel grand",
            "no flight LIS",
        ]
        assert await host.call(Office.keys, "o1") == [
            "journey/j1/1",
            "journey/j1/2",
            "journey/j1/2",
            "journey/j1/1",
        ]


async def test_a_step_that_was_refused_is_not_undone(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        await host.call(Journey.start, "j1", "full")
        await host.settle()
        assert (await host.call(Journey.content, "j1"))[0] == "compensated"
        assert await host.call(Office.content, "o1") == ["flight LIS", "no flight LIS"]
        assert trouble.begun == ["flight", "room", "undo_flight"]


async def test_a_command_waits_for_the_end_of_a_step_and_a_query_does_not(
    store: FaultyStore,
) -> None:
    gate = trouble.gates["room"] = asyncio.Event()
    async with Host(service, store=store) as host:
        await host.call(Journey.start, "j1")
        await begun("flight", "room")
        notes = [asyncio.ensure_future(host.call(Journey.note, "j1", text)) for text in "ab"]
        assert await host.call(Journey.content, "j1") == ("running", ["LIS"])
        assert not any(note.done() for note in notes)
        gate.set()
        assert [await note for note in notes] == [["a"], ["a", "b"]]
        await host.settle()
        assert await host.call(Journey.content, "j1") == ("ended", ["LIS", "grand"])


async def test_a_command_may_change_the_course_before_the_next_step(store: FaultyStore) -> None:
    gate = trouble.gates["room"] = asyncio.Event()
    async with Host(service, store=store) as host:
        await host.call(Journey.start, "j1")
        await begun("flight", "room")
        turned = asyncio.ensure_future(host.call(Journey.turn_back, "j1"))
        await asyncio.sleep(0)
        gate.set()
        await turned
        await host.settle()
        assert trouble.begun == ["flight", "room", "undo_room", "undo_flight"]
        assert (await host.call(Journey.content, "j1"))[0] == "compensated"


async def test_a_step_that_takes_too_long_has_failed(store: FaultyStore) -> None:
    trouble.gates["pay"] = asyncio.Event()
    async with Host(service, store=store) as host:
        await host.call(Journey.start, "j1")
        await host.settle()
        await host.advance(timedelta(seconds=1))
        await host.settle()
        assert trouble.begun.count("pay") == 2
        assert (await host.call(Journey.content, "j1"))[0] == "compensated"


async def test_branches_meet(store: FaultyStore) -> None:
    trouble.fails["leg b"] = 1
    async with Host(service, store=store) as host:
        await host.call(Journey.begin_parallel, "j1")
        await host.settle()
        assert await host.call(Journey.content, "j1") == ("ended", [])
        assert await host.call(Journey.noted, "j1") == ["joined"]
        assert sorted(await host.call(Office.content, "o1")) == [
            "leg a",
            "leg c",
            "spare b: RuntimeError: leg b is out of order",
        ]


async def test_the_first_branch_ends_the_others(store: FaultyStore) -> None:
    trouble.gates["leg a"] = trouble.gates["leg c"] = asyncio.Event()
    async with Host(service, store=store) as host:
        await host.call(Journey.begin_parallel, "j1", first=True)
        await host.settle()
        assert await host.call(Journey.content, "j1") == ("ended", [])
        assert await host.call(Office.content, "o1") == ["leg b"]


async def test_a_pause_ends_with_a_command_or_its_time(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        for id in ("j1", "j2"):
            await host.call(Journey.hold_on, id, minutes=5)
        assert (await host.call(Journey.content, "j1"))[0] == "paused"
        await host.call(Journey.hold_on, "j1")
        await host.advance(timedelta(minutes=6))
        assert (await host.call(Journey.content, "j1"))[0] == "paused"
        assert (await host.call(Journey.content, "j2"))[0] == "compensated"
        assert await host.call(Journey.noted, "j2") == ["gave up: nothing came in time"]


async def test_a_workflow_waits_for_a_message(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        await host.call(Journey.wait_for_payment, "j1")
        await host.publish(payments, Paid(journey="j2", amount=7), Paid(journey="j1", amount=6))
        await host.settle()
        assert (await host.call(Journey.content, "j1"))[0] == "waiting"
        await host.publish(payments, Paid(journey="j1", amount=7))
        await host.settle()
        assert (await host.call(Journey.content, "j1"))[0] == "ended"
        assert await host.call(Journey.noted, "j1") == ["paid 7"]


async def test_a_wait_has_a_time(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        await host.call(Journey.wait_for_payment, "j1", days=1)
        await host.advance(timedelta(days=2))
        assert (await host.call(Journey.content, "j1"))[0] == "compensated"


async def test_a_workflow_waits_for_an_event_of_an_entity(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        await host.call(Journey.wait_for_office, "j1")
        await host.call(Office.note, "o2", "news")
        await host.settle()
        assert await host.call(Journey.noted, "j1") == ["heard news"]


@pytest.mark.parametrize(("hotel", "end"), [("grand", "ended"), ("full", "compensated")])
async def test_a_workflow_waits_for_the_end_of_another(
    store: FaultyStore, hotel: str, end: str
) -> None:
    async with Host(service, store=store) as host:
        await host.call(Tour.start, "t1", hotel)
        await host.settle()
        assert await host.call(Tour.content, "t1") == ("ended", f"t1-1 {end}")


async def test_a_workflow_has_a_time_for_all_of_it(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        await host.call(Tour.idle, "t1")
        await host.advance(timedelta(minutes=59))
        assert (await host.call(Tour.content, "t1"))[0] == "paused"
        await host.advance(timedelta(minutes=2))
        assert await host.call(Tour.content, "t1") == ("ended", "too late")


async def test_an_ended_workflow_takes_no_other_course(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        await host.call(Journey.start, "j1")
        await host.settle()
        with pytest.raises(Rejected) as refused:
            await host.call(Journey.turn_back, "j1")
        assert refused.value.code == "workflow.status"
        assert await host.call(Journey.note, "j1", "late") == ["late"]


async def test_a_deleted_workflow_leaves_nothing_outstanding(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        await host.call(Journey.wait_for_payment, "j1", days=1)
        await host.call(Journey.forget, "j1")
        with pytest.raises(Deleted):
            await host.call(Journey.start, "j1")
        names = [timer.name for timer in await store.timers(limit=9)]
        assert names == ["$purge/journey/j1"]
