"""The runner: starts the steps that are outstanding, and hands their outcomes to turns.

Place on the road: behind the commit, as dispatch is, and before the next turn. What is outstanding is a
row of the store (`engine.workflows.rows`); a commit that puts one makes the runner look at that workflow
at once. Rows whose workflow nobody looks at, because their node is gone, are found when a shard is taken.

Invariants: a step begins only from a progress that is durable, and ends before anything that takes its
place begins; an attempt is made once at a time. Rows whose time has come are seen to by `due`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine
from typing import Any, NamedTuple

import msgspec
import structlog

from eventmill.engine.causation import caused_by
from eventmill.engine.workflows import deciding, rows
from eventmill.engine.workflows.deciding import Outcome
from eventmill.errors import (
    Conflict,
    DataMisfit,
    EventmillError,
    InvalidPayload,
    NotOwner,
    Stuck,
    Unavailable,
)
from eventmill.model import limits
from eventmill.model.commit import Commit, Timer
from eventmill.model.definition import StepDefinition
from eventmill.model.effect import Effect
from eventmill.model.envelope import Envelope
from eventmill.model.orders import OUTCOME
from eventmill.model.progress import Run
from eventmill.ports.clock import Clock
from eventmill.ports.store import Store
from eventmill.runtime.committer import Committer
from eventmill.runtime.turns.cells import Cell, Key
from eventmill.runtime.turns.turn import Entities
from eventmill.runtime.workflows.attempts import Attempts, invalid
from eventmill.runtime.workflows.due import DueRows
from eventmill.runtime.workflows.holding import Holding
from eventmill.runtime.workflows.looking_back import LookBack

log = structlog.get_logger()

AGAIN_SECONDS = 0.2
"""Pause before an outcome is given again that could not be committed."""

PAGE = 1_000
"""Rows of one look for what is outstanding."""

Attempt = tuple[int, int]
"""Number of the run, and of the attempt."""


class Ready(NamedTuple):
    """A step that can begin."""

    cell: Cell
    run: Run
    step: StepDefinition
    arguments: tuple[Any, ...]


class Runner:
    """Owns the steps that run on a node.

    Parameter: `held` are the home shards whose turns run here, now.
    """

    def __init__(
        self,
        entities: Entities,
        store: Store,
        committer: Committer,
        clock: Clock,
        attempts: Attempts,
        look_back: LookBack,
        held: Collection[int],
    ) -> None:
        self._entities = entities
        self._store = store
        self._committer = committer
        self._clock = clock
        self._attempts = attempts
        self.look_back = look_back
        self.rows = DueRows(self, entities, store, committer, clock, look_back)
        self._held = held
        self.holding = Holding(clock)
        self._running: dict[Key, dict[Attempt, asyncio.Task[None] | None]] = {}
        """None: its outcome is being decided, so it cannot be ended any more."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._ending: dict[Key, set[asyncio.Task[None]]] = {}
        """Steps that were given up and have not ended yet."""
        self._resting = 0
        """Tasks that only wait for the clock."""
        self._left_out = False
        """Whether there was no room for a step."""
        self.stuck: dict[Key, str] = {}
        """Workflows that this code cannot go on with, and why."""
        self._look = asyncio.Event()
        entities.steps = self
        committer.on_commit.append(self._committed)
        committer.on_failure.append(lambda batch: self.look())  # it may be true all the same

    def __repr__(self) -> str:
        return f"<Runner [{len(self._tasks)} steps, {self.holding!r}]>"

    @property
    def working(self) -> bool:
        """Whether steps are under way."""
        return len(self._tasks) > self._resting

    @property
    def resting(self) -> bool:
        """Whether something waits only for the clock."""
        return self._resting > 0

    async def run(self) -> None:
        """Look for what is outstanding whenever shards were taken; end all steps when cancelled."""
        try:
            while True:
                await self._look.wait()
                self._look.clear()
                try:
                    await self._start_all()
                except (Unavailable, Conflict) as error:
                    log.warning("outstanding steps not read", error=str(error))
                    await self._clock.sleep(AGAIN_SECONDS)
                    self._look.set()
        finally:
            self.holding.leave(lambda id: True)
            await self._end(list(self._tasks))

    def look(self) -> None:
        """Find what is outstanding: shards were taken, or nobody knows what was committed."""
        self._look.set()

    async def leave(self, homes: Collection[int]) -> None:
        """End the steps of shards that another node has from now on, and send away who waits."""
        shard = self._store.placement.entity
        self.holding.leave(lambda id: shard(id) in homes)
        for key in [key for key in self._running if shard(key[1]) in homes]:
            await self._end([t for t in self._running.get(key, {}).values() if t is not None])

    def is_busy(self, key: Key, cell: Cell) -> bool:
        """Whether a step has begun, here or before this node knew of it, and has not ended.

        Raises `Stuck` for a workflow that is stuck.
        """
        progress = cell.progress
        assert progress is not None
        if not progress.runs:
            return False
        if key in self.stuck:
            raise Stuck(self.stuck[key])
        busy, now, running = False, self._clock.now(), self._running.get(key, {})
        for run in progress.runs:
            if run.number in cell.fresh:
                continue
            if (run.number, run.attempt) in running:
                busy = True
            elif run.at <= now and not progress.suspended:
                self.start(key, run.number, run.attempt)
                busy = True
        return busy

    def hold(self, key: Key, envelope: Envelope, once: bytes | None) -> asyncio.Future[bytes]:
        """Let a command wait for the end of the step."""
        return self.holding.hold(key, envelope, once)

    def moved(self, key: Key, cell: Cell) -> None:
        """Let waiting commands take their turns, before the next step begins."""
        if cell.progress is not None and not cell.progress.runs:
            self.stuck.pop(key, None)
        if self.holding.has(key) and key not in self.stuck and not self.is_busy(key, cell):
            self.holding.release(key, lambda envelope, once: self._turn(key, envelope, once))

    def _turn(
        self, key: Key, envelope: Envelope, once: bytes | None
    ) -> bytes | asyncio.Future[bytes]:
        answer = self._entities.submit_at_once(envelope, once)
        if answer is None:
            raise Unavailable(f"{key[0]}/{key[1]} is being loaded; try again")
        return answer

    def _committed(self, commit: Commit) -> None:
        for name, row in commit.timers.items():
            if name.startswith(rows.STEP_ROWS):
                self._follow(name, row)

    def _follow(self, name: str, row: Timer | None) -> None:
        """Begin what a workflow's commit made outstanding, end what it gave up."""
        _, component, _, id = name.split("/", 3)
        key = component, id
        cell = self._entities.cells.get(key)
        if cell is None or cell.progress is None:
            if row is not None:
                _, _, due = rows.read(row)
                self.start(key, due.number, due.attempt)
            return
        runs = {(run.number, run.attempt): run for run in cell.progress.runs}
        for made, task in [*self._running.get(key, {}).items()]:
            if made not in runs and task is not None:
                task.cancel()
                self._ending.setdefault(key, set()).add(task)
        now = self._clock.now()
        for (number, attempt), run in runs.items():
            if run.at <= now and not cell.progress.suspended:
                self.start(key, number, attempt)

    def start(self, key: Key, number: int, attempt: int) -> None:
        """Begin an attempt, unless it has begun; it finds out itself whether it is still wanted."""
        running = self._running.get(key)
        if running is not None and (number, attempt) in running:
            return
        if len(self._tasks) >= limits.STEPS_MAX:
            self._left_out = True  # its row is found again when there is room
            return
        task = self.spawn(self._run(key, number, attempt))
        self._running.setdefault(key, {})[number, attempt] = task
        task.add_done_callback(lambda done: self._ended(key, (number, attempt), done))

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Begin work that ends with the runner."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _ended(self, key: Key, attempt: Attempt, task: asyncio.Task[None]) -> None:
        if self._left_out and len(self._tasks) <= limits.STEPS_MAX // 2:
            self._left_out = False
            self._look.set()
        running = self._running.get(key, {})
        running.pop(attempt, None)
        if not running:
            self._running.pop(key, None)
        if key in self._ending:
            self._ending[key].discard(task)
            if not self._ending[key]:
                del self._ending[key]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a step's outcome was lost; it is run again", workflow=key, exc_info=error)

    async def _run(self, key: Key, number: int, attempt: int) -> None:
        ready = await self._ready(key, number, attempt)
        if ready is None:
            return
        cell, run = ready.cell, ready.run
        cell.fresh = cell.fresh - {number}
        self.stuck.pop(key, None)
        cause = self._attempts.cause(cell, run)
        outcome = await self._attempts.make(cell, run, cause, ready.step, ready.arguments)
        self._running[key][number, attempt] = None
        await self._deliver(Envelope(*key, OUTCOME, (outcome,), metadata=caused_by(cause)))

    async def _ready(self, key: Key, number: int, attempt: int) -> Ready | None:
        """Return the step as it can begin; None if it is not wanted any more, or stuck."""
        while True:
            cell = await self._durable(key)
            if cell is None or cell.progress is None:
                return None
            run, progress = cell.progress.run(number), cell.progress
            if run is None or run.attempt != attempt or cell.deleted:
                return None
            if run.at > self._clock.now() or progress.suspended:
                return None
            ending = [t for t in self._ending.get(key, ()) if t is not asyncio.current_task()]
            if ending:
                await asyncio.wait(ending)
                continue
            return self._known(key, cell, run)

    async def _durable(self, key: Key) -> Cell | None:
        """Return the workflow when everything that is decided of it is durable; None if it is not
        this node's, or cannot be read."""
        while self._entities.holds(self._store.placement.entity(key[1])):
            cell = self._entities.cells.get(key)
            if cell is None:
                try:
                    await self._entities.cells.load(key)
                except DataMisfit as error:
                    self.be_stuck(key, error.message)
                    return None
                except Unavailable:
                    await self.rest()
            elif cell.is_ahead:
                settled = self._entities.settled()
                await asyncio.wait({settled})
                settled.exception()  # looked at: a commit that failed throws the workflow out
            else:
                return cell
        return None

    def _known(self, key: Key, cell: Cell, run: Run) -> Ready | None:
        if why := deciding.stuck(cell):
            self.be_stuck(key, why)
            return None
        assert cell.definition.workflow is not None
        step = cell.definition.workflow.steps[run.step]
        try:
            return Ready(cell, run, step, step.handler.decode_arguments(bytes(run.input)))
        except InvalidPayload as error:
            self.be_stuck(
                key,
                f"workflow {key[0]}/{key[1]} has input for step {run.step!r} that it does not take any more: "
                f"{error.message}; let it take what was stored, or terminate the workflow",
            )
            return None

    def be_stuck(self, key: Key, why: str) -> None:
        """Say that this code cannot go on with a workflow, and why."""
        if self.stuck.get(key) != why:
            log.error("workflow stuck", workflow=f"{key[0]}/{key[1]}", error=why)
        self.stuck[key] = why
        self.holding.refuse(key, lambda: Stuck(why))

    async def _deliver(self, envelope: Envelope) -> None:
        """Let the workflow take an outcome, as often as it needs; it counts once."""
        while True:
            try:
                answer = await self._entities.submit(envelope)
                if not isinstance(answer, bytes):
                    await answer
                return
            except NotOwner:
                return
            except Unavailable as error:
                log.warning("outcome of a step not committed yet", error=str(error))
                await self.rest()
            except EventmillError as error:
                (outcome,) = envelope.arguments
                if outcome.ran.failed is not None:
                    raise
                ran = msgspec.structs.replace(outcome.ran, next=None, failed=invalid(error))
                envelope.arguments = (Outcome(ran, Effect()),)

    async def rest(self) -> None:
        """Wait a little for what is away."""
        self._resting += 1
        try:
            await self._clock.sleep(AGAIN_SECONDS)
        finally:
            self._resting -= 1

    async def _start_all(self) -> None:
        """Begin what is outstanding in the shards that are held here."""
        after = rows.STEP_ROWS
        while page := await self._store.timers(after=after, limit=PAGE):
            for timer in page:
                if not timer.name.startswith(rows.STEP_ROWS):
                    return
                component, id, due = rows.read(timer)
                is_ours = timer.command.shard in self._held
                is_known = component in self._entities.definitions
                if is_ours and is_known and due.at <= self._clock.now():
                    self.start((component, id), due.number, due.attempt)
            after = page[-1].name

    async def _end(self, tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
