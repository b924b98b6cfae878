"""Control: what is asked on one node and concerns all of them.

Place on the road: beside it, over the transport. An act of an operator goes to every node that holds
shards of the subscription, as a command goes to the node that holds its entity; it is answered when
all of them have done it. How the subscriptions are doing, and what is still in use, is asked of
every node that is alive.

Invariants: an act is repeated for a shard only after an answer that says that it was not done there,
and it says which shards it could not reach; each request has a time limit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Final, Protocol

import msgspec
import structlog

from eventmill.errors import (
    EventmillError,
    InternalError,
    NotOwner,
    Unavailable,
    Unreachable,
)
from eventmill.model import limits
from eventmill.model.failure import Failure, error_of, failure_of
from eventmill.runtime.cluster.router import LOOK_SECONDS, ROUTE_SECONDS
from eventmill.runtime.control import status
from eventmill.runtime.control.acts import Act, Acts
from eventmill.runtime.control.status import ConsumerStatus

if TYPE_CHECKING:
    from eventmill.runtime.runtime import Runtime

log = structlog.get_logger()

HERE: Final = ""
"""Stands for the address of this node."""


class Others(Protocol):
    """The other nodes, as far as they are needed here; `runtime.cluster.peers`."""

    async def members(self) -> dict[str, str]:
        """Addresses of the other nodes that are alive, by name."""
        ...

    def owners(self, homes: Iterable[int]) -> dict[str, set[int]]:
        """Home shards by the address of who held them at the last look; `HERE` for this node."""
        ...

    async def moved(self, seconds: float) -> None:
        """Return when shards were seen to move, or after so long."""
        ...

    async def ask(self, address: str, question: bytes, seconds: float) -> bytes:
        """Ask the control of another node."""
        ...


class Ask(msgspec.Struct, frozen=True, array_like=True):
    """A question to another node: an act for some of its shards, or how it is."""

    act: Act | None = None
    homes: list[int] = []


class Told(msgspec.Struct, frozen=True, array_like=True):
    """Its answer."""

    failure: Failure | None = None
    count: int = 0
    """Letters that an act concerned."""
    homes: list[int] = []
    """Shards that it was done in, or that the statuses are of."""
    statuses: list[ConsumerStatus] = []
    in_use: list[str] = []
    """Subscriptions and versions of views that the node has."""


_encode = msgspec.msgpack.Encoder().encode
_decode_ask = msgspec.msgpack.Decoder(Ask).decode
_decode_told = msgspec.msgpack.Decoder(Told).decode


class Control:
    """Acts on all shards, asks all nodes. Parameters: `others` is None for a node alone."""

    def __init__(self, runtime: Runtime, others: Others | None) -> None:
        self._runtime = runtime
        self._others = others
        self._acts = Acts(runtime.store, runtime.committer, runtime.roster, runtime.clock)

    async def everywhere(self, act: Act, homes: Collection[int]) -> int:
        """Do it in all these home shards; return how many letters it concerned.

        Raises what the act raises on any node, and `Unavailable` that names the shards in which it
        was not done in time.
        """
        left, done = set(homes), 0
        give_up = self._runtime.clock.monotonic() + ROUTE_SECONDS
        while True:
            owners = self._others.owners(left) if self._others else {HERE: left}
            told = await asyncio.gather(
                *(self._do(address, act, some) for address, some in owners.items())
            )
            done += sum(one.count for one in told)
            left = left.difference(*(one.homes for one in told))
            if not left:
                return done
            failures = [error_of(one.failure) for one in told if one.failure is not None]
            # Shards that have moved are found by another look; nothing else is mended by it.
            lasting = [e for e in failures if not isinstance(e, NotOwner | Unreachable)]
            late = self._runtime.clock.monotonic() > give_up
            if lasting or late or self._others is None:
                raise _not_done(left, done, [*lasting, *failures])
            await self._others.moved(LOOK_SECONDS)

    async def statuses(self) -> dict[str, ConsumerStatus]:
        """How all subscriptions are doing in all shards."""
        mine = status.here(self._runtime)
        if self._others is None:
            return status.together(mine)
        missing = set(range(self._runtime.store.placement.shards)) - self._runtime.roster.followed
        said = [mine]
        for told in await self._ask_all():
            if told.failure is None:
                said.append(told.statuses)
                missing -= set(told.homes)
        said.append(await status.stored(self._runtime, missing))
        return status.together(one for some in said for one in some)

    async def in_use_elsewhere(self) -> set[str]:
        """Subscriptions and versions of views that other nodes have.

        Raises `Unavailable` if one that is alive cannot be asked.
        """
        found: set[str] = set()
        for told in await self._ask_all():
            if told.failure is not None:
                raise error_of(told.failure)
            found.update(told.in_use)
        return found

    async def answer(self, question: bytes) -> bytes:
        """Answer another node."""
        try:
            ask = _decode_ask(question)
        except msgspec.DecodeError as error:
            return _encode(Told(failure_of(InternalError(f"this is no question: {error}"))))
        if ask.act is not None:
            return _encode(await self._do(HERE, ask.act, ask.homes))
        try:
            # What it has follows from facts that whoever asks has changed a moment ago.
            await self._runtime.facts.look()
        except EventmillError as error:
            return _encode(Told(failure_of(error)))
        runtime = self._runtime
        in_use = {*runtime.subscriptions, *runtime.views.in_use()}
        statuses = status.here(runtime)
        return _encode(Told(None, 0, sorted(runtime.roster.followed), statuses, sorted(in_use)))

    async def _do(self, address: str, act: Act, homes: Collection[int]) -> Told:
        if address != HERE:
            return await self._asked(address, Ask(act, sorted(homes)))
        try:
            count, here = await self._acts.do(act, homes)
            return Told(None, count, sorted(here))
        except EventmillError as error:
            return Told(failure_of(error))
        except Exception as error:  # whoever asked must hear of it, whatever it is
            log.error("an act failed", act=type(act).__name__, exc_info=error)
            return Told(failure_of(InternalError(f"{type(error).__name__}; see the log")))

    async def _ask_all(self) -> list[Told]:
        if self._others is None:
            return []
        addresses = (await self._others.members()).values()
        return await asyncio.gather(*(self._asked(address, Ask()) for address in addresses))

    async def _asked(self, address: str, ask: Ask) -> Told:
        assert self._others is not None
        try:
            seconds = limits.ACT_SECONDS if ask.act is not None else limits.STATUS_SECONDS
            answer = await self._others.ask(address, _encode(ask), seconds)
            return _decode_told(answer)
        except EventmillError as error:
            return Told(failure_of(error))
        except msgspec.DecodeError as error:
            return Told(failure_of(InternalError(f"the answer of {address}: {error}")))


def _not_done(left: set[int], done: int, failures: list[EventmillError]) -> EventmillError:
    """Return what is told of shards in which an act was not done, or may not have been."""
    first = failures[0] if failures else Unreachable("nobody holds them now")
    if not isinstance(first, Unavailable):
        return first
    shards = ", ".join(map(str, sorted(left)))
    return type(first)(
        f"not done in shards {shards}, as far as it is known: {first.message}; it is done in the "
        "others: ask again",
        details={"shards": sorted(left), "letters": done},
    )
