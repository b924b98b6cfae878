"""Effects as a test wants to see them: what was published, sent, scheduled and cancelled."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from eventmill.model.effect import Cancelling, Outgoing, Publication, Scheduling, Sending
from eventmill.model.handler import Handler
from eventmill.model.topic import Topic


class Published(NamedTuple):
    """An event for a topic."""

    topic: Topic[Any]
    event: Any


class Sent(NamedTuple):
    """A command for an entity."""

    handler: Handler[Any, Any]
    id: str
    arguments: dict[str, Any]


class Scheduled(NamedTuple):
    """A command for later."""

    name: str
    when: timedelta | datetime
    handler: Handler[Any, Any]
    id: str
    arguments: dict[str, Any]


def published(effects: Iterable[Outgoing]) -> list[Published]:
    """Events for topics, in order."""
    return [
        Published(effect.topic, event)
        for effect in effects
        if isinstance(effect, Publication)
        for event in effect.events
    ]


def sent(effects: Iterable[Outgoing]) -> list[Sent]:
    """Commands for other entities, in order."""
    return [_sent(effect) for effect in effects if isinstance(effect, Sending)]


def scheduled(effects: Iterable[Outgoing]) -> list[Scheduled]:
    """Timers that were set, in order."""
    return [
        Scheduled(effect.name, effect.after or effect.at or timedelta(), *_sent(effect.sending))
        for effect in effects
        if isinstance(effect, Scheduling)
    ]


def cancelled(effects: Iterable[Outgoing]) -> list[str]:
    """Names of timers that were removed."""
    return [effect.name for effect in effects if isinstance(effect, Cancelling)]


def _sent(effect: Sending) -> Sent:
    named = dict(zip(effect.handler.parameters, effect.arguments, strict=True))
    return Sent(effect.handler, effect.id, named)
