"""The network between nodes of one process fails as a test says, under the virtual clock."""

from __future__ import annotations

import asyncio

import pytest

from eventmill.adapters.memory.transport import Network, Transport
from eventmill.errors import DeadlineExceeded
from eventmill.testing import VirtualClock


class Nodes:
    """Three nodes on one network; each answers at its name with its name."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.network = Network(self.clock)
        self.a, self.b, self.c = (Transport(self.network, name) for name in "abc")
        self.heard: list[tuple[str, bytes]] = []
        self.handled: list[str] = []

    async def open(self) -> Nodes:
        for node in (self.a, self.b, self.c):
            await node.open()
            await node.serve(node.node, self._handler(node.node))
            await node.listen("news", lambda p, name=node.node: self.heard.append((name, p)))
        return self

    def _handler(self, name: str):  # type: ignore[no-untyped-def]
        async def answer(payload: bytes) -> bytes:
            self.handled.append(name)
            return name.encode()

        return answer

    async def asking(self, node: Transport, address: str) -> asyncio.Task[bytes]:
        """Begin a request: when it returns, the request is on its way."""
        task = asyncio.get_running_loop().create_task(node.request(address, b"", 10))
        await self.clock.advance(0)
        return task


@pytest.fixture
async def nodes() -> Nodes:
    return await Nodes().open()


async def test_a_partition_cuts_between_groups_until_it_is_healed(nodes: Nodes) -> None:
    nodes.network.part({"a", "b"}, {"c"})
    assert await nodes.a.request("b", b"", 10) == b"b"
    across = await nodes.asking(nodes.a, "c")
    await nodes.a.broadcast("news", b"1")
    await nodes.clock.advance(10)
    with pytest.raises(DeadlineExceeded):
        await across
    assert "c" not in nodes.handled
    assert sorted(nodes.heard) == [("a", b"1"), ("b", b"1")]
    nodes.network.heal()
    assert await nodes.a.request("c", b"", 10) == b"c"


async def test_an_answer_that_is_cut_off_leaves_the_outcome_unknown(nodes: Nodes) -> None:
    nodes.network.delay_seconds = 1
    asking = await nodes.asking(nodes.a, "b")
    await nodes.clock.advance(1.5)  # it was handled, its answer is on the way
    nodes.network.part({"a"}, {"b"})
    await nodes.clock.advance(10)
    with pytest.raises(DeadlineExceeded):
        await asking
    assert nodes.handled == ["b"]


async def test_delays_pass_on_the_virtual_clock(nodes: Nodes) -> None:
    nodes.network.delay_seconds = 3
    asking = await nodes.asking(nodes.a, "b")
    await nodes.clock.advance(5.9)
    assert not asking.done()
    await nodes.clock.advance(0.2)
    assert await asking == b"b"


async def test_a_paused_node_takes_and_sends_nothing_until_it_goes_on(nodes: Nodes) -> None:
    nodes.network.pause("b")
    to_b, from_b = await nodes.asking(nodes.a, "b"), await nodes.asking(nodes.b, "c")
    await nodes.a.broadcast("news", b"1")
    await nodes.clock.advance(5)
    assert nodes.handled == []
    assert ("b", b"1") not in nodes.heard
    nodes.network.resume("b")
    await nodes.clock.advance(0)
    assert await asyncio.gather(to_b, from_b) == [b"b", b"c"]
    assert ("b", b"1") in nodes.heard


async def test_broadcasts_are_lost_as_told_and_requests_are_not(nodes: Nodes) -> None:
    nodes.network.lost = lambda: True
    await nodes.a.broadcast("news", b"1")
    assert await nodes.a.request("b", b"", 10) == b"b"
    await nodes.clock.advance(1)
    assert nodes.heard == []
