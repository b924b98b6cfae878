"""The transport between nodes of one process, over a network with faults for tests.

    network = Network(clock)
    a, b = Transport(network, "a"), Transport(network, "b")
    network.part({"a"}, {"b"})      # requests across time out, broadcasts are lost
    network.pause("b")              # as SIGSTOP: b takes nothing and sends nothing until `resume`

Faults hold from now on, for what is sent and for what is on its way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from eventmill.errors import DeadlineExceeded, InternalError, Overloaded, TooLarge, Unreachable
from eventmill.model import limits
from eventmill.ports.clock import Clock
from eventmill.ports.directory import Instance
from eventmill.ports.transport import Handler, Listener

_log = logging.getLogger("eventmill.memory")


class Network:
    """What nodes of one process are connected by, and how it fails."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.nodes: dict[str, Transport] = {}
        self.announced: dict[str, Instance] = {}
        """What each node has entered into the directory."""
        self.delay_seconds = 0.0
        """How long each request, each answer and each broadcast is on its way."""
        self.lost: Callable[[], bool] = lambda: False
        """Asked for every broadcast that arrives somewhere: whether it does not."""
        self._groups: list[frozenset[str]] = []
        self._paused: dict[str, asyncio.Event] = {}

    def __repr__(self) -> str:
        faults = f"{len(self._groups)} groups, {len(self._paused)} paused"
        return f"<Network {sorted(self.nodes)} [{faults}]>"

    def part(self, *groups: Iterable[str]) -> None:
        """Let only nodes of the same group reach each other; a node in none reaches itself."""
        self._groups = [frozenset(group) for group in groups]

    def heal(self) -> None:
        """Let all nodes reach each other."""
        self._groups = []

    def pause(self, node: str) -> None:
        """Stop a node's sending and receiving."""
        self._paused.setdefault(node, asyncio.Event())

    def resume(self, node: str) -> None:
        """Let a node go on; what waited for it arrives now."""
        if node in self._paused:
            self._paused.pop(node).set()

    def reaches(self, sender: str, receiver: str) -> bool:
        """Whether there is a way from one node to another."""
        together = any(sender in group and receiver in group for group in self._groups)
        return not self._groups or sender == receiver or together

    async def going(self, node: str) -> None:
        """Wait until a node is not paused."""
        while (paused := self._paused.get(node)) is not None:
            await paused.wait()

    async def travel(self) -> None:
        """Wait as long as anything is on its way."""
        if self.delay_seconds:
            await self.clock.sleep(self.delay_seconds)


class Transport:
    """One node's part of a network. Parameters: `node` is its name there."""

    def __init__(self, network: Network, node: str) -> None:
        self.node = node
        self.network = network
        self._served: dict[str, Handler] = {}
        self._listeners: dict[str, list[Listener]] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._handling = 0

    def __repr__(self) -> str:
        return f"<memory.Transport {self.node} [{len(self._served)} addresses]>"

    async def open(self) -> None:
        self.network.nodes[self.node] = self

    async def close(self) -> None:
        if self.network.nodes.get(self.node) is self:
            del self.network.nodes[self.node]
            self.network.announced.pop(self.node, None)
        self._served.clear()
        self._listeners.clear()
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def serve(self, address: str, handler: Handler) -> None:
        self._served[address] = handler

    async def withdraw(self, address: str) -> None:
        self._served.pop(address, None)

    async def request(self, address: str, payload: bytes, seconds: float) -> bytes:
        _check_size(payload)
        owner = self._owner(address)
        if owner is None:
            raise Unreachable(f"nobody serves {address!r} now")
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        over = asyncio.Event()
        answer.add_done_callback(lambda _: over.set())
        owner._start(self._exchange(owner, address, payload, answer))
        await self.network.clock.wait(over, seconds)
        if not answer.done():
            answer.cancel()
            raise DeadlineExceeded(f"no answer within {seconds:g} s; its outcome is unknown")
        return answer.result()

    async def broadcast(self, channel: str, payload: bytes) -> None:
        _check_size(payload)
        for node in list(self.network.nodes.values()):
            node._start(self._tell(node, channel, payload))

    async def listen(self, channel: str, listener: Listener) -> None:
        self._listeners.setdefault(channel, []).append(listener)

    def _owner(self, address: str) -> Transport | None:
        """The node that serves an address; the latest, if several do."""
        serving = [node for node in self.network.nodes.values() if address in node._served]
        return serving[-1] if serving else None

    async def _exchange(
        self, owner: Transport, address: str, payload: bytes, answer: asyncio.Future[bytes]
    ) -> None:
        """Carry a request there and its answer back; what gets lost leaves the answer open."""
        if not await self._passes(self.node, owner.node):
            return
        handler = owner._served.get(address)
        if handler is None:
            outcome: bytes | Exception = Unreachable(f"nobody serves {address!r} now")
        else:
            outcome = await owner._handled(handler, address, payload)
        if await self._passes(owner.node, self.node) and not answer.done():
            if isinstance(outcome, Exception):
                answer.set_exception(outcome)
            else:
                answer.set_result(outcome)

    async def _handled(self, handler: Handler, address: str, payload: bytes) -> bytes | Exception:
        if self._handling >= limits.TRANSPORT_HANDLERS_MAX:
            return Overloaded(f"{address!r} handles as many requests as it may")
        self._handling += 1
        try:
            answer = await handler(payload)
            _check_size(answer)
        except Exception:
            _log.exception("a handler of requests failed")
            return InternalError(f"the handler of {address!r} failed; its log tells why")
        else:
            return answer
        finally:
            self._handling -= 1

    async def _tell(self, node: Transport, channel: str, payload: bytes) -> None:
        if await self._passes(self.node, node.node) and not self.network.lost():
            for listener in node._listeners.get(channel, []):
                listener(payload)

    async def _passes(self, sender: str, receiver: str) -> bool:
        """Travel from one node to another; return whether it arrived."""
        network = self.network
        await network.going(sender)
        if not network.reaches(sender, receiver):
            return False
        await network.travel()
        await network.going(receiver)
        return network.reaches(sender, receiver)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)


def _check_size(payload: bytes) -> None:
    if len(payload) > limits.TRANSPORT_BYTES_MAX:
        raise TooLarge(
            f"nodes send each other at most {limits.TRANSPORT_BYTES_MAX} bytes at once, "
            f"here {len(payload)}"
        )
