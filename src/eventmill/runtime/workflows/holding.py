"""Holding: commands that came while a step runs, until its outcome is decided.

Place on the road: in the turn, before the handler. They are in memory only: whoever sent one waits for
its answer, and hears soon enough if there will be none. Commands that were sent (`runtime.dispatch.courier`)
are not held here, but parked.

Invariants: commands of one workflow take their turns in the order in which they came; each waits no
longer than its own deadline, or `WORKFLOW_WAIT_SECONDS`; their number is bounded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import NamedTuple

from eventmill.errors import DeadlineExceeded, EventmillError, NotOwner, Overloaded
from eventmill.model import limits
from eventmill.model.envelope import Envelope
from eventmill.ports.clock import Clock
from eventmill.runtime.turns.cells import Key

TICK_SECONDS = 0.25
"""Between two looks at the deadlines."""


class Held(NamedTuple):
    """A command that waits."""

    envelope: Envelope
    once: bytes | None
    future: asyncio.Future[bytes]
    give_up: float


class Holding:
    """All commands of a node that wait for the ends of steps."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._held: dict[Key, list[Held]] = {}
        self._count = 0
        self._some = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Holding [{self._count} commands of {len(self._held)} workflows]>"

    def hold(self, key: Key, envelope: Envelope, once: bytes | None) -> asyncio.Future[bytes]:
        """Let a command wait; the future is its answer.

        Raises `Overloaded` when too many wait already.
        """
        is_full = self._count >= limits.WORKFLOW_COMMANDS_MAX
        if is_full or len(self._held.get(key, ())) >= limits.MAILBOX_ENTITY_MAX:
            raise Overloaded(f"too many commands wait for a step of {key[0]}/{key[1]}")
        give_up = self._clock.monotonic() + limits.WORKFLOW_WAIT_SECONDS
        if envelope.deadline is not None:
            give_up = min(give_up, envelope.deadline)
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._held.setdefault(key, []).append(Held(envelope, once, future, give_up))
        self._count += 1
        self._some.set()
        return future

    def has(self, key: Key) -> bool:
        """Whether commands of a workflow wait."""
        return key in self._held

    def release(
        self, key: Key, turn: Callable[[Envelope, bytes | None], bytes | asyncio.Future[bytes]]
    ) -> None:
        """Let the commands of a workflow take their turns, one after the other."""
        for held in self._taken(key):
            if held.future.done():
                continue
            try:
                answer = turn(held.envelope, held.once)
            except Exception as error:  # it is for whoever waits
                held.future.set_exception(error)
                continue
            if isinstance(answer, bytes):
                held.future.set_result(answer)
            else:
                _pass_on(answer, held.future)

    def refuse(self, key: Key, error: Callable[[], EventmillError]) -> None:
        """Answer all commands of a workflow with an error."""
        for held in self._taken(key):
            if not held.future.done():
                held.future.set_exception(error())

    def leave(self, is_of: Callable[[str], bool]) -> None:
        """Send away the commands of workflows that another node has from now on."""
        for key in [key for key in self._held if is_of(key[1])]:
            self.refuse(key, lambda: NotOwner("its shard has moved"))

    async def run(self) -> None:
        """Answer those whose time is over, until cancelled."""
        while True:
            await self._some.wait()
            await self._clock.sleep(TICK_SECONDS)
            now = self._clock.monotonic()
            for key in [*self._held]:
                self._end_late(key, now)
            if not self._held:
                self._some.clear()

    def _end_late(self, key: Key, now: float) -> None:
        queue = self._held[key]
        late = [held for held in queue if held.give_up <= now or held.future.done()]
        if not late:
            return
        for held in late:
            if not held.future.done():
                held.future.set_exception(
                    DeadlineExceeded(f"a step of {key[0]}/{key[1]} is still running")
                )
        self._keep(key, [held for held in queue if held not in late])

    def _taken(self, key: Key) -> Iterable[Held]:
        queue = self._held.pop(key, [])
        self._count -= len(queue)
        return queue

    def _keep(self, key: Key, queue: list[Held]) -> None:
        self._count -= len(self._held[key]) - len(queue)
        if queue:
            self._held[key] = queue
        else:
            del self._held[key]


def _pass_on(answer: asyncio.Future[bytes], to: asyncio.Future[bytes]) -> None:
    """Let a future have the result of another."""

    def done(answer: asyncio.Future[bytes]) -> None:
        if answer.cancelled():
            to.cancel()
            return
        error = answer.exception()
        if to.done():
            return
        if error is not None:
            to.set_exception(error)
        else:
            to.set_result(answer.result())

    answer.add_done_callback(done)
