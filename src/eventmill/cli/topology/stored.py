"""Whether this code can still read a data directory: every stored type, version and command."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from eventmill.cli.surface.output import counted
from eventmill.errors import EventmillError, InvalidPayload
from eventmill.model.definition import ServiceDefinition
from eventmill.model.entry import COMMANDS, DELETED, STATE, Entry
from eventmill.model.events import EventType
from eventmill.node.offline import StoredType, Subscriber


class Reading(msgspec.Struct):
    """One stored source, type and version, as this code sees it."""

    source: str
    type: str
    version: int
    count: int
    problem: str = ""
    """Empty: it can be read."""
    is_orphan: bool = False
    """The service has no such source any more; of an entity that is a problem."""


def judged(service: ServiceDefinition, kinds: list[StoredType]) -> list[Reading]:
    """Try the samples of every stored type."""
    return [_judge(service, kind) for kind in kinds]


def undeliverable(service: ServiceDefinition, waiting: list[tuple[str, Entry]]) -> Iterator[str]:
    """Name the waiting commands that would fail when they are delivered."""
    for where, command in waiting:
        component, _, id = command.subject.partition("/")
        entity = service.entities.get(component)
        if entity is None:
            yield f"{where} is for {component}/{id}, but there is no entity component {component!r}"
            continue
        if command.type.startswith("$"):
            continue  # built in: every entity understands it
        handler = entity.handlers.get(command.type)
        if handler is None:
            yield f"{where}: {component!r} has no command {command.type!r} any more"
            continue
        try:
            handler.decode_arguments(command.payload)
        except InvalidPayload as error:
            yield f"{where} does not fit: {error.message}"


def leftovers(service: ServiceDefinition, subscribers: list[Subscriber]) -> Iterator[str]:
    """Name what consumers and views have left that are not part of the service any more.

    Offsets and letters of built-in and pushed subscriptions go when these end.
    """
    consumers = {consumer.subscription for consumer in service.consumers.values()}
    for one in subscribers:
        view, _, version = one.name.partition("@")
        if one.name in consumers or one.name.startswith(("$", "push@")):
            continue
        if version and view in service.views:
            continue
        what = f"view {view!r} (version {version})" if version else f"consumer {one.name!r}"
        text = f"{what} is not part of the service; its offset, position {one.position}, stays"
        if one.letters:
            text += (
                f", and {counted(one.letters, 'letter')}: "
                f"eventmill dead-letters discard {one.name} --all"
            )
        yield text


def _judge(service: ServiceDefinition, kind: StoredType) -> Reading:
    reading = Reading(kind.source, kind.type, kind.version, kind.count)
    assert kind.source != COMMANDS
    entity, topic = service.entities.get(kind.source), service.topics.get(kind.source)
    if entity is None and topic is None:
        reading.is_orphan = True
        if kind.of_entity:
            reading.problem = (
                f"no component {kind.source!r} is part of the service: nobody can read them any "
                "more; if it was renamed, give it back its id"
            )
        return reading
    if kind.type == DELETED:
        return reading
    if entity is not None and entity.is_key_value:
        if kind.type != STATE:
            reading.problem = f"{kind.source!r} stored events, but is a key-value entity now"
        else:
            reading.problem = _first_failure(kind, entity.decode_state)
        return reading
    if entity is not None:
        types = entity.event_types
    else:
        assert topic is not None
        types = {name: t for t in topic.event_types() for name in (t.name, *t.aliases)}
    reading.problem = _event_problem(kind, types.get(kind.type))
    return reading


def _event_problem(kind: StoredType, known: EventType | None) -> str:
    if kind.type == STATE:
        return f"{kind.source!r} stored whole states, but is no key-value entity now"
    if known is None:
        return (
            f"{kind.source!r} does not know the type any more: keep its class and handler, or name "
            "it in aliases= of its successor"
        )
    if kind.version > known.version:
        return f"written by newer code: this code knows version {known.version}"
    return _first_failure(kind, lambda payload: known.decode(payload, kind.version))


def _first_failure(kind: StoredType, decode: Any) -> str:
    for position, payload in kind.samples:
        try:
            decode(payload)
        except EventmillError as error:
            return f"position {position}: {error.message}"
        except (msgspec.DecodeError, ValueError, TypeError, KeyError) as error:
            return f"position {position}: {type(error).__name__}: {error}"
    return ""
