"""Workflows on several nodes: they move with their shards, and are reached from everywhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from eventmill.model.progress import Status
from eventmill.runtime.operating.workflows import Workflows
from tests.cluster.nodes import Nodes
from tests.flow.journeys import Journey, Office, Paid, Tour, payments, service, trouble
from tests.flow.orders import Desk, Order, gate
from tests.flow.orders import Paid as Bill
from tests.flow.orders import payments as bills
from tests.flow.orders import service as orders

IDS = [f"j{number}" for number in range(12)]


@pytest.fixture(params=["store", "broker"])
async def nodes(request: pytest.FixtureRequest) -> AsyncIterator[Nodes]:
    trouble.clear()
    nodes = Nodes(service, broker=request.param == "broker")
    yield nodes
    trouble.clear()
    gate.clear()
    await nodes.close()


async def statuses(nodes: Nodes, node: str) -> set[str]:
    return {(await nodes.call(node, Journey.content, id))[0] for id in IDS}


@pytest.mark.parametrize("crash", [True, False])
async def test_steps_go_on_where_their_shard_is_taken(nodes: Nodes, crash: bool) -> None:
    await nodes.start("a", "b")
    gate = trouble.gates["room"] = asyncio.Event()
    for id in IDS:
        await nodes.call("a", Journey.start, id)
    await nodes.until(lambda: trouble.begun.count("room") == len(IDS))
    await (nodes.crash("b") if crash else nodes.stop("b"))
    await nodes.advance(20)
    # Those of the first node wait as before, those of the other have begun again.
    again = trouble.begun.count("room") - len(IDS)
    assert 0 < again < len(IDS)
    assert trouble.begun.count("flight") == len(IDS)
    gate.set()
    await nodes.advance(5)
    assert await statuses(nodes, "a") == {"ended"}
    lines = await nodes.call("a", Office.content, "o1")
    assert sorted(lines) == sorted(["flight LIS", "hotel grand"] * len(IDS))


async def test_waits_and_orders_reach_a_workflow_wherever_it_is(nodes: Nodes) -> None:
    await nodes.start("a", "b", "c")
    for id in IDS:
        await nodes.call("a", Journey.wait_for_payment, id, 1)
    last = IDS.pop()
    try:
        for id in IDS:
            publishing = nodes.running["b"].publish(payments, (Paid(journey=id, amount=3),))
            await nodes.while_time_passes(publishing)
        ordering = Workflows(nodes.running["c"]).order("journey", last, "terminate")
        assert (await nodes.while_time_passes(ordering)).status is Status.TERMINATED
        await nodes.advance(5)
        assert await statuses(nodes, "c") == {"ended"}
    finally:
        IDS.append(last)


async def test_a_child_ends_on_another_node(nodes: Nodes) -> None:
    await nodes.start("a", "b", "c")
    for number in range(6):
        await nodes.call("a", Tour.start, f"t{number}")
    await nodes.advance(5)
    for number in range(6):
        found = await nodes.call("b", Tour.content, f"t{number}")
        assert found == ("ended", f"t{number}-1 ended")


async def test_a_held_command_follows_its_shard(nodes: Nodes) -> None:
    await nodes.start("a", "b")
    trouble.gates["room"] = asyncio.Event()
    id = nodes.id_at("b")
    await nodes.call("a", Journey.start, id)
    await nodes.until(lambda: "room" in trouble.begun)
    noted = asyncio.ensure_future(nodes.call("a", Journey.note, id, "x"))
    await nodes.advance(0.5)
    trouble.gates.clear()
    await nodes.stop("b")
    assert await nodes.while_time_passes(noted) == ["x"]


async def test_children_end_with_their_parents_wherever_they_are(nodes: Nodes) -> None:
    await nodes.start("a", "b")
    trouble.gates["room"] = asyncio.Event()
    tours = [f"t{number}" for number in range(6)]
    for id in tours:
        await nodes.call("a", Tour.start, id)
    await nodes.until(lambda: trouble.begun.count("room") == len(tours))
    for id in tours:
        ordering = Workflows(nodes.running["b"]).order("tour", id, "terminate")
        await nodes.while_time_passes(ordering)
    await nodes.crash("b")
    await nodes.advance(20)
    for id in tours:
        assert (await nodes.call("a", Journey.content, f"{id}-1"))[0] == Status.TERMINATED


async def test_an_early_answer_is_found_wherever_its_key_lives(nodes: Nodes) -> None:
    nodes.service = orders
    await nodes.start("a", "b")
    gate.close()
    for id in IDS:
        await nodes.call("a", Order.ask_desk, id)
        await nodes.call("b", Order.ask_twice, f"{id}-paid")
    await gate.reached(*["desk", "one", "two"] * len(IDS))
    await nodes.call("a", Desk.report, "the desk", "yes")
    for id in IDS:
        bill = Bill(order=f"{id}-paid", amount=3)
        await nodes.while_time_passes(nodes.running["a"].publish(bills, (bill,)))
    await nodes.advance(5)
    await nodes.crash("b")
    await nodes.advance(20)
    gate.open()
    await nodes.advance(5)
    for id in IDS:
        assert await nodes.call("a", Order.content, id) == ("ended", [], "yes")
        assert await nodes.call("a", Order.content, f"{id}-paid") == ("ended", [3], "")
