"""Due: sees to the rows of workflows whose time has come: attempts, pauses, waits, limits.

Place on the road: behind the scheduler, which finds the rows, and beside the runner, which begins steps.

Invariants: a row is seen to by one task at a time; it is only put again in the turn of its workflow, so
that it never takes the place of a newer one; one that nobody can read here is looked at again later.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog

from eventmill.engine.causation import caused_by
from eventmill.engine.workflows import deciding, rows
from eventmill.engine.workflows.rows import Due, Owner
from eventmill.errors import Conflict, DataMisfit, EventmillError, NotOwner, Unavailable
from eventmill.model import limits
from eventmill.model.commit import Commit, Timer
from eventmill.model.envelope import Envelope
from eventmill.model.orders import ARRIVED, DUE
from eventmill.model.transition import TimedOut
from eventmill.ports.clock import Clock
from eventmill.ports.store import Store
from eventmill.runtime.committer import Committer
from eventmill.runtime.turns.cells import Cell, Key
from eventmill.runtime.turns.turn import Entities
from eventmill.runtime.workflows.looking_back import Found, LookBack

if TYPE_CHECKING:
    from eventmill.runtime.workflows.runner import Runner

log = structlog.get_logger()

LOOK_AGAIN_MICROSECONDS: Final = 1_000_000
"""Pause before a wait looks back again whose source could not be read."""


class DueRows:
    """Sees to rows, for one runner."""

    def __init__(
        self,
        runner: Runner,
        entities: Entities,
        store: Store,
        committer: Committer,
        clock: Clock,
        look_back: LookBack,
    ) -> None:
        self._runner = runner
        self._entities = entities
        self._store = store
        self._committer = committer
        self._clock = clock
        self._look_back = look_back
        self._handled: set[str] = set()
        """Rows that are being seen to."""

    def __repr__(self) -> str:
        return f"<DueRows [{len(self._handled)} being seen to]>"

    def see_to(self, timers: list[Timer]) -> None:
        """See to rows that are due."""
        for timer in timers:
            if timer.name not in self._handled:
                self._handled.add(timer.name)
                task = self._runner.spawn(self._see_to(timer))
                task.add_done_callback(partial(self._seen_to, timer.name))

    def _seen_to(self, name: str, task: asyncio.Task[None]) -> None:
        self._handled.discard(name)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a workflow's row was not seen to", row=name, exc_info=error)

    async def _see_to(self, timer: Timer) -> None:
        component, id, due = rows.read(timer)
        try:
            if component not in self._entities.definitions:
                await self._later(timer)
                return
            cell = await self._loaded((component, id))
            if cell is None:
                await self._later(timer)
            elif due.kind == rows.STEP:
                await self._step_due(timer, cell, due)
            elif due.looks:
                await self._look_at(timer, cell, due)
            else:
                await self._timed_out(timer, cell, due)
        except NotOwner:
            return
        except (Unavailable, Conflict) as error:
            log.warning("a workflow's row was not seen to", row=timer.name, error=str(error))
            await self._runner.rest()

    async def _loaded(self, key: Key) -> Cell | None:
        while (cell := self._entities.cells.get(key)) is None:
            if not self._entities.holds(self._store.placement.entity(key[1])):
                raise NotOwner("its shard has moved")
            try:
                await self._entities.cells.load(key)
            except DataMisfit as error:
                self._runner.be_stuck(key, error.message)
                return None
        return cell

    async def _step_due(self, timer: Timer, cell: Cell, due: Due) -> None:
        """Begin the next attempt, or look after one whose time is over: its node may be gone."""
        assert cell.progress is not None
        key, run = (cell.definition.id, cell.id), cell.progress.run(due.number)
        if run is None or cell.deleted:
            await self._remove(timer)
            return
        batch = self._committer.open_batch()
        owner, now = Owner(*key, cell.shard), self._clock.now()
        steps = cell.definition.workflow.steps if cell.definition.workflow else {}
        seconds = steps[run.step].timeout if run.step in steps else limits.STUCK_SECONDS
        if run.at <= now:
            row = rows.step_row(owner, run, seconds, now)
            batch.commit.timers[row.name] = row  # no await since it was looked up: it is the newest
            if not cell.progress.suspended:
                self._runner.start(key, run.number, run.attempt)
        await self._entities.settled()

    async def _look_at(self, timer: Timer, cell: Cell, due: Due) -> None:
        """Give a workflow what came before its wait was durable; if nothing did, let it wait."""
        wait = cell.progress.wait if cell.progress is not None else None
        sources = cell.definition.workflow.sources if cell.definition.workflow is not None else {}
        if wait is None or wait.number != due.number:
            await self._remove(timer)
            return
        if wait.source not in sources:
            if due.at <= self._clock.now():
                await self._timed_out(timer, cell, due)
            else:
                await self._later(timer, due.at)
            return
        key = cell.definition.id, cell.id
        try:
            found = await self._look_back.first(key, sources[wait.source], due)
        except Unavailable as error:
            log.warning("a wait could not look back yet", workflow=key, error=str(error))
            row = Timer(timer.name, self._clock.now() + LOOK_AGAIN_MICROSECONDS, timer.command)
        else:
            if found is not None:
                await self._arrived(timer, cell, due, found)
                return
            row = rows.looked_back(timer, due)
        if due.at <= self._clock.now():
            await self._timed_out(timer, cell, due)
            return
        now_there = await self._loaded(key)
        waits = now_there.progress.wait if now_there is not None and now_there.progress else None
        if waits is not None and waits.number == due.number:
            self._committer.open_batch().commit.timers[row.name] = row  # no await: it is the newest
            await self._entities.settled()

    async def _arrived(self, timer: Timer, cell: Cell, due: Due, found: Found) -> None:
        cause = caused_by(found.entry) if found.entry is not None else None
        arguments = (due.number, msgspec.Raw(found.event), found.position)
        await self._happen(timer, cell, ARRIVED, arguments, cause)

    async def _timed_out(self, timer: Timer, cell: Cell, due: Due) -> None:
        await self._happen(timer, cell, DUE, (TimedOut(due.kind, due.number),), None)

    async def _happen(
        self, timer: Timer, cell: Cell, name: str, arguments: tuple[Any, ...], cause: bytes | None
    ) -> None:
        key = cell.definition.id, cell.id
        if cell.deleted or deciding.effect_of(cell, name, arguments) is None:
            await self._remove(timer)
            return
        try:
            answer = await self._entities.submit(Envelope(*key, name, arguments, metadata=cause))
        except Unavailable:
            raise
        except EventmillError as error:  # raised by the turn itself, so the row is still the newest
            self._runner.be_stuck(key, error.message)
            self._put_off(timer, self._committer.open_batch().commit)
            await self._entities.settled()
            return
        if not isinstance(answer, bytes):
            await answer

    async def _remove(self, timer: Timer) -> None:
        """Remove a row that means nothing any more, unless another has taken its place."""
        await self._committer.submit_alone(Commit(fired=[(timer.name, timer.due)]))

    async def _later(self, timer: Timer, latest: int = rows.NEVER) -> None:
        """Look at a row again later that means nothing to this code."""
        await self._committer.write(lambda commit: self._put_off(timer, commit, latest))

    def _put_off(self, timer: Timer, commit: Commit, latest: int = rows.NEVER) -> None:
        due = min(self._clock.now() + round(limits.STUCK_SECONDS * 1e6), latest)
        commit.timers[timer.name] = Timer(timer.name, due, timer.command)
