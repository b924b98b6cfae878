"""A node that does not answer: callers are turned away in time, and there are never too many."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from eventmill import Effect, Event, EventSourcedEntity, Service, command, component, on
from eventmill.errors import DeadlineExceeded, Deleted, Overloaded, Unavailable, Unreachable
from eventmill.model import limits
from eventmill.model.envelope import Envelope
from tests.cluster.nodes import Nodes


class Added(Event):
    amount: int


@component("counter")
class Counter(EventSourcedEntity):
    total: int = 0

    @command
    def add(self, amount: int, note: str = "") -> Effect[int]:
        return self.persist(Added(amount)).reply(lambda counter: counter.total)

    @on(Added)
    def added(self, event: Added) -> None:
        self.total += event.amount


service = Service("counters", components=[Counter])


@pytest.fixture
async def nodes() -> AsyncIterator[Nodes]:
    nodes = Nodes(service)
    await nodes.start("a", "b")
    yield nodes
    await nodes.close()


def asked(
    nodes: Nodes, count: int, *, seconds: float | None = None, note: str = ""
) -> list[asyncio.Future[bytes]]:
    """Ask node a for an entity of node b, several times at once."""
    runtime, id = nodes.running["a"], nodes.id_at("b")
    deadline = None if seconds is None else nodes.clock.monotonic() + seconds
    envelope = Envelope("counter", id, "add", (1, note), deadline=deadline)
    return [asyncio.ensure_future(runtime.execute(envelope)) for _ in range(count)]


def kinds(futures: list[asyncio.Future[bytes]]) -> set[type]:
    return {type(future.exception()) for future in futures if future.done()}


async def test_a_deadline_holds_whoever_shares_the_parcel(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PARCELS_UNDER_WAY", 1)
    nodes.network.delay_seconds = 0.5
    (first,) = asked(nodes, 1)
    patient, hurried = asked(nodes, 5), asked(nodes, 5, seconds=3.0)
    await nodes.advance(1.3)
    assert first.done(), "the others are on their way now, in one parcel"
    nodes.pause("b")
    await nodes.advance(3.0)
    assert kinds(hurried) == {DeadlineExceeded}
    assert all(future.done() for future in hurried)
    assert not any(future.done() for future in patient)
    nodes.resume("b")
    assert [await nodes.while_time_passes(future) for future in patient] == [
        b"%d" % n for n in range(2, 7)
    ]


async def test_what_was_not_sent_in_time_may_be_sent_again(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PARCEL_REQUESTS_MAX", 1)
    nodes.pause("b")
    sent = asked(nodes, limits.PARCELS_UNDER_WAY)
    hurried = asked(nodes, 3, seconds=1.0)
    await nodes.advance(1.5)
    assert kinds(hurried) == {Unreachable}
    assert all(isinstance(future.exception(), Unavailable) for future in hurried)
    nodes.resume("b")
    replies = [await nodes.while_time_passes(future) for future in sent]
    assert sorted(replies) == [b"%d" % n for n in range(1, len(sent) + 1)]


async def test_what_waits_for_a_node_is_bounded_in_bytes(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "FORWARDED_BYTES_MAX", 50_000)
    monkeypatch.setattr(limits, "PARCEL_REQUESTS_MAX", 1)
    nodes.pause("b")
    calls = asked(nodes, 20, note="x" * 10_000)
    await nodes.advance(0.1)
    assert kinds(calls) == {Overloaded}
    assert sum(future.done() for future in calls) >= 10
    nodes.resume("b")
    await nodes.advance(1)
    assert sum(future.exception() is None for future in calls) >= 5


async def test_callers_who_wait_for_a_shard_without_a_node_are_bounded(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "ROUTED_WAITING_MAX", 3)
    id = nodes.id_at("b")
    await nodes.crash("b")
    envelope = Envelope("counter", id, "add", (1, ""))
    calls = [asyncio.ensure_future(nodes.running["a"].execute(envelope)) for _ in range(10)]
    await nodes.advance(1)
    turned_away = [future for future in calls if future.done()]
    assert len(turned_away) == 7
    assert all(isinstance(future.exception(), Unavailable) for future in turned_away)
    await nodes.advance(14)
    assert sorted(future.result() for future in calls if future not in turned_away) == [
        b"1",
        b"2",
        b"3",
    ]


async def test_an_end_that_is_asked_of_a_node_that_goes_comes_to_the_next_owner(
    nodes: Nodes,
) -> None:
    id, runtime = nodes.id_at("b"), nodes.running["a"]
    await nodes.call("a", Counter.add, id, 1)

    async def deliver(position: int, name: str, *arguments: int) -> bytes:
        """As a courier does whose shard moves while it delivers: it comes again."""
        while True:
            envelope = Envelope("counter", id, name, arguments, origin=f"0:{position}")
            try:
                return await runtime.execute(envelope)
            except Unavailable:
                continue

    nodes.pause("b")
    expiry = asyncio.ensure_future(deliver(998, "$expire", 1))
    await nodes.advance(0.5)
    assert not expiry.done(), "it is on its way"
    await nodes.crash("b")
    await nodes.start("c")
    assert await nodes.while_time_passes(expiry) == b"null"
    with pytest.raises(Deleted):
        await nodes.call("a", Counter.add, id, 1)
    assert await nodes.while_time_passes(deliver(999, "$purge", 2)) == b"null"
    assert await nodes.call("a", Counter.add, id, 5) == 5, "a new life"


@pytest.mark.parametrize("name", ["$expire", "$purge"])
async def test_another_node_takes_what_the_platform_itself_sends(nodes: Nodes, name: str) -> None:
    id, runtime = nodes.id_at("b"), nodes.running["a"]
    await nodes.call("a", Counter.add, id, 1)
    envelope = Envelope("counter", id, name, (7,), origin="0:999")  # it is not so far: nothing
    assert await nodes.while_time_passes(runtime.execute(envelope)) == b"null"
    assert await nodes.call("a", Counter.add, id, 1) == 2


async def test_rubbish_from_strangers_is_answered_and_forgotten(nodes: Nodes) -> None:
    peers, caller = nodes.running["b"].peers, nodes.running["a"].peers
    assert peers is not None
    assert caller is not None
    address = peers.cluster.address
    for rubbish in (b"", b"\x00rubbish", b"\x91\x01", b"\xc1"):
        asking = caller._transport.request(address, rubbish, 5)
        assert await nodes.while_time_passes(asking) == b""
        told = await nodes.while_time_passes(caller.ask(address, rubbish, 5))
        assert b"no question" in told
    assert await nodes.call("a", Counter.add, nodes.id_at("b"), 1) == 1
