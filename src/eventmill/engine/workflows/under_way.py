"""Under way: what a workflow has outstanding, and the rows that see to it. Pure.

Invariants: a run's number is given once; a run that has begun and is given up, or ended without being
refused, is on the stack of what can be undone; a run that was decided but not begun (`fresh`) leaves
no trace when something else comes first; there is at most one row per branch, pause, wait and limit.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from eventmill.engine.workflows import rows
from eventmill.engine.workflows.planning import Plans
from eventmill.engine.workflows.rows import Owner
from eventmill.model import limits
from eventmill.model.commit import Timer
from eventmill.model.definition import WorkflowDefinition
from eventmill.model.progress import Child, Planned, Progress, Run, Status, Undo


class UnderWay:
    """A workflow's progress while it changes, and the rows that change with it.

    Parameters: `fresh` are the numbers of runs that have not begun; `place` is whose effect it is.
    """

    def __init__(
        self,
        definition: WorkflowDefinition,
        owner: Owner,
        progress: Progress,
        fresh: Iterable[int],
        now: int,
        place: str,
    ) -> None:
        self.progress = msgspec.structs.replace(
            progress, runs=[*progress.runs], undo=[*progress.undo]
        )
        self.timers: dict[str, Timer | None] = {}
        self.orphans: list[Child] = []
        """Children that it leaves behind."""
        self.fresh = set(fresh)
        self.sets_off = self._was_idle = not progress.runs
        """Whether what runs after this has to do with nothing that ran before."""
        self.by_event = False
        """Whether it is set off by an event that may be followed by others like it."""
        self._definition = definition
        self._owner = owner
        self._now = now
        self._place = place
        self._plans = Plans(definition, place)

    def _start(
        self, planned: Planned, *, branch: int = 0, undoes: int = 0, error: str = ""
    ) -> None:
        progress = self.progress
        progress.number += 1
        if progress.status is not Status.COMPENSATING:
            progress.status = Status.RUNNING
        run = Run(progress.number, planned.step, planned.input, branch, undoes=undoes, error=error)
        self._outstanding(run)

    def _outstanding(self, run: Run) -> None:
        self.progress.runs.append(run)
        self.fresh.add(run.number)
        self._put(run)

    def _replace(self, run: Run, by: Run) -> None:
        self.progress.runs = [by if one is run else one for one in self.progress.runs]
        self._put(by)

    def _again(self, runs: list[Run]) -> None:
        for run in [*runs]:
            current = self.progress.run(run.number)
            assert current is not None
            self._replace(current, run)

    def _put(self, run: Run) -> None:
        seconds = self._plans.step(run.step).timeout
        row = rows.step_row(self._owner, run, seconds, self._now)
        self.timers[row.name] = row

    def _drop(self, run: Run, *, had_effect: bool = True) -> None:
        """A run is over: remember how to undo it."""
        self.progress.runs = [one for one in self.progress.runs if one is not run]
        self.timers[rows.step_name(self._owner, run.branch)] = None
        began = run.number not in self.fresh
        self.fresh.discard(run.number)
        step = self._definition.steps.get(run.step)
        if step is not None and step.compensate and began and had_effect and not run.undoes:
            input = self._plans.part(step.compensate, run.input)
            self.progress.undo.append(Undo(run.number, step.compensate, input))

    def _clear(self) -> None:
        """Give up everything that is outstanding."""
        for run in [*self.progress.runs]:
            self._drop(run)
        self.progress.join = None
        wait, self.progress.wait = self.progress.wait, None
        if wait is not None and wait.source:
            self.timers[rows.wait_name(self._owner, wait.source, wait.key)] = None
        elif wait is not None and wait.on_timeout:
            self.timers[rows.pause_name(self._owner)] = None

    def _finish(self, status: Status) -> None:
        self.progress.status = status
        self.progress.ended = self._now
        self.progress.suspended = False
        if self.progress.has_deadline:
            self.timers[rows.deadline_name(self._owner)] = None
            self.progress.has_deadline = False
        self.orphans += self.progress.children
        self.progress.children = []

    def _lack_of_room(self) -> str:
        """All that is outstanding and can be undone is in each entry of history."""
        progress = self.progress
        inputs = [undo.input for undo in progress.undo] + [run.input for run in progress.runs]
        size = sum(len(bytes(input)) for input in inputs)
        if (
            progress.number >= limits.WORKFLOW_RUNS_MAX
            or len(progress.undo) >= limits.WORKFLOW_UNDO_MAX
            or size >= limits.PAYLOAD_BYTES_MAX
        ):
            return (
                f"workflow {self._owner.component}/{self._owner.id} has had {progress.number} steps, "
                f"{len(progress.undo)} of which can be undone, with {size} bytes of input: start "
                "another one that goes on where it ends"
            )
        return ""
