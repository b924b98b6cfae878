"""Attempts: one attempt of a workflow's step, from the user's method to its outcome.

Place on the road: between a commit that made the step outstanding and the turn that takes its outcome.
The step works on a copy of the state: what it does to it is lost, only what it returns counts.
"""

from __future__ import annotations

import asyncio
import re
from hashlib import blake2b
from typing import Any, Final

import structlog

from eventmill.engine import retry
from eventmill.engine.entity import Live
from eventmill.engine.tracebacks import told
from eventmill.engine.workflows.deciding import Outcome
from eventmill.errors import (
    FAILURES,
    EventmillError,
    HandlerFailed,
    Rejected,
    Unavailable,
    described,
    storable,
)
from eventmill.model import codec, limits
from eventmill.model.definition import StepDefinition
from eventmill.model.effect import Effect
from eventmill.model.entry import STEP, Entry, renamed
from eventmill.model.identity import Identity
from eventmill.model.progress import EMPTY, Run
from eventmill.model.transition import Failed, Ran, Trouble
from eventmill.ports.clock import Clock
from eventmill.runtime.dispatch import lanes
from eventmill.runtime.dispatch.time_limit import within
from eventmill.sdk import guards
from eventmill.sdk.context import Calls
from eventmill.sdk.workflow import StepContext

log = structlog.get_logger()

NOTHING: Final[Effect[Any]] = Effect()
"""What a step that failed, or returned None, causes besides what is next."""

_PLAIN: Final = re.compile(r"[\w.:@/+-]{1,120}", re.ASCII)
"""Ids that may stand in idempotency keys as they are."""


def run_key(component: str, id: str, number: int) -> str:
    """Return the key of a run: the same in every attempt, unlike that of any other run."""
    if not _PLAIN.fullmatch(id):
        id = blake2b(id.encode(), digest_size=16).hexdigest()
    return f"{component}/{id}/{number}"


def key_of(component: str, id: str, run: Run) -> str:
    """Return the key that what a run causes carries. A compensation that failed may be begun anew: it
    undoes the same step, so its key follows from that."""
    if run.undoes:
        return f"{run_key(component, id, run.undoes)}/undo"
    return run_key(component, id, run.number)


class Attempts:
    """Makes attempts of steps."""

    def __init__(self, calls: Calls, clock: Clock, luck: Any, *, guarded: bool) -> None:
        self._calls = calls
        self._clock = clock
        self._luck = luck
        self._guarded = guarded

    async def make(
        self, live: Live, run: Run, cause: Entry, step: StepDefinition, arguments: tuple[Any, ...]
    ) -> Outcome:
        """Make an attempt; whatever the step raises is an outcome."""
        began = self._clock.now()
        context = self._context(live, run, cause, step)
        state = _copy(live, began)
        effect, failed = NOTHING, None
        try:
            found = await self._call(step, state, context, arguments)
            effect = found if found is not None else effect
        except FAILURES as error:  # user code may raise anything
            failed = _failed(error)
            log.warning(
                "step failed",
                workflow=f"{live.definition.id}/{live.id}",
                step=run.step,
                run=run.number,
                attempt=run.attempt,
                error=failed.error,
                traceback="" if isinstance(error, EventmillError) else told(error),
            )
        next: Any = effect.transition
        ended, luck = self._clock.now(), self._luck()
        ran = Ran(run.number, run.attempt, began, ended, next, failed, luck)
        return Outcome(ran, effect if failed is None else NOTHING)

    def cause(self, live: Live, run: Run) -> Entry:
        """Return the entry that stands for a run: what it causes names it."""
        source, subject = live.definition.id, live.id
        metadata = None
        if live.progress is not None and live.progress.cause != EMPTY:
            metadata = bytes(live.progress.cause)
        now, sequence = self._clock.now(), live.identity.sequence
        entry = Entry(source, subject, sequence, STEP, 1, now, b"{}", metadata, shard=live.shard)
        return renamed(entry, key_of(source, subject, run))

    def _context(self, live: Live, run: Run, cause: Entry, step: StepDefinition) -> StepContext:
        component, id = live.definition.id, live.id
        return StepContext(
            cause,
            key_of(component, id, run),
            self._calls,
            run.attempt,
            self._clock.monotonic() + step.timeout,
            run.error,
            run_key(component, id, run.undoes) if run.undoes else "",
        )

    async def _call(
        self, step: StepDefinition, state: Any, context: StepContext, arguments: tuple[Any, ...]
    ) -> Effect[Any] | None:
        handler: Any = step.handler
        if self._guarded:
            before = codec.encode(state)
            with guards.watch(handler.place) as returned:
                returned.effect = result = await self._within(step, state, context, arguments)
            if codec.encode(state) != before:
                raise HandlerFailed(
                    f"{handler.place} changed the state, a copy, which is lost: return "
                    "self.update(…) instead",
                    code="guard.state_changed",
                )
        else:
            result = await self._within(step, state, context, arguments)
        if result is not None and not isinstance(result, Effect):
            raise HandlerFailed(
                f"{handler.place} returned {type(result).__name__}; a step returns an effect: "
                "self.go(…), self.pause(…), self.end()",
                code="guard.no_effect",
            )
        return result

    async def _within(
        self, step: StepDefinition, state: Any, context: StepContext, arguments: tuple[Any, ...]
    ) -> Any:
        handler: Any = step.handler
        try:
            return await within(step.timeout, handler.perform(state, context, arguments))
        except TimeoutError as error:
            raise HandlerFailed(
                f"{handler.function.__qualname__} took longer than {step.timeout:g} s",
                code="step.timeout",
            ) from error
        except asyncio.CancelledError as error:
            if lanes.is_ending():
                raise
            raise HandlerFailed(
                f"{handler.place} ended with CancelledError, but was not cancelled"
            ) from error


def invalid(error: BaseException) -> Failed:
    """Return the failure of an effect that cannot be: another attempt would return the same."""
    failed = _failed(error)
    return Failed(Trouble.HOPELESS, failed.code, failed.error)


def _failed(error: BaseException) -> Failed:
    if isinstance(error, Rejected):
        trouble = Trouble.REJECTED
    elif isinstance(error, Unavailable):
        trouble = Trouble.UNAVAILABLE
    elif isinstance(error, retry.HOPELESS):
        trouble = Trouble.HOPELESS
    else:
        trouble = Trouble.FAILED
    is_ours = isinstance(error, EventmillError)
    code = error.code if isinstance(error, EventmillError) else type(error).__qualname__
    text = str(error) if is_ours else described(error)
    return Failed(trouble, storable(code), storable(text[: limits.ERROR_CHARACTERS_MAX]))


def _copy(live: Live, now: int) -> Any:
    """Return the state as the step sees it: nothing that it does reaches the workflow."""
    state = live.definition.decode_state(live.definition.encode_state(live.state))
    identity = Identity(live.id)
    identity.sequence, identity.now = live.identity.sequence, now
    identity.status = live.identity.status
    state.bind(identity)
    return state
