"""Effects of workflows: those of an entity, and what comes next."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Generic, ParamSpec, Self, TypeVar

import msgspec

from eventmill.errors import HandlerFailed
from eventmill.model.effect import EntityEffect, sending_of
from eventmill.model.events import event_type_of
from eventmill.model.handler import Handler
from eventmill.model.topic import Topic
from eventmill.model.transition import Compensate, End, Fork, Go, Pause, Transition, WaitFor

E = TypeVar("E")
P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
T_co = TypeVar("T_co", covariant=True)

Next = Handler[P, Any]
"""A step."""


class WorkflowEffect(EntityEffect[S, T_co], Generic[S, T_co]):
    """A workflow's effect: changes of the state, and one transition."""

    def reply(self, reply: Callable[[S], R]) -> WorkflowEffect[S, R]:
        """Answer with what `reply` makes of the state after this effect."""
        self.function = reply
        return self  # type: ignore[return-value]  # the same object, now typed by its reply

    def begin(self, step: Next[P], /, *args: P.args, **kwargs: P.kwargs) -> Self:
        """Run a step next if the workflow is new. Otherwise the whole effect does nothing but reply,
        so that a start may be repeated."""
        return self._next(Go(step, step.arguments(args, kwargs), if_new=True))

    def go(self, step: Next[P], /, *args: P.args, **kwargs: P.kwargs) -> Self:
        """Run a step next."""
        return self._next(Go(step, step.arguments(args, kwargs)))

    def go_all(self, *branches: Go, then: Next[[]]) -> Self:
        """Run steps at the same time, made by `branch(…)`; when all have ended, run `then`."""
        return self._next(Fork(branches, Go(then)))

    def go_any(self, *branches: Go, then: Next[[]]) -> Self:
        """Run steps at the same time; when the first has ended, end the others and run `then`."""
        return self._next(Fork(branches, Go(then), any=True))

    def pause(
        self,
        *,
        timeout: timedelta | None = None,
        until: datetime | None = None,
        on_timeout: Next[[]] | None = None,
    ) -> Self:
        """Wait for a command; with a time, run `on_timeout` when nothing came."""
        if (timeout is None and until is None) != (on_timeout is None):
            raise HandlerFailed(
                "pause(): name a time (timeout= or until=) and the step that comes then "
                "(on_timeout=), or neither",
                code="guard.pause",
            )
        return self._next(Pause(timeout, until, on_timeout))

    def wait_for(
        self,
        source: Topic[Any] | type,
        event: type[E],
        key: str,
        *,
        then: Next[[E]],
        where: dict[str, Any] | None = None,
        timeout: timedelta | None = None,
        on_timeout: Next[[]] | None = None,
    ) -> Self:
        """Wait for an event of a topic or an entity, then run a step with it.

        Parameters: `key` is the message's key or the entity's id; `where` names fields that must
        have a value. Only what is read after this effect was committed counts.
        """
        _check_time("wait_for()", timeout, on_timeout)
        kind = event_type_of(event)
        names = (kind.name, *kind.aliases)
        return self._next(
            WaitFor(awaited_id(source), key, names, where or {}, then, timeout, on_timeout)
        )

    def wait_for_end(
        self,
        workflow: type,
        id: str,
        *,
        then: Next[[Any]],
        timeout: timedelta | None = None,
        on_timeout: Next[[]] | None = None,
    ) -> Self:
        """Wait for the end of another workflow, then run a step with its `WorkflowEnded`. To start it
        in the same commit, chain `.start_child(Child.start, id, …)`."""
        _check_time("wait_for_end()", timeout, on_timeout)
        return self._next(WaitFor(awaited_id(workflow), id, (), {}, then, timeout, on_timeout))

    def start_child(
        self, start: Handler[P, Any], id: str, /, *args: P.args, **kwargs: P.kwargs
    ) -> Self:
        """Also start another workflow, by a sent command. When this one has ended, however it did, and
        the child has not, the child is terminated; one that outlives it is started by `send`."""
        if not start.is_of_workflow:
            raise HandlerFailed(
                f"start_child(): {start.function.__qualname__} is no command of a workflow: send it",
                code="guard.child",
            )
        sending = sending_of(start, id, args, kwargs)
        self.outgoing += (msgspec.structs.replace(sending, starts_child=True),)
        return self

    def end(self) -> Self:
        """The workflow is done."""
        return self._next(End())

    def compensate(self, then: Next[[]] | None = None) -> Self:
        """Undo every step that was begun and has a compensation, the latest first; then run a step,
        or end."""
        return self._next(Compensate(Go(then) if then is not None else None))

    def _next(self, transition: Transition) -> Self:
        if self.transition is not None:
            raise HandlerFailed(
                f"one effect has one transition, not {type(self.transition).__name__} and "
                f"{type(transition).__name__}: for steps at the same time use go_all or go_any",
                code="guard.transitions",
            )
        self.transition = transition
        return self


def branch(step: Next[P], /, *args: P.args, **kwargs: P.kwargs) -> Go:
    """Name a step of `go_all` or `go_any` with its arguments."""
    return Go(step, step.arguments(args, kwargs))


def _check_time(what: str, timeout: timedelta | None, on_timeout: Next[[]] | None) -> None:
    if (timeout is None) != (on_timeout is None):
        raise HandlerFailed(
            f"{what}: name timeout= and the step that comes then (on_timeout=), or neither",
            code="guard.pause",
        )


def awaited_id(source: Any) -> str:
    """Return the id of a topic, entity or workflow that is waited for; empty for anything else."""
    return source.id if isinstance(source, Topic) else getattr(source, "__eventmill_id__", "")
