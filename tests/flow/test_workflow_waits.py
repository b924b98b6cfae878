"""Waits: an answer that comes before the wait for it is durable is found; each event once, in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from eventmill import Effect, Service, Workflow, component, query, step
from eventmill.engine.workflows import rows
from eventmill.model import limits
from eventmill.model.commit import Commit
from eventmill.model.entry import Entry
from eventmill.runtime.operating.workflows import Workflows
from eventmill.testing import FaultyStore, Host
from tests.flow.brokers import MemoryAndBroker
from tests.flow.orders import (
    LONG,
    Desk,
    Member,
    Order,
    Paid,
    Watcher,
    gate,
    members,
    payments,
    service,
)


@pytest.fixture(autouse=True)
def _open() -> Iterator[None]:
    gate.clear()
    yield
    gate.clear()


async def pay(host: Host, *amounts: int, order: str = "o1") -> None:
    await host.publish(payments, *[Paid(order=order, amount=amount) for amount in amounts])


def gives(commit: Commit) -> bool:
    """Whether a commit gives a workflow what it waits for."""
    return any(name.startswith("$wait/") and row is None for name, row in commit.timers.items())


def has_looked(commit: Commit) -> bool:
    """Whether a commit lets a wait wait that has looked back in vain."""
    return any(
        name.startswith("$wait/") and row is not None and not rows.read(row)[2].looks
        for name, row in commit.timers.items()
    )


async def until(is_so: Callable[[], bool]) -> None:
    """Let things go on, without time, until something is so."""
    async with asyncio.timeout(10):
        while not is_so():  # noqa: ASYNC110 - the condition is whatever the test looks at
            await asyncio.sleep(0.001)


async def read(host: Host) -> None:
    """Wait until whoever looks for waits has read everything."""
    runtime = host.runtime
    readers = [s for name, s in runtime.subscriptions.items() if name.startswith("$")]
    await until(
        lambda: (
            not any(reader.lag or reader.working for reader in readers)
            and not (runtime.streams is not None and runtime.streams.working)
        )
    )


async def test_an_answer_may_come_before_the_step_that_asked_has_ended(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        gate.close()
        await host.call(Order.start, "o1")
        await gate.reached("ask")
        await pay(host, 7)
        await read(host)
        gate.open()
        await host.settle()
        assert await host.call(Order.content, "o1") == ("ended", [7], "")


async def test_an_answer_of_an_entity_elsewhere_may_come_as_early(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        gate.close()
        await host.call(Order.ask_desk, "o1")
        await gate.reached("desk")
        await host.call(Desk.report, "the desk", "no")
        await host.call(Desk.report, "the desk", "yes")
        await read(host)
        gate.open()
        await host.settle()
        assert await host.call(Order.content, "o1") == ("ended", [], "yes")


async def test_an_answer_may_come_while_any_step_before_the_wait_runs(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        gate.close()
        await host.call(Order.ask_twice, "o1")
        await gate.reached("one", "two")
        await pay(host, 7)
        await read(host)
        gate.open()
        await host.settle()
        assert (await host.call(Order.content, "o1"))[1] == [7]


@pytest.mark.parametrize("crash", [True, False])
async def test_an_answer_that_came_before_a_crash_is_found(store: FaultyStore, crash: bool) -> None:
    async with Host(service, store=store) as host:
        gate.close()
        await host.call(Order.start, "o1")
        await gate.reached("ask")
        await pay(host, 7)
        await read(host)
        await host.restart(crash=crash)
        await gate.reached("ask", "ask")
        gate.open()
        await host.settle()
        assert await host.call(Order.content, "o1") == ("ended", [7], "")


async def test_a_wait_looks_back_after_a_crash_that_kept_it_from_it(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        gate.close()
        await host.call(Order.start, "o1")
        await gate.reached("ask")
        await pay(host, 7)
        await read(host)
        store.fail(matching=gives)
        gate.open()
        await until(lambda: store.injected == 1)
        await host.restart(crash=True)
        await host.settle()
        assert await host.call(Order.content, "o1") == ("ended", [7], "")


async def test_what_comes_before_the_wait_has_looked_back_does_not_overtake(
    store: FaultyStore,
) -> None:
    async with Host(service, store=store) as host:
        gate.close()
        await host.call(Order.start, "o1", 2)
        await gate.reached("ask")
        await pay(host, 1)
        await read(host)
        store.fail(matching=gives)
        gate.open()
        await until(lambda: store.injected == 1)
        await pay(host, 2)
        await host.settle()
        assert await host.call(Order.content, "o1") == ("ended", [1, 2], "")


async def test_an_answer_to_an_attempt_that_failed_is_found(store: FaultyStore) -> None:
    gate.fails = 1
    async with Host(service, store=store) as host:
        gate.close()
        await host.call(Order.start, "o1")
        await gate.reached("ask")
        await pay(host, 7)
        await read(host)
        gate.open()
        await host.advance(timedelta(seconds=5))
        assert await host.call(Order.content, "o1") == ("ended", [7], "")


async def test_a_retry_finds_what_came_since_the_failed_step_was_set_going(
    store: FaultyStore,
) -> None:
    gate.fails = 3
    async with Host(service, store=store) as host:
        await host.call(Order.start, "o1")
        await host.advance(timedelta(seconds=5))
        assert (await host.call(Order.content, "o1"))[0] == "failed"
        await pay(host, 7)
        await host.advance(timedelta(hours=1))
        await Workflows(host.runtime).order("order", "o1", "retry")
        await host.settle()
        assert await host.call(Order.content, "o1") == ("ended", [7], "")


async def test_a_wait_looks_back_when_the_broker_is_there_again() -> None:
    store = MemoryAndBroker()
    async with Host(service, store=store) as host:
        gate.close()
        await host.call(Order.start, "o1")
        await gate.reached("ask")
        await pay(host, 7)
        await read(host)
        assert store.topics is not None
        store.topics.failing = True
        gate.open()
        await host.advance(timedelta(seconds=5))
        assert await host.call(Order.content, "o1") == ("waiting", [], "")
        store.topics.failing = False
        await host.advance(timedelta(seconds=5))
        assert await host.call(Order.content, "o1") == ("ended", [7], "")


async def test_a_wait_looks_back_so_far(
    store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "WAIT_LOOK_BACK_POSITIONS", 5)
    async with Host(service, store=store) as host:
        gate.close()
        await host.call(Order.start, "o1")
        await gate.reached("ask")
        await pay(host, 7)
        await host.publish(payments, *[Paid(order="o1", amount=0) for _ in range(6)], key="o1")
        await read(host)
        gate.open()
        with capture_logs() as logs:
            await host.settle()
        assert await host.call(Order.content, "o1") == ("ended", [0], "")
        assert "a wait does not look back as far as its steps" in [log["event"] for log in logs]


async def test_what_came_before_the_steps_were_set_going_is_not_taken(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        await pay(host, 1)
        await pay(host, 2, order="o2")
        await host.advance(timedelta(seconds=1))
        await host.call(Order.start, "o1")
        await host.settle()
        assert await host.call(Order.content, "o1") == ("waiting", [], "")
        await pay(host, 3)
        await host.settle()
        assert await host.call(Order.content, "o1") == ("ended", [3], "")


async def test_who_waits_again_takes_each_event_once_and_in_order(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        gate.close()
        await host.call(Order.start, "o1", 6)
        await gate.reached("ask")
        await pay(host, 1, 2)
        await read(host)
        gate.open()
        await pay(host, 3)
        await host.settle()
        await pay(host, 4, 5)
        await host.settle()
        assert await host.call(Order.content, "o1") == ("waiting", [1, 2, 3, 4, 5], "")
        await pay(host, 6)
        await host.settle()
        assert await host.call(Order.content, "o1") == ("ended", [1, 2, 3, 4, 5, 6], "")


async def test_what_a_late_reader_brings_again_is_not_taken_twice(store: FaultyStore) -> None:
    reader = "$waits.order.payments"
    async with Host(service, store=store) as host:
        await host.operations.pause(reader)
        gate.close()
        await host.call(Order.start, "o1", 4)
        await gate.reached("ask")
        await pay(host, 1, 2, 3)
        gate.open()
        await host.settle()
        assert await host.call(Order.content, "o1") == ("waiting", [1, 2, 3], "")
        await host.operations.resume(reader)
        await host.settle()
        assert await host.call(Order.content, "o1") == ("waiting", [1, 2, 3], "")
        await pay(host, 4)
        await host.settle()
        assert await host.call(Order.content, "o1") == ("ended", [1, 2, 3, 4], "")


async def test_a_late_reader_gives_a_wait_what_was_not_taken(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        await host.operations.pause("$waits.order.payments")
        gate.close()
        await host.call(Order.start, "o1", 2)
        await gate.reached("ask")
        await pay(host, 1)
        gate.open()
        await host.settle()
        await host.call(Order.listen_now, "o1")
        await pay(host, 2)
        await host.operations.resume("$waits.order.payments")
        await host.settle()
        assert await host.call(Order.content, "o1") == ("ended", [1, 2], "")


async def test_of_many_events_a_wait_is_given_one(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        for number in range(20):
            await host.call(Order.start, f"o{number}")
        await host.settle()
        before = host.runtime.committer.entries
        for number in range(20):
            await pay(host, *range(50), order=f"o{number}")
        await host.settle()
        written = host.runtime.committer.entries - before
        assert written < 20 * (50 + 10), "and not a command for each event"


async def test_many_waits_look_back_together(store: FaultyStore) -> None:
    ids = [f"o{number}" for number in range(60)]
    async with Host(service, store=store) as host:
        gate.close()
        for id in ids:
            await host.call(Order.start, id)
        await gate.reached(*["ask"] * len(ids))
        for number, id in enumerate(ids):
            await pay(host, number, order=id)
        await read(host)
        gate.open()
        await host.settle()
        for number, id in enumerate(ids):
            assert await host.call(Order.content, id) == ("ended", [number], "")


async def test_what_cannot_be_read_is_passed_over(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        gate.close()
        await host.call(Order.start, "o1")
        await gate.reached("ask")
        shard = store.placement.message("payments", "o1")
        (kind,), now = payments.event_types(), host.clock.now()
        broken = Entry("payments", "o1", 0, kind.name, 1, now, b'{"amount": "?"}', shard=shard)
        await host.runtime.committer.write(lambda commit: commit.entries.append(broken))
        await pay(host, 7)
        await read(host)
        gate.open()
        await host.settle()
        assert await host.call(Order.content, "o1") == ("ended", [7], "")


async def test_an_answer_of_a_service_beside_may_come_as_early() -> None:
    async with Host(members, beside=[service]) as host:
        gate.close()
        await host.call(Member.join, "m1")
        await gate.reached("join")
        await pay(host.beside["orders"], 7, order="m1")
        await read(host)
        gate.open()
        await host.settle()
        assert await host.call(Member.content, "m1") == 7


async def test_a_wait_looks_back_when_the_service_beside_is_there_again() -> None:
    async with Host(members, beside=[service]) as host:
        gate.close()
        await host.call(Member.join, "m1")
        await gate.reached("join")
        orders = host.beside["orders"]
        await pay(orders, 7, order="m1")
        await read(host)
        assert orders.runtime.beside is not None
        await orders.runtime.beside.close()
        gate.open()
        with capture_logs() as logs:
            await until(lambda: "a wait could not look back yet" in [log["event"] for log in logs])
        await host.restart(crash=True)
        await host.advance(timedelta(seconds=1))
        assert await host.call(Member.content, "m1") == 7


async def test_a_wait_on_what_this_code_does_not_wait_on_any_more_has_its_time(
    store: FaultyStore,
) -> None:
    async with Host(service, store=store) as host:
        gate.close()
        await host.call(Order.start, "o1")
        await gate.reached("ask")
        gate.open()
        store.fail(matching=has_looked)
        await until(lambda: store.injected == 1)

    @component("order")
    class Deaf(Workflow):
        waits_on = (Desk,)

        heard: str = ""

        @query
        def content(self) -> tuple[str, str]:
            return self.status, self.heard

        @step
        async def was_paid(self, event: Paid) -> Effect[None]:
            return self.end()

        @step
        async def too_late(self) -> Effect[None]:
            return self.update(heard="too late").pause()

    deaf = Service("orders", components=[Deaf, Desk], topics=[payments])
    async with Host(deaf, store=store) as host:
        await host.advance(LONG - timedelta(seconds=1))
        assert await host.call(Deaf.content, "o1") == ("waiting", "")
        await host.advance(timedelta(seconds=1))
        assert await host.call(Deaf.content, "o1") == ("paused", "too late")


async def test_a_wait_that_looked_back_in_vain_has_its_time(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        await host.call(Order.start, "o1")
        await host.advance(LONG - timedelta(seconds=1))
        assert await host.call(Order.content, "o1") == ("waiting", [], "")
        await host.advance(timedelta(seconds=1))
        assert await host.call(Order.content, "o1") == ("paused", [], "too late")


async def test_the_end_of_a_workflow_may_have_come_long_ago(store: FaultyStore) -> None:
    async with Host(service, store=store) as host:
        await host.call(Order.start, "o1")
        await host.settle()
        await pay(host, 7)
        await host.advance(timedelta(days=1))
        await host.call(Watcher.watch, "w1", "o1")
        await host.call(Watcher.watch, "w2", "o2")
        await host.settle()
        assert await host.call(Watcher.content, "w1") == "o1 ended"
        assert await host.call(Watcher.content, "w2") == ""
        await host.call(Order.start, "o2")
        await host.settle()
        await pay(host, 8, order="o2")
        await host.settle()
        assert await host.call(Watcher.content, "w2") == "o2 ended"
