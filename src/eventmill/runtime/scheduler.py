"""The scheduler: turns due timers into sent commands, and sweeps what has expired.

Firing is one commit: the timer goes, its command is appended; the courier delivers it. Only the
timers that are due are in memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping

import msgspec
import structlog

from eventmill.engine.outgoing import PURGE
from eventmill.errors import Conflict, Unavailable
from eventmill.model.commit import Commit, Timer
from eventmill.model.entry import Entry
from eventmill.model.orders import DUE
from eventmill.ports.clock import Clock
from eventmill.ports.store import Store
from eventmill.runtime.committer import Committer
from eventmill.runtime.dispatch.subscription import Subscription

log = structlog.get_logger()

TIMERS_AT_ONCE = 1_000
LOOK_AHEAD_SECONDS = 1.0
"""Longest sleep; new timers wake it earlier."""

CHANGING_SECONDS = 0.001
"""Pause while a due timer's cancelling or replacing commit is under way."""

ROW_SECONDS = 0.01
"""Pause before a workflow's row that is due is looked at again; it is seen to meanwhile."""

PURGE_AGAIN_SECONDS = 3_600.0
"""After this, a removal is tried again that somebody who reads slowly held back."""

SWEEP_SECONDS = 10.0
SWEEP_ROWS = 2_000
SWEEP_MORE_SECONDS = 0.05
"""Pause when there is more to remove: commands go first."""


class Scheduler:
    """Owns the timers' loop.

    Parameters: `held` are the home shards whose turns run here, now.
    """

    def __init__(
        self,
        store: Store,
        committer: Committer,
        clock: Clock,
        held: Collection[int],
        subscriptions: Mapping[str, Subscription],
    ) -> None:
        self._store = store
        self._held = held
        self._subscriptions = subscriptions
        self._committer = committer
        self._clock = clock
        self._changed = asyncio.Event()
        committer.on_commit.append(self._look)
        self.fired = 0
        self.on_due: Callable[[list[Timer]], None] | None = None
        """Sees to the rows of workflows, which are no commands to be sent."""

    def _look(self, commit: Commit) -> None:
        if commit.timers:
            self._changed.set()

    def wake(self) -> None:
        """Look again: shards were taken."""
        self._changed.set()

    async def run(self) -> None:
        """Fire timers until cancelled."""
        while True:
            self._changed.clear()
            try:
                wait = await self._fire()
            except (Unavailable, Conflict) as error:
                log.warning("timers not fired", error=str(error))
                wait = LOOK_AHEAD_SECONDS
            if wait > 0:
                await self._clock.wait(self._changed, wait)

    async def _fire(self) -> float:
        now = self._clock.now()
        ahead = round(LOOK_AHEAD_SECONDS * 1e6)
        timers = await self._store.due_timers(now + ahead, self._held, limit=TIMERS_AT_ONCE)
        unread = await self._unread([timer for timer in timers if timer.due <= now])
        timers = [timer for timer in timers if timer.command.shard in self._held]  # still
        rows = [timer for timer in timers if timer.command.type == DUE]
        if rows:
            timers = [timer for timer in timers if timer.command.type != DUE]
            await self._see_to([row for row in rows if row.due <= now], now)
        # One that is being cancelled or replaced is looked at again when that is done.
        changing = self._committer.changes_timer
        due = [timer for timer in timers if timer.due <= now and not changing(timer.name)]
        if due:

            def fill(commit: Commit) -> None:
                for timer in due:
                    if timer.name in unread:
                        later = now + round(PURGE_AGAIN_SECONDS * 1e6)
                        commit.timers[timer.name] = Timer(timer.name, later, timer.command)
                        continue
                    timer.command.time = now
                    commit.entries.append(timer.command)
                    commit.fired.append((timer.name, timer.due))

            await self._committer.write(fill)
            self.fired += sum(timer.name not in unread for timer in due)
            return 0.0
        waits = [max((timer.due - now) / 1e6, CHANGING_SECONDS) for timer in timers[:1]]
        # A row that is due stays until its workflow has taken its turn.
        waits += [max((row.due - now) / 1e6, ROW_SECONDS) for row in rows[:1]]
        return min(waits, default=LOOK_AHEAD_SECONDS)

    async def _see_to(self, rows: list[Timer], now: int) -> None:
        """Hand over the rows of workflows that are due. Those of a service that has none any more must
        not stand in the way of others."""
        if self.on_due is not None:
            self.on_due(rows)
        elif rows:
            later = now + round(PURGE_AGAIN_SECONDS * 1e6)
            put_off = {row.name: Timer(row.name, later, row.command) for row in rows}
            await self._committer.write(lambda commit: commit.timers.update(put_off))

    async def _unread(self, timers: list[Timer]) -> set[str]:
        """Return those that would remove a deleted entity whose deletion somebody who follows it
        has not read yet: a view would keep its row for ever."""
        unread: set[str] = set()
        for timer in timers:
            command = timer.command
            if command.type == PURGE:
                readers = self._readers(command.subject.partition("/")[0])
                read = min((r.positions.get(command.shard, 0) for r in readers), default=None)
                if read is not None and await self._deleted_at(command) > read:
                    unread.add(timer.name)
        return unread

    def _readers(self, source: str) -> list[Subscription]:
        return [s for s in self._subscriptions.values() if source in s.reaction.sources]

    async def _deleted_at(self, purge: Entry) -> int:
        """Return the position of the deletion; times do not tell, because clocks are set back."""
        source, _, id = purge.subject.partition("/")
        last = msgspec.json.decode(purge.payload)["sequence"]
        found = await self._store.journal.history(source, id, after=last - 1, limit=1)
        return found[0].position if found else 0

    async def run_sweeps(self) -> None:
        """Remove expired outcomes and refused letters until cancelled."""
        while True:
            found = 0
            try:
                found = await self._store.sweep(self._clock.now(), limit=SWEEP_ROWS)
            except (Unavailable, Conflict) as error:
                log.warning("sweep failed", error=str(error))
            await self._clock.sleep(SWEEP_SECONDS if found < SWEEP_ROWS else SWEEP_MORE_SECONDS)
