"""Unit kit of a workflow: run a step alone, or all of it, on a clock of its own. No store, no node.

    kit = WorkflowKit(Transfer, "t1").answer(Wallet.withdraw, 70)
    kit.run(Transfer.start, "ann", "bob", 30)
    await kit.go_on()
    assert kit.status == "ended"
    assert [call.handler for call in kit.calls] == [Wallet.withdraw, Wallet.deposit]

Commands, outcomes and time-outs go through the engine's own decisions, with all guards on.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Generic, NamedTuple, ParamSpec, TypeVar

import msgspec

from eventmill.engine.entity import Live
from eventmill.engine.workflows import deciding, rows
from eventmill.errors import FAILURES, Deleted, EventmillError, Rejected
from eventmill.model import codec
from eventmill.model.commit import Commit, Timer
from eventmill.model.effect import Effect
from eventmill.model.handler import Handler
from eventmill.model.orders import ARRIVED, DUE, OUTCOME
from eventmill.model.progress import Did, Progress, Run, decode_moved
from eventmill.model.transition import TimedOut, Transition
from eventmill.runtime.turns.guards import Guards
from eventmill.runtime.turns.turn import failure_of
from eventmill.runtime.workflows.attempts import Attempts
from eventmill.sdk.reading import define_entity
from eventmill.sdk.workflow import Step
from eventmill.testing.calls import Called, Calls
from eventmill.testing.clock import MIDNIGHT, VirtualClock
from eventmill.testing.fitting import check_fit
from eventmill.testing.host import NO_JITTER
from eventmill.testing.outgoing import Published, Scheduled, Sent, published, scheduled, sent

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")

STEPS_MAX = 1_000
"""Attempts of one `go_on`: more are a workflow that never ends."""


class Outcome(NamedTuple):
    """What one attempt of a step led to."""

    changes: dict[str, Any]
    """Fields that it wants to be replaced."""
    next: Transition | None
    """What it wants to come next."""
    error: str
    """Why it failed; empty if it did not."""
    calls: list[Called]
    published: list[Published]
    sent: list[Sent]
    scheduled: list[Scheduled]

    @property
    def next_step(self) -> str:
        """Name of the step that it wants to come next; empty if that is something else."""
        step = getattr(self.next, "step", None)
        return step.name if step is not None else ""


class WorkflowKit(Generic[S]):
    """One workflow of class `cls` and id `id`.

    Raises `ConfigurationError` for a class that no service would take.
    """

    def __init__(self, cls: type[S], id: str = "test") -> None:
        check_fit("WorkflowKit", cls)
        self._guards = Guards(enabled=True)
        self.definition = self._guards.watched(define_entity(cls))
        self.clock = VirtualClock(MIDNIGHT)
        self.history: list[Did] = []
        """What happened so far."""
        self._rows: dict[str, Timer] = {}
        self._calls = Calls()
        self._live = Live(self.definition, id)
        self._attempts = Attempts(self._calls, self.clock, lambda: NO_JITTER, guarded=True)

    def __repr__(self) -> str:
        return f"<WorkflowKit {self._live!r} [{self.status}]>"

    @property
    def state(self) -> S:
        """The current state; a copy."""
        state: S = self.definition.decode_state(self.definition.encode_state(self._live.state))
        state.bind(self._live.identity)  # type: ignore[attr-defined]  # every workflow has it
        return state

    @property
    def status(self) -> str:
        """Where it is."""
        return self._progress.status.value

    @property
    def next_steps(self) -> list[str]:
        """Steps that are outstanding."""
        return [run.step for run in self._progress.runs]

    @property
    def calls(self) -> list[Called]:
        """What its steps have called so far."""
        return self._calls.made

    def given(self, **fields: Any) -> WorkflowKit[S]:
        """Begin with a state."""
        self._live.renew(
            self.definition.decode_state(
                codec.encode({**msgspec.structs.asdict(self._live.state), **fields})
            )
        )
        return self

    def answer(self, handler: Handler[Any, Any] | str, reply: Any) -> WorkflowKit[S]:
        """Say what `ctx.call` or `ctx.query` of a handler answers: a value, an exception to raise, or
        a function that gets the id (of an entity) and the arguments by name."""
        self._calls.answer(handler, reply)
        return self

    def run(self, handler: Handler[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a command or query; return its reply.

        Raises `Rejected` or `Deleted` if it is refused, `HandlerFailed` for what the handler raises
        or a guard finds.
        """
        arguments = handler.arguments(args, kwargs)
        self._live.identity.now = self.clock.now()
        try:
            if self._live.deleted:
                raise Deleted(f"{self.definition.id}/{self._live.id} was deleted")
            if not handler.writes:
                reply = self._guards.ask(self._live, handler, arguments)
            else:
                effect = self._guards.run(self._live, handler, arguments)
                reply = self._decide(handler, effect)
        except EventmillError:
            raise
        except FAILURES as error:
            raise failure_of(handler, error) from error
        decoded: R = handler.decode_reply(reply)
        return decoded

    async def step(self, step: Step[Any, P], /, *args: P.args, **kwargs: P.kwargs) -> Outcome:
        """Run a step alone, on the current state; nothing follows from it.

        Raises `Rejected` if that is what the step raises.
        """
        body = step.encode_arguments(step.arguments(args, kwargs))
        run = Run(self._progress.number + 1, step.name, msgspec.Raw(body))
        before = len(self._calls.made)
        outcome = await self._attempt(run)
        ran, effect = outcome
        failed = ran.failed
        if failed is not None and failed.trouble == "rejected":
            raise Rejected(failed.error, code=failed.code)
        return Outcome(
            effect.changes or {},
            ran.next,
            failed.error if failed is not None else "",
            self._calls.made[before:],
            published(effect.outgoing),
            sent(effect.outgoing),
            scheduled(effect.outgoing),
        )

    async def go_on(self) -> WorkflowKit[S]:
        """Run the steps that are outstanding, and those that follow, until there are none. Time moves
        through the waits of retries.

        Raises `AssertionError` for a workflow that does not come to an end.
        """
        for _ in range(STEPS_MAX):
            if not self._progress.runs:
                return self
            run = min(self._progress.runs, key=lambda run: run.at)
            self.clock.move_to(max(self.clock.now(), run.at))
            self._live.fresh = self._live.fresh - {run.number}
            self._happen(OUTCOME, await self._attempt(run))
        raise AssertionError(f"{self!r} has not ended after {STEPS_MAX} attempts")

    async def advance(self, by: timedelta) -> WorkflowKit[S]:
        """Move the clock on; a pause, a wait or the whole that has lasted too long ends at its time."""
        await self.go_on()
        target = self.clock.now() + round(by.total_seconds() * 1e6)
        while due := [row for row in self._rows.values() if row.due <= target]:
            row = min(due, key=lambda row: row.due)
            self.clock.move_to(max(self.clock.now(), row.due))
            _, _, said = rows.read(row)
            self._happen(DUE, TimedOut(said.kind, said.number))
            await self.go_on()
        self.clock.move_to(max(target, self.clock.now()))
        return self

    async def give(self, event: Any) -> WorkflowKit[S]:
        """Let the event happen that the workflow waits for, and go on."""
        wait = self._progress.wait
        assert wait is not None, f"{self!r} waits for nothing"
        self._happen(ARRIVED, wait.number, msgspec.Raw(codec.encode(event)))
        return await self.go_on()

    @property
    def time(self) -> datetime:
        """The time of the next turn."""
        return datetime.fromtimestamp(self.clock.now() / 1e6, UTC)

    @property
    def _progress(self) -> Progress:
        assert self._live.progress is not None
        return self._live.progress

    async def _attempt(self, run: Run) -> deciding.Outcome:
        assert self.definition.workflow is not None
        step = self.definition.workflow.steps[run.step]
        arguments = step.handler.decode_arguments(bytes(run.input))
        cause = self._attempts.cause(self._live, run)
        return await self._attempts.make(self._live, run, cause, step, arguments)

    def _happen(self, name: str, *arguments: Any) -> None:
        effect = deciding.effect_of(self._live, name, arguments)
        if effect is not None:
            self._decide(_HAPPENING, effect)

    def _decide(self, handler: Handler[Any, Any], effect: Effect[Any]) -> bytes:
        commit = Commit()
        now = self.clock.now()
        reply = deciding.decide(self._live, handler, effect, now, None, None, commit)
        self.history += [
            decode_moved(entry.payload).did for entry in commit.entries if entry.type == "$step"
        ]
        for name, row in commit.timers.items():
            self._rows.pop(name, None)
            if row is not None and row.command.type == DUE and not name.startswith(rows.STEP_ROWS):
                _, _, due = rows.read(row)
                self._rows[name] = rows.looked_back(row, due) if due.looks else row
        return reply


def _happening(workflow: Any) -> None:
    """What happens to a workflow from outside."""


_HAPPENING: Handler[Any, Any] = Handler(_happening)
