"""The scheduler: turns due timers into sent commands, and sweeps what has expired.

Firing is one commit: the timer goes, its command is appended; the courier delivers it. Timers follow
the wall clock and are never early: what is due is read from the store, by its due time, when the clock
says so. Of all others this loop knows only when the first one is due, so pending timers cost no
memory. Firings that are close to each other share a commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping

import msgspec
import structlog

from eventmill.engine.ticks import TICKS
from eventmill.errors import Conflict, Unavailable
from eventmill.model.commit import Commit, Timer
from eventmill.model.entry import TIMER, Entry
from eventmill.model.orders import DUE, PURGE
from eventmill.ports.clock import Clock
from eventmill.ports.store import Store, is_last
from eventmill.runtime.committer import Committer
from eventmill.runtime.dispatch.subscription import Subscription
from eventmill.runtime.schedules import Schedules

log = structlog.get_logger()

TIMERS_AT_ONCE = 1_000
"""Fired in one commit."""

LOOK_AHEAD_SECONDS = 1.0
"""Longest sleep: the wall clock may be set forward. New timers wake it earlier."""

PAUSE_SECONDS = 0.005
"""Between two looks at what is due, unless there is more: what becomes due meanwhile is one commit."""

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

_ANY_TIME = 1 << 62


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
        schedules: Schedules,
    ) -> None:
        self._store = store
        self._held = held
        self._subscriptions = subscriptions
        self._schedules = schedules
        self._committer = committer
        self._clock = clock
        self._changed = asyncio.Event()
        self._looks_at = _ANY_TIME
        """When it looks again by itself; a timer that is due before wakes it."""
        self._settled = False
        """Whether the timers of schedules are as the code has them."""
        committer.on_commit.append(self._look)
        self.fired = 0
        self.late = 0.0
        """Seconds between due and fired, of the last timer that was fired."""
        self.on_due: Callable[[list[Timer]], None] | None = None
        """Sees to the rows of workflows, which are no commands to be sent."""

    def _look(self, commit: Commit) -> None:
        for timer in commit.timers.values():
            if timer is not None and timer.due < self._looks_at:
                self._changed.set()
                return

    def wake(self) -> None:
        """Look again: shards were taken."""
        self._settled = False
        self._changed.set()

    async def run(self) -> None:
        """Fire timers until cancelled."""
        while True:
            self._changed.clear()
            self._looks_at = _ANY_TIME  # what is set from now on may be missed by this look
            try:
                wait = await self._pass()
            except (Unavailable, Conflict) as error:
                log.warning("timers not fired", error=str(error))
                wait = LOOK_AHEAD_SECONDS
            if wait > 0:
                self._looks_at = self._clock.now() + round(wait * 1e6)
                await self._clock.wait(self._changed, wait)

    async def _pass(self) -> float:
        """Fire what is due; return how long there is nothing to do."""
        if not self._settled:
            self._settled = True  # first: shards that are taken meanwhile are looked at again
            try:
                await self._schedules.settle()
            except BaseException:
                self._settled = False
                raise
        now = self._clock.now()
        due = await self._store.due_timers(now, self._held, limit=TIMERS_AT_ONCE)
        if not due:
            return await self._until_next(now)
        rows = [timer for timer in due if timer.command.type == DUE]
        if rows:
            await self._see_to(rows, now)
        unread = await self._unread(due)
        # One that is being cancelled or replaced is looked at again when that is done.
        changing = self._committer.changes_timer
        ready = [
            timer
            for timer in due
            if timer.command.type != DUE
            and timer.command.shard in self._held
            and not changing(timer.name)
        ]
        if not ready:
            # A row that is due stays until its workflow has taken its turn.
            return CHANGING_SECONDS if len(rows) < len(due) else ROW_SECONDS
        await self._committer.write(lambda commit: self._fill(commit, ready, unread, now))
        self.fired += sum(timer.name not in unread for timer in ready)
        self.late = (now - ready[-1].due) / 1e6
        is_all = is_last([timer.command for timer in due], TIMERS_AT_ONCE)
        return PAUSE_SECONDS if is_all else 0.0

    async def _until_next(self, now: int) -> float:
        ahead = now + round(LOOK_AHEAD_SECONDS * 1e6)
        first = await self._store.due_timers(ahead, self._held, limit=1)
        return max((first[0].due - now) / 1e6, CHANGING_SECONDS) if first else LOOK_AHEAD_SECONDS

    def _fill(self, commit: Commit, timers: list[Timer], unread: set[str], now: int) -> None:
        for timer in timers:
            if timer.name in unread:
                later = now + round(PURGE_AGAIN_SECONDS * 1e6)
                commit.timers[timer.name] = Timer(timer.name, later, timer.command)
            elif timer.name.startswith(TICKS):
                self._schedules.fire(timer, now, commit)
            else:
                timer.command.time = now
                timer.command.origin = TIMER
                commit.entries.append(timer.command)
                commit.fired.append((timer.name, timer.due))

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
