"""Actors: the number under which a node changes replicas, its own as long as it lives.

Dots are named after actors, and a context has an entry for each actor that ever was; so actors are
slots that nodes take over from nodes that are gone: there are as many as nodes at a time, however
often they are restarted. A slot is a fact in the store, `replica/<number>`, taken by compare-and-set,
and every commit with deltas expects it to be unchanged: whoever was taken for dead, or does not know
what became of its last commit, cannot add a dot to what its successor has begun.

Invariants: a node makes dots only while it holds a slot and has seen every delta that was made under
it before; after a failed commit it takes the slot anew, which ends what may still be under way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from eventmill.errors import Conflict, Unavailable
from eventmill.model import limits
from eventmill.model.commit import Commit
from eventmill.ports.clock import Clock
from eventmill.ports.store import Store
from eventmill.runtime.committer import Committer

log = structlog.get_logger()

SLOT: Final = "replica/"
"""Begins the fact that a slot is taken; its number follows."""

RETRY_SECONDS: Final = 0.5
"""Pause when a slot could not be taken."""

ALONE: Final = 1
"""The actor of a node that has the store for itself."""


class Actor:
    """This node's slot. Parameters: `node` is its name, None if it is alone on its store; `others`
    finds the names of the other nodes that are alive; `catch_up` reads every delta that is stored."""

    def __init__(
        self,
        node: str | None,
        store: Store,
        committer: Committer,
        clock: Clock,
        others: Callable[[], Awaitable[set[str]]],
        catch_up: Callable[[], Awaitable[None]],
    ) -> None:
        self._node = node
        self._store = store
        self._committer = committer
        self._clock = clock
        self._others = others
        self._catch_up = catch_up
        self._number = ALONE if node is None else 0
        self._fact = b""
        self._taken = 0
        """How often it took a slot: no two of its facts are equal, whatever the clock does."""
        self._doubt = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Actor {self._number or 'of no slot'}>"

    @property
    def number(self) -> int:
        """The actor.

        Raises `Unavailable` while it is being taken.
        """
        if not self._number:
            raise Unavailable("this node takes its place among the replicas; try again")
        return self._number

    def fence(self, commit: Commit) -> None:
        """Let a commit with deltas be refused if the slot is another node's by now."""
        if self._node is not None:
            name = f"{SLOT}{self._number}"
            commit.registry[name] = commit.expected[name] = self._fact

    def doubt(self) -> None:
        """A commit with deltas failed: nothing is changed before the slot was taken anew."""
        if self._node is not None:
            self._number = 0
            self._doubt.set()

    async def take(self) -> None:
        """Take a slot.

        Raises `Unavailable`, `Conflict`.
        """
        if self._node is None:
            return
        others = await self._others()
        facts = await self._store.registry()
        slots = range(1, limits.REPLICAS_MAX + 1)
        free = (n for n in slots if _holder(facts.get(f"{SLOT}{n}")) not in others)
        number = next(free, None)
        if number is None:
            raise Unavailable(f"{limits.REPLICAS_MAX} nodes change replicated entities already")
        name = f"{SLOT}{number}"
        self._taken += 1
        fact = f"{self._node}/{self._clock.now()}.{self._taken}".encode()
        commit = Commit(registry={name: fact}, expected={name: facts.get(name)})
        await asyncio.shield(self._committer.submit_alone(commit))
        await self._catch_up()
        self._fact, self._number = fact, number

    async def run(self) -> None:
        """Take a slot, and again whenever there is doubt, until cancelled."""
        self._doubt.set()
        while True:
            await self._doubt.wait()
            self._doubt.clear()
            try:
                await self.take()
            except (Unavailable, Conflict) as error:
                log.warning("no place among the replicas yet", error=str(error))
                self._doubt.set()
                await self._clock.sleep(RETRY_SECONDS)


def _holder(fact: bytes | None) -> str:
    return "" if fact is None else fact.decode().rpartition("/")[0]
