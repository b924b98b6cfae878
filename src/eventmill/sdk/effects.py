"""Effects that any handler may return; see `model.effect` for what they are."""

from __future__ import annotations

from typing import Any, ParamSpec, TypeVar, overload

from eventmill.model.action import Action
from eventmill.model.effect import (
    Cancelling,
    Effect,
    Publication,
    When,
    scheduling_of,
    sending_of,
)
from eventmill.model.handler import Handler
from eventmill.model.topic import Topic
from eventmill.sdk import guards

E = TypeVar("E")
P = ParamSpec("P")


def publish(topic: Topic[E], *events: E, metadata: dict[str, Any] | None = None) -> Effect[None]:
    """Append events to a topic, atomic with what caused them."""
    return guards.made(Effect(outgoing=(Publication(topic, events, metadata),)))


def send(handler: Handler[P, Any], id: str, /, *args: P.args, **kwargs: P.kwargs) -> Effect[None]:
    """Send a command to the entity `id`: delivered later, exactly once in effect."""
    return guards.made(Effect(outgoing=(sending_of(handler, id, args, kwargs),)))


@overload
def schedule(
    name: str, when: When, action: Action[P], /, *args: P.args, **kwargs: P.kwargs
) -> Effect[None]: ...


@overload
def schedule(
    name: str,
    when: When,
    handler: Handler[P, Any],
    id: str,
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> Effect[None]: ...


def schedule(name: str, when: When, what: Any, /, *args: Any, **kwargs: Any) -> Effect[None]:
    """Send a command to an entity, or call an action, later; a timer of the same `name` is replaced.

    Parameters: `when` is a `timedelta`, after which it is due, or a `datetime` with a time zone.
    """
    return guards.made(Effect(outgoing=(scheduling_of(name, when, what, args, kwargs),)))


def cancel(name: str) -> Effect[None]:
    """Remove a timer; an unknown name is fine."""
    return guards.made(Effect(outgoing=(Cancelling(name),)))


def ignore() -> Effect[None]:
    """Do nothing with this event, on purpose."""
    return Effect()
