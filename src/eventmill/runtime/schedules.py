"""Schedules: keeps one timer for the next tick of each schedule, and fires it.

Place on the road: called by the scheduler, which owns all timers, so nothing here happens at the same
time as firing.

Invariants: the timer of a schedule is written by the node that holds the home shard of its id, under
that shard's epoch; after `settle` each stored timer follows from the schedule as it is in the code.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from typing import Final

import msgspec

from eventmill.engine import ticks
from eventmill.errors import NotFound
from eventmill.model.commit import Commit, Timer
from eventmill.model.definition import ActionDefinition
from eventmill.ports.clock import Clock
from eventmill.ports.store import Store
from eventmill.runtime.committer import Committer
from eventmill.runtime.facts import Facts

PAUSED: Final = "schedule-paused/"
"""Begins the durable fact that a schedule is paused; its id follows."""

TIMERS_AT_ONCE = 100


class ScheduleStatus(msgspec.Struct, frozen=True):
    """How a schedule stands."""

    name: str
    schedule: str
    missed: str
    paused: bool
    next: int | None
    """When its next tick is due, microseconds since the epoch."""


class Schedules:
    """The schedules of a service.

    Parameters: `held` are the home shards whose work is done here, now.
    """

    def __init__(
        self,
        actions: Mapping[str, ActionDefinition],
        store: Store,
        committer: Committer,
        clock: Clock,
        facts: Facts,
        held: Collection[int],
    ) -> None:
        self._schedules = {id: a.schedule for id, a in actions.items() if a.schedule is not None}
        self._store = store
        self._committer = committer
        self._clock = clock
        self._facts = facts
        self._held = held

    def __repr__(self) -> str:
        return f"<Schedules {list(self._schedules)}>"

    async def settle(self) -> None:
        """Set the timers of schedules that are new or say something else, remove those of schedules
        that are gone."""
        stored = {timer.name: timer async for timer in self._stored()}
        now, commit = self._clock.now(), Commit()
        for id, schedule in self._schedules.items():
            timer = stored.pop(ticks.name_of(id), None)
            is_current = timer is not None and timer.command.payload == schedule.fingerprint
            if not is_current and (home := self.home(id)) in self._held:
                ticks.plan(id, schedule, now, home, commit)
        gone = [timer for timer in stored.values() if timer.command.shard in self._held]
        commit.timers |= dict.fromkeys(timer.name for timer in gone)
        if commit.timers:
            await self._committer.write(lambda batch: batch.timers.update(commit.timers))

    def fire(self, timer: Timer, now: int, commit: Commit) -> int:
        """Let the tick of a due timer become true; return how many runs that are."""
        id = timer.name.removeprefix(ticks.TICKS)
        schedule = self._schedules.get(id)
        if schedule is None:
            commit.timers[timer.name] = None
            return 0
        paused = PAUSED + id in self._facts.known
        return ticks.fire(id, schedule, timer.due, now, self.home(id), commit, paused=paused)

    async def status(self) -> list[ScheduleStatus]:
        """Tell how the schedules stand."""
        due = {timer.name: timer.due async for timer in self._stored()}
        return [
            ScheduleStatus(
                id,
                str(schedule),
                schedule.missed.value,
                PAUSED + id in self._facts.known,
                due.get(ticks.name_of(id)),
            )
            for id, schedule in self._schedules.items()
        ]

    async def pause(self, id: str) -> None:
        """Let ticks pass without a run, on every node and across restarts.

        Raises `NotFound`.
        """
        self.check(id)
        await self._facts.change(Commit(registry={PAUSED + id: b"1"}))

    async def resume(self, id: str) -> None:
        """Let the next tick have its run again.

        Raises `NotFound`.
        """
        self.check(id)
        await self._facts.change(Commit(registry={PAUSED + id: None}))

    def check(self, id: str) -> None:
        """Raise `NotFound` if there is no such schedule."""
        if id not in self._schedules:
            known = ", ".join(self._schedules) or "none"
            raise NotFound(f"no schedule {id!r}; there is {known}")

    def home(self, id: str) -> int:
        """Home shard of a schedule."""
        return self._store.placement.entity(id)

    async def _stored(self) -> AsyncIterator[Timer]:
        """Yield the timers of all schedules, also of those that are gone from the code."""
        after = ticks.TICKS
        while page := await self._store.timers(after=after, limit=TIMERS_AT_ONCE):
            for timer in page:
                if not timer.name.startswith(ticks.TICKS):
                    return
                yield timer
            after = page[-1].name
