"""The contract of `ports.transport` as tests: what an adapter's author runs.

    class TestMyTransport(TransportContract):
        def make_transports(self) -> tuple[Transport, Transport]: ...

Two nodes of one system; the real clock, as adapters with a server of their own have no other.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from eventmill.errors import DeadlineExceeded, InternalError, Overloaded, TooLarge, Unreachable
from eventmill.model import limits
from eventmill.ports.transport import Transport

LONG = 20.0
"""Seconds that no request of a green run takes."""


class TransportContract:
    """Everything a transport must do."""

    def make_transports(self) -> tuple[Transport, Transport]:
        """Make two nodes' transports, not yet open, that reach each other."""
        raise NotImplementedError("override make_transports() and return two of yours")

    @pytest.fixture
    async def nodes(self) -> AsyncIterator[tuple[Transport, Transport]]:
        nodes = self.make_transports()
        for node in nodes:
            await node.open()
        yield nodes
        for node in nodes:
            await node.close()

    async def test_a_request_is_answered_by_whoever_serves_the_address(
        self, nodes: tuple[Transport, Transport]
    ) -> None:
        a, b = nodes
        await b.serve("shard/3", _echo)
        await a.serve("shard/4", _shout)
        assert await a.request("shard/3", b"hello \x00\xff", LONG) == b"hello \x00\xff"
        assert await b.request("shard/4", b"hello", LONG) == b"HELLO"
        assert await b.request("shard/3", b"to myself", LONG) == b"to myself"

    @pytest.mark.parametrize("address", ["a.b", "a *>", "*", ">", "", "Zoë\r\nPUB x", "x" * 999])
    async def test_any_text_is_an_address(
        self, nodes: tuple[Transport, Transport], address: str
    ) -> None:
        a, b = nodes
        await b.serve(address, _echo)
        await b.serve(f"{address}!", _shout)
        assert await a.request(address, b"x", LONG) == b"x"

    async def test_an_address_that_nobody_serves_is_unreachable_at_once(
        self, nodes: tuple[Transport, Transport]
    ) -> None:
        with pytest.raises(Unreachable):
            async with asyncio.timeout(LONG / 2):
                await nodes[0].request("nobody", b"x", LONG)

    async def test_an_address_is_unreachable_after_it_was_withdrawn(
        self, nodes: tuple[Transport, Transport]
    ) -> None:
        a, b = nodes
        await b.serve("x", _echo)
        assert await a.request("x", b"1", LONG) == b"1"
        await b.withdraw("x")
        await b.withdraw("never served")
        with pytest.raises(Unreachable):
            await a.request("x", b"2", LONG)

    async def test_an_address_moves_to_another_node(
        self, nodes: tuple[Transport, Transport]
    ) -> None:
        a, b = nodes
        await a.serve("x", _echo)
        await a.withdraw("x")
        await b.serve("x", _shout)
        assert await a.request("x", b"moved", LONG) == b"MOVED"

    async def test_one_of_several_that_serve_an_address_gets_each_request(
        self, nodes: tuple[Transport, Transport]
    ) -> None:
        a, b = nodes
        handled: list[bytes] = []

        async def note(payload: bytes) -> bytes:
            handled.append(payload)
            return payload

        await a.serve("service", note)
        await b.serve("service", note)
        sent = [b"%d" % number for number in range(8)]
        assert [await a.request("service", each, LONG) for each in sent] == sent
        assert handled == sent
        await b.withdraw("service")
        assert await b.request("service", b"the other", LONG) == b"the other"

    async def test_a_node_that_is_closed_is_unreachable(
        self, nodes: tuple[Transport, Transport]
    ) -> None:
        a, b = nodes
        await b.serve("x", _echo)
        await b.close()
        with pytest.raises(Unreachable):
            await a.request("x", b"1", LONG)

    async def test_no_answer_in_time_is_an_unknown_outcome(
        self, nodes: tuple[Transport, Transport]
    ) -> None:
        a, b = nodes
        go_on = asyncio.Event()
        handled = []

        async def slow(payload: bytes) -> bytes:
            await go_on.wait()
            handled.append(payload)
            return payload

        await b.serve("x", slow)
        with pytest.raises(DeadlineExceeded):
            await a.request("x", b"late", 0.05)
        go_on.set()
        assert await a.request("x", b"next", LONG) == b"next"
        assert sorted(handled) == [b"late", b"next"]

    async def test_requests_to_one_address_run_at_the_same_time(
        self, nodes: tuple[Transport, Transport]
    ) -> None:
        a, b = nodes
        all_there = asyncio.Barrier(8)

        async def meet(payload: bytes) -> bytes:
            await all_there.wait()
            return payload

        await b.serve("x", meet)
        sent = [b"%d" % n for n in range(8)]
        assert await asyncio.gather(*[a.request("x", each, LONG) for each in sent]) == sent

    async def test_a_node_that_handles_as_much_as_it_may_says_so(
        self, nodes: tuple[Transport, Transport]
    ) -> None:
        a, b = nodes
        go_on = asyncio.Event()
        count = 0
        full = asyncio.Event()

        async def wait(payload: bytes) -> bytes:
            nonlocal count
            count += 1
            if count == limits.TRANSPORT_HANDLERS_MAX:
                full.set()
            await go_on.wait()
            return payload

        await b.serve("x", wait)
        async with asyncio.TaskGroup() as group:
            for _ in range(limits.TRANSPORT_HANDLERS_MAX):
                group.create_task(a.request("x", b"", LONG))
            await full.wait()
            with pytest.raises(Overloaded):
                await a.request("x", b"", LONG)
            go_on.set()
        assert await a.request("x", b"again", LONG) == b"again"

    async def test_a_handler_that_raises_is_told_from_one_that_is_slow(
        self, nodes: tuple[Transport, Transport]
    ) -> None:
        a, b = nodes

        async def broken(payload: bytes) -> bytes:
            raise ValueError("a defect")

        await b.serve("x", broken)
        with pytest.raises(InternalError):
            await a.request("x", b"", LONG)

    async def test_the_largest_payload_goes_and_comes_and_a_larger_one_is_refused(
        self, nodes: tuple[Transport, Transport]
    ) -> None:
        a, b = nodes
        await b.serve("x", _echo)
        largest = bytes(limits.TRANSPORT_BYTES_MAX)
        assert await a.request("x", largest, LONG) == largest
        with pytest.raises(TooLarge):
            await a.request("x", largest + b"x", LONG)
        with pytest.raises(TooLarge):
            await a.broadcast("x", largest + b"x")

    async def test_a_broadcast_is_heard_by_all_who_listen(
        self, nodes: tuple[Transport, Transport]
    ) -> None:
        a, b = nodes
        heard: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
        await a.listen("news", lambda payload: heard.put_nowait(("a", payload)))
        await b.listen("news", lambda payload: heard.put_nowait(("b", payload)))
        await b.listen("news", lambda payload: heard.put_nowait(("b too", payload)))
        await b.listen("other", lambda payload: heard.put_nowait(("other", payload)))
        await a.broadcast("news", b"7")
        async with asyncio.timeout(LONG):
            found = [await heard.get() for _ in range(3)]
        assert sorted(found) == [("a", b"7"), ("b", b"7"), ("b too", b"7")]
        assert heard.empty()

    async def test_a_broadcast_that_nobody_hears_is_no_error(
        self, nodes: tuple[Transport, Transport]
    ) -> None:
        await nodes[0].broadcast("nobody", b"x")


async def _echo(payload: bytes) -> bytes:
    return payload


async def _shout(payload: bytes) -> bytes:
    return payload.upper()
