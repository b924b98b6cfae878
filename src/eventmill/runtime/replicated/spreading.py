"""Spreading: brings what this node has changed to the other nodes, and counts who has it.

Place on the road: behind the commit. What is durable is sent to every node that is alive, one message
on its way to each; a node that does not answer in time is sent no more of it, because it reads the
store by itself. Its answer says how far it has come, which is what a command with `majority` or
`all` waits for.

Invariants: what waits for a node is bounded, beyond it only positions are told; whoever waits for
others is answered in time, and hears that its change is durable all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol

import msgspec
import structlog

from eventmill.errors import Conflict, EventmillError, NotEverywhere, Unavailable
from eventmill.model import limits
from eventmill.model.commit import Commit
from eventmill.model.definition import Consistency
from eventmill.model.entry import DELTAS, Entry, size_of
from eventmill.ports.clock import Clock
from eventmill.runtime.replicated.log import Log

log = structlog.get_logger()

DOOR: Final = "replicas"
"""Where a node takes what others tell."""

SPREAD_SECONDS: Final = 2.0
"""Time that another node has to take what it is told."""

WAIT_SECONDS: Final = 5.0
"""How long a command waits for the other nodes."""

RETRY_SECONDS: Final = 0.2


class Neighbours(Protocol):
    """The other nodes, as far as they are needed here; `runtime.cluster.peers`."""

    def alive(self) -> Mapping[str, str]:
        """Addresses of the other nodes that were alive at the last look, by name."""
        ...

    async def tell(self, address: str, door: str, payload: bytes, seconds: float) -> bytes:
        """Ask another node at one of its doors."""
        ...


class Told(msgspec.Struct, array_like=True, gc=False):
    """What a node has appended: deltas, as they lie in the store, and how far it wants to be read."""

    entries: list[Entry]
    wanted: dict[int, int]


class Taken(msgspec.Struct, array_like=True, gc=False):
    """How far a node has come in these shards."""

    positions: dict[int, int]


_encode = msgspec.msgpack.Encoder().encode
_decode_told = msgspec.msgpack.Decoder(Told).decode
_decode_taken = msgspec.msgpack.Decoder(Taken).decode


class Link:
    """One other node."""

    def __init__(
        self,
        name: str,
        tell: Callable[[bytes], Awaitable[bytes]],
        clock: Clock,
        on_taken: Callable[[], None],
    ) -> None:
        self._name = name
        self._tell = tell
        self._clock = clock
        self._on_taken = on_taken
        self._entries: list[Entry] = []
        self._bytes = 0
        self._wanted: dict[int, int] = {}
        self.taken: dict[int, int] = {}
        """How far it has come, by shard."""
        self.is_waited_for: Callable[[], bool] = lambda: False
        self._sending: asyncio.Task[None] | None = None
        """Owned here: ends when there is nothing to tell."""

    def __repr__(self) -> str:
        return f"<Link to {self._name} [{len(self._entries)} deltas wait]>"

    def add(self, entries: list[Entry]) -> None:
        """Tell it deltas; more than it takes are left for it to read."""
        for entry in entries:
            self._wanted[entry.shard] = entry.position
            self._bytes += size_of(entry)
        self._entries += entries
        if self._bytes > limits.SPREAD_BYTES_MAX:
            self._entries, self._bytes = [], 0
        self.wake()

    def wake(self) -> None:
        """Send, unless a message is on its way: then what waits is the next one."""
        if self._sending is None or self._sending.done():
            self._sending = asyncio.get_running_loop().create_task(self._send())

    def forget(self) -> None:
        """Tell it nothing more: it is gone."""
        self._entries, self._bytes, self._wanted = [], 0, {}

    async def close(self) -> None:
        """End at once."""
        if self._sending is not None and not self._sending.done():
            self._sending.cancel()
            await asyncio.wait({self._sending})

    async def _send(self) -> None:
        while self._wanted:
            entries, wanted = self._parcel()
            try:
                taken = _decode_taken(await self._tell(_encode(Told(entries, wanted))))
            except (EventmillError, msgspec.DecodeError) as error:
                log.debug("deltas not told", node=self._name, error=str(error))
                if not self.is_waited_for():
                    self.forget()
                    return
                self._entries, self._bytes = [], 0
                await self._clock.sleep(RETRY_SECONDS)
                continue
            self._note(taken)
            if any(taken.positions.get(s, 0) < position for s, position in wanted.items()):
                await self._clock.sleep(RETRY_SECONDS)  # it does not get on itself
            self._on_taken()

    def _note(self, taken: Taken) -> None:
        for shard, position in taken.positions.items():
            self.taken[shard] = max(position, self.taken.get(shard, 0))
            if position >= self._wanted.get(shard, 0) or not self.is_waited_for():
                self._wanted.pop(shard, None)

    def _parcel(self) -> tuple[list[Entry], dict[int, int]]:
        """Take what one message carries."""
        size = count = 0
        for entry in self._entries:
            size += size_of(entry) + _FRAME_BYTES
            if size > limits.PARCEL_BYTES_MAX and count:
                break
            count += 1
        entries, self._entries = self._entries[:count], self._entries[count:]
        self._bytes -= sum(map(size_of, entries))
        if size_of(entries[0]) > limits.PARCEL_BYTES_MAX if entries else False:
            entries = []  # it reads this one
        return entries, dict(self._wanted)


_FRAME_BYTES = 128
"""What an entry takes in a message besides its payload, at most, but for its id."""


class Waiting:
    """A command that waits for other nodes."""

    __slots__ = ("consistency", "future", "position", "shard")

    def __init__(self, shard: int, position: int, consistency: Consistency) -> None:
        self.shard = shard
        self.position = position
        self.consistency = consistency
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Spreading:
    """The links to all other nodes; a node that is alone has none."""

    def __init__(self, replicas: Log, clock: Clock) -> None:
        self._log = replicas
        self._clock = clock
        self._links: dict[str, Link] = {}
        self._waiting: set[Waiting] = set()

    def __repr__(self) -> str:
        return f"<Spreading [{', '.join(self._links) or 'alone'}]>"

    def meet(self, neighbours: Neighbours) -> None:
        """Look who is alive."""
        alive = neighbours.alive()
        for name in self._links.keys() - alive.keys():
            self._links.pop(name).forget()
        for name in alive.keys() - self._links.keys():
            self._links[name] = self._link(name, alive[name], neighbours)
        self._look()

    def committed(self, commit: Commit) -> None:
        """Tell the others what is durable now."""
        if not self._links:
            return
        entries = [entry for entry in commit.entries if entry.source == DELTAS]
        if entries:
            for link in self._links.values():
                link.add(entries)

    async def reached(self, shard: int, position: int, consistency: Consistency) -> None:
        """Return when so many nodes have read a shard up to a position.

        Raises `NotEverywhere` if they have not in time.
        """
        waiting = Waiting(shard, position, consistency)
        if self._is_reached(waiting):
            return
        if len(self._waiting) >= limits.IN_FLIGHT_MAX:
            raise _too_late(consistency)
        self._waiting.add(waiting)
        done = asyncio.Event()
        waiting.future.add_done_callback(lambda _: done.set())
        try:
            for link in self._links.values():
                link.wake()
            await self._clock.wait(done, WAIT_SECONDS)
        finally:
            self._waiting.discard(waiting)
        if not done.is_set():
            raise _too_late(consistency)

    async def answer(self, payload: bytes) -> bytes:
        """Take what another node tells; say how far this one has come."""
        told = _decode_told(payload)
        self._log.take(told.entries)
        if self._is_behind(told.wanted):
            try:
                await self._log.catch_up()
            except (Unavailable, Conflict) as error:
                log.warning("deltas not read", error=str(error))
        positions = self._log.positions
        return _encode(Taken({shard: positions.get(shard, 0) for shard in told.wanted}))

    async def close(self) -> None:
        """Tell nobody anything any more."""
        for link in self._links.values():
            await link.close()

    def _link(self, name: str, address: str, neighbours: Neighbours) -> Link:
        def tell(payload: bytes) -> Awaitable[bytes]:
            return neighbours.tell(address, DOOR, payload, SPREAD_SECONDS)

        link = Link(name, tell, self._clock, self._look)
        link.is_waited_for = lambda: bool(self._waiting)
        return link

    def _look(self) -> None:
        for waiting in [one for one in self._waiting if self._is_reached(one)]:
            if not waiting.future.done():
                waiting.future.set_result(None)

    def _is_reached(self, waiting: Waiting) -> bool:
        has = sum(
            link.taken.get(waiting.shard, 0) >= waiting.position for link in self._links.values()
        )
        nodes = len(self._links) + 1
        return has >= (nodes - 1 if waiting.consistency == "all" else nodes // 2)

    def _is_behind(self, wanted: Mapping[int, int]) -> bool:
        return any(self._log.positions.get(s, 0) < position for s, position in wanted.items())


def _too_late(consistency: Consistency) -> NotEverywhere:
    nodes = "all other nodes" if consistency == "all" else "a majority of the nodes"
    return NotEverywhere(
        f"the change is durable and will reach every node, but {nodes} did not have it within "
        f"{WAIT_SECONDS:g} s"
    )
