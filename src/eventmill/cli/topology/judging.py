"""Whether this code reads what an older release stored: an event, a state, a command."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from eventmill.engine.ticks import TICK
from eventmill.errors import EventmillError, InvalidPayload, described
from eventmill.model.definition import ServiceDefinition
from eventmill.model.entry import STATE, STEP, Entry
from eventmill.model.handler import Handler
from eventmill.model.progress import decode_moved
from eventmill.model.transform import IDLE
from eventmill.node.offline import StoredType

Decode = Callable[[bytes], Any]


def decoder(service: ServiceDefinition, kind: StoredType) -> Decode | str:
    """Return what reads entries of a type, or why nothing does."""
    entity = service.entities.get(kind.source)
    if entity is not None and entity.is_key_value:
        if kind.type == STEP and entity.workflow is not None:
            return decode_moved
        if kind.type != STATE:
            return f"{kind.source!r} stored events, but is a {entity.kind} now"
        decode, show = entity.decode_state, entity.show_state
        return decode if entity.replicated is None else lambda payload: show(decode(payload))
    if kind.type == STATE:
        return f"{kind.source!r} stored whole states, but is no key-value entity now"
    if entity is not None:
        known = entity.event_types.get(kind.type)
    else:
        topic = service.topics.get(kind.source) or service.foreign[kind.source]
        types = {name: t for t in topic.event_types() for name in (t.name, *t.aliases)}
        known = types.get(kind.type)
    if known is None:
        return _unknown(kind)
    if kind.version > known.version:
        return f"written by newer code: this code knows version {known.version}"
    decoded = known
    return lambda payload: decoded.decode(payload, kind.version)


def _unknown(kind: StoredType) -> str:
    if kind.is_outside:
        return f"topic {kind.source!r} has no such type"
    return (
        f"{kind.source!r} does not know the type any more: keep its class and handler, or name "
        "it in aliases= of its successor"
    )


def failure(decode: Decode, payload: bytes) -> str:
    """Return why a payload cannot be read; empty: it can."""
    try:
        decode(payload)
    except EventmillError as error:
        return error.message
    except (msgspec.DecodeError, ValueError, TypeError, KeyError) as error:
        return described(error)
    return ""


def undeliverable(service: ServiceDefinition, waiting: list[tuple[str, Entry]]) -> Iterator[str]:
    """Name the waiting commands that would fail when they are delivered."""
    for where, command in waiting:
        if command.type == IDLE:
            continue  # of a transform, which closes what is open if it is still there
        component, _, id = command.subject.partition("/")
        if command.type == TICK:
            continue  # the timer of a schedule: it goes with the schedule
        if action := service.actions.get(component):
            yield from unfit(where, action.handler, command)
            continue
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
        yield from unfit(where, handler, command)


def unfit(where: str, handler: Handler[Any, Any], command: Entry) -> Iterator[str]:
    """Say that a handler does not take a command, if that is so."""
    try:
        handler.decode_arguments(command.payload)
    except InvalidPayload as error:
        yield f"{where} does not fit: {error.message}"
