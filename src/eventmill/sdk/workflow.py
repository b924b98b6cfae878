"""Workflows: entities that go through steps. Each step is explicit, no user code is replayed."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import (
    Any,
    ClassVar,
    Concatenate,
    Generic,
    ParamSpec,
    Protocol,
    Self,
    TypeVar,
    get_origin,
    overload,
)

from eventmill.errors import ConfigurationError, HandlerFailed
from eventmill.model import limits
from eventmill.model.definition import Retry
from eventmill.model.effect import Effect
from eventmill.model.events import Event
from eventmill.model.handler import Handler
from eventmill.model.topic import Topic
from eventmill.model.transition import Go
from eventmill.model.workflow_effect import Next, WorkflowEffect
from eventmill.sdk import guards
from eventmill.sdk.component import check_timeout
from eventmill.sdk.context import Calls, Context
from eventmill.sdk.entity import KeyValueEntity
from eventmill.sdk.reaction import members_of

C = TypeVar("C")
E = TypeVar("E")
P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

Returned = Awaitable[Effect[Any] | None]
"""What a step returns: a branch of several may return None."""


class WorkflowEnded(Event):
    """Given to the step that waited for another workflow's end."""

    component: str
    id: str
    status: str
    """`ended`, `compensated`, `failed` or `terminated`."""
    error: str = ""


class Workflow(KeyValueEntity):
    """An entity whose class is the state and whose steps do the work.

    Commands start it and change its course, queries read it; `@step` methods call entities, topics
    and the outside, and return what is next. State, history and what is next are one commit.
    """

    timeout: ClassVar[timedelta | None] = None
    """How long the whole workflow may take; then `on_timeout` runs, or it fails."""
    on_timeout: ClassVar[Any] = None
    """The step, or its name, that runs when `timeout` has passed."""
    waits_on: ClassVar[tuple[Any, ...]] = ()
    """Topics, entities and workflows that `wait_for` and `wait_for_end` may name."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for value in vars(cls).values():
            if isinstance(value, Handler):
                value.is_of_workflow = True

    @property
    def status(self) -> str:
        """Where it is: `new`, `running`, `paused`, `waiting`, `compensating`, `ended`,
        `compensated`, `failed` or `terminated`."""
        return self._identity.status

    def reply(self, value: T) -> WorkflowEffect[Self, T]:
        """Answer without changing anything; chain what is next."""
        return guards.made(WorkflowEffect(value=value))

    def update(self, **changes: Any) -> WorkflowEffect[Self, None]:
        """Replace fields of the state; chain what is next."""
        return guards.made(WorkflowEffect(changes=changes))

    def delete(self) -> WorkflowEffect[Self, None]:
        """Delete the workflow with its history: later commands are refused."""
        return guards.made(WorkflowEffect(deleted=True))

    def begin(
        self, step: Next[P], /, *args: P.args, **kwargs: P.kwargs
    ) -> WorkflowEffect[Self, None]:
        """Run a step next if the workflow is new; otherwise the whole effect does nothing."""
        return self._effect().begin(step, *args, **kwargs)

    def go(self, step: Next[P], /, *args: P.args, **kwargs: P.kwargs) -> WorkflowEffect[Self, None]:
        """Run a step next."""
        return self._effect().go(step, *args, **kwargs)

    def go_all(self, *branches: Go, then: Next[[]]) -> WorkflowEffect[Self, None]:
        """Run steps at the same time, made by `branch(…)`; when all have ended, run `then`."""
        return self._effect().go_all(*branches, then=then)

    def go_any(self, *branches: Go, then: Next[[]]) -> WorkflowEffect[Self, None]:
        """Run steps at the same time; when the first has ended, end the others and run `then`."""
        return self._effect().go_any(*branches, then=then)

    def pause(
        self,
        *,
        timeout: timedelta | None = None,
        until: datetime | None = None,
        on_timeout: Next[[]] | None = None,
    ) -> WorkflowEffect[Self, None]:
        """Wait for a command; with a time, run `on_timeout` when nothing came."""
        return self._effect().pause(timeout=timeout, until=until, on_timeout=on_timeout)

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
    ) -> WorkflowEffect[Self, None]:
        """Wait for an event of a topic or an entity, then run a step with it. From a step, one that
        came since the workflow's steps were set going counts, too."""
        return self._effect().wait_for(
            source, event, key, then=then, where=where, timeout=timeout, on_timeout=on_timeout
        )

    def wait_for_end(
        self,
        workflow: type,
        id: str,
        *,
        then: Next[[WorkflowEnded]],
        timeout: timedelta | None = None,
        on_timeout: Next[[]] | None = None,
    ) -> WorkflowEffect[Self, None]:
        """Wait for another workflow's end, then run a step with its `WorkflowEnded`."""
        return self._effect().wait_for_end(
            workflow, id, then=then, timeout=timeout, on_timeout=on_timeout
        )

    def end(self) -> WorkflowEffect[Self, None]:
        """The workflow is done."""
        return self._effect().end()

    def compensate(self, then: Next[[]] | None = None) -> WorkflowEffect[Self, None]:
        """Undo what was done, the latest first; then run a step, or end."""
        return self._effect().compensate(then)

    def _effect(self) -> WorkflowEffect[Self, None]:
        return guards.made(WorkflowEffect())


class StepContext(Context):
    """Handed to steps: how they call others, and the keys that are stable over all attempts.

    A call carries an idempotency key made of the workflow, the number of the step and the call's
    number, so what an attempt did is not done again by the next one.
    """

    __slots__ = ("_key", "error", "undone_key")

    def __init__(
        self,
        entry: Any,
        key: str,
        calls: Calls | None,
        attempt: int,
        deadline: float | None,
        error: str = "",
        undone_key: str = "",
    ) -> None:
        super().__init__(entry, key, calls, attempt, deadline)
        self._key = key
        self.error = error
        """Why it came to this step: of a failover or a compensation."""
        self.undone_key = undone_key
        """In a compensation, the idempotency key of the step that it undoes."""

    @property
    def idempotency_key(self) -> str:
        """Stable key for calls to the outside world: the same in every attempt of this step."""
        return self._key

    async def call(
        self, handler: Handler[P, R], id: str, /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run a command or query of an entity, or of another workflow, and return its reply.

        Raises what `Context.call` raises, and `HandlerFailed` for a command of its own workflow, which
        would wait for the end of this step.
        """
        if handler.writes and (handler.component, id) == (self.source, self.subject):
            raise HandlerFailed(
                f"a step calls {handler.function.__qualname__} of its own workflow, which waits for "
                "the step's end: return what shall happen instead, self.update(…).go(…)",
                code="guard.own_command",
            )
        return await super().call(handler, id, *args, **kwargs)


class Step(Handler[P, None], Generic[C, P]):
    """A method that does a part of a workflow's work and returns what is next."""

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        timeout: float = limits.STEP_SECONDS,
        retry: Retry | None = None,
        failover: Any = "",
        compensate: Any = "",
    ) -> None:
        super().__init__(function)
        self.timeout = timeout
        self.retry = retry or Retry()
        self.failover = name_of(failover)
        self.compensate = name_of(compensate)

    @overload
    def __get__(self, instance: None, owner: type) -> Step[C, P]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> Callable[..., Any]: ...
    def __get__(self, instance: object, owner: type) -> Any:
        return self if instance is None else self.function.__get__(instance, owner)

    def resolve(self) -> None:
        if self._resolved:
            return
        self.takes_context = takes_context(self.function)
        self.leading = 2 if self.takes_context else 1
        super().resolve()

    def arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        self.resolve()
        return super().arguments(args, kwargs)

    def perform(self, state: Any, ctx: StepContext, arguments: tuple[Any, ...]) -> Any:
        """Call the method itself; it returns an awaitable."""
        named = dict(zip(self.parameters, arguments, strict=True))
        if self.takes_context:
            return self.function(state, ctx, **named)
        return self.function(state, **named)

    def _result_of(self, annotation: Any) -> Any:
        kinds = [get_origin(kind) or kind for kind in members_of(annotation)]
        if any(not (kind in (Any, type(None)) or issubclass(kind, Effect)) for kind in kinds):
            raise ConfigurationError(
                f"{self.place}: a step returns an Effect[…] that says what is next: "
                "return self.go(…), self.pause(…) or self.end(); what it found out goes into the state: "
                "self.update(…).go(…)"
            )
        return type(None)


def name_of(step: Any) -> str:
    """Return a step's name; a step may be named before it is defined."""
    return step.name if isinstance(step, Step) else str(step or "")


def takes_context(function: Callable[..., Any]) -> bool:
    """Whether a step's first parameter is the context: it is annotated so, or named `ctx`."""
    parameters = list(inspect.signature(function).parameters.values())[1:2]
    return any(p.name == "ctx" or "StepContext" in str(p.annotation) for p in parameters)


@overload
def step(
    method: Callable[Concatenate[C, StepContext, P], Returned],
) -> Step[C, P]: ...
@overload
def step(method: Callable[Concatenate[C, P], Returned]) -> Step[C, P]: ...
@overload
def step(
    *,
    timeout: float = ...,
    retry: Retry | None = ...,
    failover: Step[Any, ...] | str = ...,
    compensate: Step[Any, ...] | str = ...,
) -> Marker: ...
def step(method: Any = None, **options: Any) -> Any:
    """Mark a method that does a part of a workflow's work: asynchronous, it may call anything.

    It returns an effect that says what is next: `self.update(…).go(Transfer.deposit, …)`. Where it
    is interrupted or fails, it is run again, with the same `ctx.idempotency_key`.

    Parameters: `timeout` is in seconds for one attempt; `retry` is what happens on failure;
    `failover` is the step that runs when the policy is spent or somebody said no (`Rejected`);
    `compensate` is the step that undoes this one. Both may be given by name, and take those of this
    step's arguments that they name.

    Raises `ConfigurationError` for a time limit that is none.
    """
    check_timeout("@step", options.get("timeout", 1.0))
    if method is not None:
        return Step(method)
    return lambda function: Step(function, **options)


class Marker(Protocol):
    """What `@step(…)` with options is: for type checkers."""

    @overload
    def __call__(
        self, method: Callable[Concatenate[C, StepContext, P], Returned], /
    ) -> Step[C, P]: ...
    @overload
    def __call__(self, method: Callable[Concatenate[C, P], Returned], /) -> Step[C, P]: ...
