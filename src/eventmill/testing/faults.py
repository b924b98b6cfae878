"""A store that fails when a test says so: the way to crash a node between two instructions.

A fault `before` the commit is a disk that refuses; a fault `after` it is the worst case: the commit
is durable and its writer never hears of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal

from eventmill.errors import StoreUnavailable
from eventmill.model.commit import Commit
from eventmill.ports.broker import Broker
from eventmill.ports.clock import Clock
from eventmill.ports.store import Store
from eventmill.testing.watched import WatchedStore

When = Literal["before", "after"]

TURNS_PER_COMMIT = 4
"""Turns of the loop that a commit takes at least: no disk is instant, so others go on meanwhile."""


class _Fault:
    def __init__(
        self,
        nth: int,
        when: When,
        matching: Callable[[Commit], bool],
        error: Exception,
        until: asyncio.Event | None,
    ) -> None:
        self.left = nth
        self.when = when
        self.matching = matching
        self.error = error
        self.until = until


class FaultyStore(WatchedStore):
    """Wraps a store; commits fail as told by `fail`, everything else passes through."""

    def __init__(self, inner: Store, *, broker: Callable[[Clock], Broker] | None = None) -> None:
        super().__init__(inner)
        self.broker = broker
        """Makes a node's way to the broker that has the topics, if they are not in the store."""
        self.commits = 0
        """Commits that were asked for."""
        self.injected = 0
        """Commits that were made to fail: a test proves with it that its fault happened."""
        self._faults: list[_Fault] = []

    def __repr__(self) -> str:
        return f"<FaultyStore {self.inner!r} [{len(self._faults)} faults to come]>"

    def fail(
        self,
        nth: int = 1,
        *,
        when: When = "before",
        matching: Callable[[Commit], bool] = lambda commit: True,
        error: Exception | None = None,
        until: asyncio.Event | None = None,
    ) -> None:
        """Let the `nth` commit from now on fail, of those that `matching` accepts.

        Parameters: `when` is before or after the inner store's commit; `error` is raised instead
        of `StoreUnavailable`; `until` is waited for first, and the commit is under way meanwhile.
        """
        error = error or StoreUnavailable(f"a fault of the test, {when} the commit")
        self._faults.append(_Fault(nth, when, matching, error, until))

    def forget_faults(self) -> None:
        """Drop the faults that have not happened yet."""
        self._faults.clear()

    async def commit(self, commit: Commit) -> None:
        self.commits += 1
        for _ in range(TURNS_PER_COMMIT):
            await asyncio.sleep(0)
        fault = self._next_fault(commit)
        if fault is not None and fault.until is not None:
            await fault.until.wait()
        if fault is not None and fault.when == "before":
            self.injected += 1
            raise fault.error
        await super().commit(commit)
        if fault is not None:
            self.injected += 1
            raise fault.error

    @property
    def to_come(self) -> int:
        """Faults whose commit has not begun."""
        return len(self._faults)

    def _next_fault(self, commit: Commit) -> _Fault | None:
        matching = [fault for fault in self._faults if fault.matching(commit)]
        for fault in matching:
            fault.left -= 1
        ripe = next((fault for fault in matching if fault.left <= 0), None)
        if ripe is not None:
            self._faults.remove(ripe)
        return ripe
