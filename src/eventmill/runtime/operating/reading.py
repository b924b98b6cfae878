"""How this code reads what another release stored: an entry lifted to the version of today."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from eventmill.errors import InvalidPayload
from eventmill.model.definition import ServiceDefinition
from eventmill.model.entry import Entry
from eventmill.model.events import EventType


class Lifted(msgspec.Struct, frozen=True, omit_defaults=True):
    """An entry as its handler gets it."""

    type: str
    version: int
    data: msgspec.Raw | None = None
    problem: str = ""
    """Why it cannot be read."""


def lifted(service: ServiceDefinition, entry: Entry) -> Lifted | None:
    """Read an entry of another version or name than the code's; None if it is of this one, or of a
    type that nobody declares."""
    kind = _type_of(service, entry)
    if kind is None or (kind.name, kind.version) == (entry.type, entry.version):
        return None
    try:
        data = kind.encode(kind.decode(entry.payload, entry.version))
    except InvalidPayload as error:
        return Lifted(kind.name, kind.version, problem=error.message)
    return Lifted(kind.name, kind.version, msgspec.Raw(data))


def _type_of(service: ServiceDefinition, entry: Entry) -> EventType | None:
    entity = service.entities.get(entry.source)
    if entity is not None:
        return entity.event_types.get(entry.type)
    topic = service.topics.get(entry.source) or service.foreign.get(entry.source)
    kinds: Iterable[EventType] = topic.event_types() if topic is not None else ()
    return next((kind for kind in kinds if entry.type in (kind.name, *kind.aliases)), None)
