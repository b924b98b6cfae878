"""Effects: what a handler returns to say what shall happen. Values only; nothing happens here.

Made by a component's methods (`self.persist(…)`) or the functions `publish`, `send`, `schedule`,
`cancel`; chained on one another; turned into a `Commit` by the engine. The list is closed.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Generic, ParamSpec, Self, TypeVar, overload

import msgspec

from eventmill.errors import HandlerFailed
from eventmill.model.action import Action
from eventmill.model.handler import Handler
from eventmill.model.replicated.change import Change
from eventmill.model.topic import Topic
from eventmill.model.transition import Happening, Transition

E = TypeVar("E")
P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
T_co = TypeVar("T_co", covariant=True)

When = timedelta | datetime
"""When a timer is due: after a delay, or at a time with a time zone."""


class Publication(msgspec.Struct, frozen=True):
    """Events to be appended to a topic."""

    topic: Topic[Any]
    events: tuple[Any, ...]
    metadata: dict[str, Any] | None = None
    key: str | None = None
    """Of the messages, if not what the topic makes of each event."""


class Sending(msgspec.Struct, frozen=True):
    """A command to be delivered later, exactly once in effect."""

    handler: Handler[Any, Any]
    id: str
    arguments: tuple[Any, ...]
    starts_child: bool = False
    """Whether the workflow that it starts ends with the one that sends it."""


class Scheduling(msgspec.Struct, frozen=True):
    """A command to be sent when it is due."""

    name: str
    after: timedelta | None
    at: datetime | None
    sending: Sending


class Cancelling(msgspec.Struct, frozen=True):
    """A timer to be removed; an unknown name is fine."""

    name: str


Outgoing = Publication | Sending | Scheduling | Cancelling


class Effect(msgspec.Struct, Generic[T_co]):
    """What shall happen, typed by the reply it leads to. Build it by chaining, then return it."""

    events: tuple[Any, ...] = ()
    changes: dict[str, Any] | None = None
    """Fields of a key-value entity to be replaced."""
    merged: tuple[Change, ...] = ()
    """Changes of a replicated entity's values."""
    deleted: bool = False
    value: Any = None
    function: Callable[[Any], Any] | None = None
    """Computes the reply on the new state."""
    outgoing: tuple[Outgoing, ...] = ()
    expire_after: timedelta | None = None
    metadata: dict[str, Any] | None = None
    transition: Transition | Happening | None = None
    """Of a workflow: what comes next."""

    def publish(self, topic: Topic[E], *events: E) -> Self:
        """Also append `events` to a topic, atomic with everything else of this effect."""
        self.outgoing += (Publication(topic, events),)
        return self

    def send(self, handler: Handler[P, Any], id: str, /, *args: P.args, **kwargs: P.kwargs) -> Self:
        """Also send a command, delivered later, exactly once in effect."""
        self.outgoing += (sending_of(handler, id, args, kwargs),)
        return self

    @overload
    def schedule(
        self, name: str, when: When, action: Action[P], /, *args: P.args, **kwargs: P.kwargs
    ) -> Self: ...

    @overload
    def schedule(
        self,
        name: str,
        when: When,
        handler: Handler[P, Any],
        id: str,
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Self: ...

    def schedule(self, name: str, when: When, what: Any, /, *args: Any, **kwargs: Any) -> Self:
        """Also send a command, or call an action, after a delay or at a time; the same name replaces
        the timer."""
        self.outgoing += (scheduling_of(name, when, what, args, kwargs),)
        return self

    def cancel(self, name: str) -> Self:
        """Also remove a timer; an unknown name is fine."""
        self.outgoing += (Cancelling(name),)
        return self

    def with_metadata(self, **metadata: Any) -> Self:
        """Also store JSON-encodable metadata with each event of this effect."""
        self.metadata = {**(self.metadata or {}), **metadata}
        return self


class EntityEffect(Effect[T_co], Generic[S, T_co]):
    """An entity's effect: its reply may be computed on the new state."""

    def reply(self, reply: Callable[[S], R]) -> EntityEffect[S, R]:
        """Answer with what `reply` makes of the state after this effect."""
        self.function = reply
        return self  # type: ignore[return-value]  # the same object, now typed by its reply

    def expiring(self, after: timedelta) -> Self:
        """Delete the entity `after` this long, unless a later effect changes it before."""
        self.expire_after = after
        return self


def sending_of(
    handler: Handler[Any, Any], id: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Sending:
    """Bind and validate the arguments of a command that is to be sent."""
    handler.resolve()  # in a kit nobody has taken in the component that it is of
    return Sending(handler, id, handler.arguments(args, kwargs))


def scheduling_of(
    name: str,
    when: When,
    what: Handler[Any, Any] | Action[Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Scheduling:
    """Make a timer's request: of a command, whose entity's id is the first argument, or an action.

    Raises `HandlerFailed` for a time that says nothing.
    """
    if not isinstance(what, Action) and not args:
        raise HandlerFailed(f"timer {name!r}: name the id of the entity that the command is for")
    if isinstance(what, Action):
        sending = sending_of(what.handler, name, args, kwargs)
    else:
        sending = sending_of(what, args[0], args[1:], kwargs)
    if isinstance(when, timedelta):
        return Scheduling(name, when, None, sending)
    if not isinstance(when, datetime) or when.tzinfo is None:
        raise HandlerFailed(
            f"timer {name!r}: it is due after a timedelta, or at a datetime with a time zone, as "
            f"datetime.now(UTC); not {when!r}"
        )
    return Scheduling(name, None, when, sending)
