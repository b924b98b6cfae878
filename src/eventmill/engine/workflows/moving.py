"""Moving: a workflow's progress, and what happens to it → its next progress and its rows. Pure.

What is decided here is done by `under_way`, which keeps the progress and its rows in step.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from eventmill.engine import outgoing, retry
from eventmill.engine.workflows import rows, waits
from eventmill.engine.workflows.under_way import UnderWay
from eventmill.errors import HandlerFailed, NotFound, Rejected, TooLarge
from eventmill.model import codec, limits
from eventmill.model.definition import StepDefinition
from eventmill.model.progress import (
    FINAL,
    Child,
    Join,
    Planned,
    Problem,
    Run,
    Status,
    Wait,
)
from eventmill.model.transition import (
    Arrived,
    Compensate,
    End,
    Failed,
    Fork,
    Go,
    Order,
    Pause,
    Ran,
    TimedOut,
    Transition,
    Trouble,
    WaitFor,
)


class NotNow(Rejected):
    """The workflow cannot do that where it is; nothing has changed."""


class Move(UnderWay):
    """One move of a workflow."""

    def adopt(self, children: Sequence[Child]) -> None:
        """Take workflows that it starts as its own: they end with it.

        Raises `NotNow` if it has ended, `TooLarge` for too many.
        """
        progress = self.progress
        if progress.status in FINAL:
            raise self._not_now(f"it is {progress.status}: it can have no children")
        known = dict.fromkeys([*progress.children, *children])
        if len(known) > limits.WORKFLOW_CHILDREN_MAX:
            raise TooLarge(
                f"workflow {self._owner.component}/{self._owner.id} has {len(progress.children)} "
                f"children, {limits.WORKFLOW_CHILDREN_MAX} are possible: wait for the ends of some, "
                "or start those with send that may outlive it"
            )
        progress.children = [*known]

    def stay(self) -> None:
        """Go on with what is outstanding.

        Raises `HandlerFailed` if it has not begun.
        """
        if self.progress.status is Status.NEW:
            self._needed(None)

    def command(self, transition: Transition) -> None:
        """Do what a command wants: it takes the place of whatever is outstanding.

        Raises `NotNow` if the workflow has ended, or is being undone.
        """
        self._need_going()
        self._clear()
        self._next(transition)

    def ran(self, ran: Ran) -> None:
        """Take the outcome of an outstanding run."""
        run = self.progress.run(ran.number)
        assert run is not None
        step = self._definition.steps[run.step]
        if ran.failed is not None:
            self._failed(run, step, ran.failed, ran.luck)
        elif run.undoes:
            self._undone(run, ran.next)
        elif run.branch:
            self._branch_ended(run, ran.next)
        else:
            self._drop(run)
            self._next(self._needed(ran.next))

    def timed_out(self, timed_out: TimedOut) -> None:
        """Go on after a pause, a wait or the whole has taken too long."""
        if timed_out.kind == rows.DEADLINE:
            self.timers[rows.deadline_name(self._owner)] = None
            self.progress.has_deadline = False
            if self.progress.status is Status.COMPENSATING:
                return
            self._clear()
            error = "the workflow took too long"
            if name := self._definition.on_timeout:
                self._start(Planned(name), error=error)
            else:
                self._fail(Problem("", "workflow.timeout", error))
            return
        assert self.progress.wait is not None
        name = self.progress.wait.on_timeout
        self._clear()
        self._start(Planned(name), error="nothing came in time")

    def arrived(self, arrived: Arrived) -> None:
        """Go on with the event that was waited for."""
        wait = self.progress.wait
        assert wait is not None
        step = self._plans.step(wait.then)
        ended = Child(wait.source, wait.key)  # of workflows nothing but the end can be waited for
        self.progress.children = [one for one in self.progress.children if one != ended]
        if arrived.position:
            self.by_event = True
            waits.take(self.progress, wait, arrived.position, self._owner.store)
        parameters = step.handler.parameters
        given = {parameters[0]: arrived.event} if parameters else {}
        self._clear()
        self._start(Planned(step.handler.name, msgspec.Raw(codec.encode(given))))

    def ordered(self, order: Order) -> None:
        """Do what an operator wants.

        Raises `NotNow` if the workflow is where that means nothing.
        """
        progress = self.progress
        self.sets_off = False  # what is tried again or undone has to do with what ran before
        if progress.status is Status.NEW:
            raise NotFound(f"no workflow {self._owner.component}/{self._owner.id}")
        match order:
            case Order.TERMINATE:
                if progress.status in FINAL:
                    raise self._not_now(f"it is {progress.status} already")
                self._clear()
                self._finish(Status.TERMINATED)
            case Order.SUSPEND:
                if progress.status in FINAL:
                    raise self._not_now(f"it is {progress.status}")
                progress.suspended = True
            case Order.RESUME:
                if not progress.suspended:
                    raise self._not_now("it is not suspended")
                progress.suspended = False
                self._again(progress.runs)
            case Order.RETRY:
                self._retry()
            case Order.COMPENSATE:
                self._need_compensable()
                self._clear()
                self._compensate(None)

    def delete(self) -> None:
        """Leave nothing outstanding, and nobody who waits for its end."""
        self._clear()
        if self.progress.status not in FINAL:
            self._finish(Status.ENDED)

    def _need_going(self) -> None:
        status = self.progress.status
        if status in FINAL:
            raise self._not_now(f"it is {status}: start another one, under another id")
        if status is Status.COMPENSATING:
            raise self._not_now("it is being undone")

    def _need_compensable(self) -> None:
        status = self.progress.status
        if status is Status.COMPENSATING or (not self.progress.undo and not self.progress.runs):
            raise self._not_now(f"there is nothing to undo, it is {status}")

    def _not_now(self, why: str) -> NotNow:
        name = f"{self._owner.component}/{self._owner.id}"
        return NotNow(f"workflow {name}: {why}", code="workflow.status")

    def _needed(self, transition: Transition | None) -> Transition:
        if transition is None:
            raise HandlerFailed(
                f"{self._place} does not say what is next: return self.go(…), self.pause(…), "
                "self.wait_for(…) or self.end()",
                code="guard.no_transition",
            )
        return transition

    def _next(self, transition: Transition) -> None:
        progress = self.progress
        if progress.status is Status.NEW:
            self._begin()
        if isinstance(transition, Go | Fork | WaitFor):
            self._need_room()
        match transition:
            case Go():
                self._start(self._plans.of(transition))
            case Fork():
                self._fork(transition)
            case Pause(after, at, on_timeout):
                progress.number += 1
                name = self._plans.name(on_timeout)
                progress.wait = Wait(progress.number, on_timeout=name)
                progress.status = Status.PAUSED
                if name:
                    due = self._due("a pause", after, at)
                    row = rows.pause_row(self._owner, progress.number, due, self._now)
                    self.timers[row.name] = row
            case WaitFor():
                self._wait(transition)
            case End():
                self._finish(Status.ENDED)
            case Compensate(then):
                self._compensate(self._plans.of(then) if then is not None else None)

    def _need_room(self) -> None:
        if why := self._lack_of_room():
            raise TooLarge(why)

    def _begin(self) -> None:
        self.progress.began = self._now
        if self._definition.timeout is not None:
            at = self._due("the workflow", self._definition.timeout, None)
            row = rows.deadline_row(self._owner, at, self._now)
            self.timers[row.name] = row
            self.progress.has_deadline = True

    def _fork(self, fork: Fork) -> None:
        if not 0 < len(fork.branches) <= limits.WORKFLOW_BRANCHES_MAX:
            raise HandlerFailed(
                f"{self._place}: 1 to {limits.WORKFLOW_BRANCHES_MAX} steps run at the same time, "
                f"not {len(fork.branches)}",
                code="guard.branches",
            )
        left = list(range(1, len(fork.branches) + 1))
        self.progress.join = Join(left, self._plans.of(fork.then), fork.any)
        for branch, go in zip(left, fork.branches, strict=True):
            self._start(self._plans.of(go), branch=branch)

    def _wait(self, wait: WaitFor) -> None:
        waits.check_known(self._definition, wait, self._place)
        progress = self.progress
        progress.number += 1
        then, late = self._plans.name(wait.then), self._plans.name(wait.on_timeout)
        progress.wait = Wait(progress.number, wait.source, wait.key, then, late)
        progress.status = Status.WAITING
        at = self._due("a wait", wait.after, None) if wait.after is not None else rows.NEVER
        due = rows.Due(
            rows.WAIT,
            progress.number,
            at=at,
            key=wait.key,
            types=wait.types,
            where=msgspec.to_builtins(wait.where),
        )
        after_steps = not self._was_idle
        store = self._owner.store
        due = waits.looking_back(due, progress, wait.source, store, after_steps=after_steps)
        row = rows.wait_row(self._owner, wait.source, self._now, due)
        self.timers[row.name] = row

    def _due(self, what: str, after: timedelta | None, at: datetime | None) -> int:
        return outgoing.due_at(f"{what} of {self._place}", after, at, self._now)

    def _branch_ended(self, run: Run, transition: Transition | None) -> None:
        join = self.progress.join
        assert join is not None
        self._drop(run)
        if isinstance(transition, Go):
            self._start(self._plans.of(transition), branch=run.branch)
            return
        if transition is not None:
            raise HandlerFailed(
                f"{self._place} runs beside others: such a step returns self.go(…), or an effect "
                "without what is next, when its branch is done",
                code="guard.branch",
            )
        left = [branch for branch in join.left if branch != run.branch]
        if left and not join.any:
            self.progress.join = msgspec.structs.replace(join, left=left)
            return
        self._clear()
        self._start(join.then)

    def _failed(self, run: Run, step: StepDefinition, failed: Failed, luck: float) -> None:
        failures = run.failures + (failed.trouble is not Trouble.UNAVAILABLE)
        is_final = failed.trouble in (Trouble.REJECTED, Trouble.HOPELESS)
        if not is_final and failures < step.retry.attempts:
            wait = retry.delay(step.retry, run.attempt, luck)
            later = msgspec.structs.replace(
                run, attempt=run.attempt + 1, failures=failures, at=self._now + round(wait * 1e6)
            )
            self._replace(run, later)
            return
        had_effect = failed.trouble is not Trouble.REJECTED
        self._drop(run, had_effect=had_effect)
        if step.failover and not run.undoes:
            if not (lack := self._lack_of_room()):
                planned = Planned(step.failover, self._plans.part(step.failover, run.input))
                self._start(planned, branch=run.branch, error=failed.error)
                return
            failed = msgspec.structs.replace(failed, error=f"{failed.error}; no failover: {lack}")
        if run.branch and self._leave_branch(run):
            return
        given_up, join = [run, *self.progress.runs], self.progress.join
        if not run.undoes:
            self._clear()
        self._fail(Problem(run.step, failed.code, failed.error, given_up, join))

    def _leave_branch(self, run: Run) -> bool:
        """Whether others may still be the first to end."""
        join = self.progress.join
        left = [branch for branch in join.left if branch != run.branch] if join else []
        if join is None or not join.any or not left:
            return False
        self.progress.join = msgspec.structs.replace(join, left=left)
        return True

    def _fail(self, problem: Problem) -> None:
        self.progress.problem = problem
        if self.progress.undo and not (problem.runs and problem.runs[0].undoes):
            self._compensate(None)
        else:
            self._finish(Status.FAILED)

    def _compensate(self, then: Planned | None) -> None:
        progress = self.progress
        progress.after_undo = then
        if progress.undo:
            progress.status = Status.COMPENSATING
            undo = progress.undo[-1]
            error = progress.problem.error if progress.problem is not None else ""
            self._start(Planned(undo.step, undo.input), undoes=undo.number, error=error)
        elif then is not None:
            progress.after_undo = None
            self._start(then)
        else:
            self._finish(Status.COMPENSATED)

    def _undone(self, run: Run, transition: Transition | None) -> None:
        if transition is not None:
            raise HandlerFailed(
                f"{self._place} undoes another step: it returns an effect without what is next",
                code="guard.compensation",
            )
        self._drop(run)
        self.progress.undo = [u for u in self.progress.undo if u.number != run.undoes]
        self.progress.status = Status.RUNNING  # if a step comes after it
        self._compensate(self.progress.after_undo)

    def _retry(self) -> None:
        """Run the failed step again, or what waits for its next attempt at once."""
        progress = self.progress
        problem = progress.problem
        if progress.status is Status.FAILED and problem is not None and problem.runs:
            progress.problem, progress.ended, progress.join = None, 0, problem.join
            is_undoing = bool(problem.runs[0].undoes)
            progress.status = Status.COMPENSATING if is_undoing else Status.RUNNING
            for run in problem.runs:
                again = msgspec.structs.replace(run, attempt=run.attempt + 1, failures=0, at=0)
                self._outstanding(again)
        elif later := [run for run in progress.runs if run.at > self._now]:
            self._again([msgspec.structs.replace(r, at=0, failures=0) for r in later])
        elif not progress.runs:
            raise self._not_now(f"no step of it has failed, it is {progress.status}")
        else:
            self._again(progress.runs)  # stuck, or lost by a node that is gone
