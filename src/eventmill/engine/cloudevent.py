"""Journal entries as CloudEvents, and back: which attribute is kept where. Pure.

Place on the road: the way out (streams, pushed subscriptions) and the way in of topics.

| CloudEvent | entry |
|---|---|
| `type`, `eventversion` | type, version |
| `subject` | subject; left out when it is empty |
| `data` | payload, byte for byte; of a workflow's step what others are told of it |
| `id`, `source`, `time`, `dataschema`, other extensions | metadata `cloudevent`, if it came from outside |
| `traceparent`, `tracestate` | metadata of the same name |
| `correlationid`, `causationid` | metadata `correlation`, `causation` |

An entry that was made inside has its journal id, the service's path as source, and its own time.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

import msgspec

from eventmill.model.cloudevents import CloudEvent, InvalidCloudEvent
from eventmill.model.cloudevents.attributes import Value
from eventmill.model.entry import DELETED, STATE, STEP, Entry, metadata_of
from eventmill.model.progress import told
from eventmill.model.topic import Topic

OUTSIDE: Final = "cloudevent"
"""Metadata member that holds what an event from outside brought along."""

VERSION: Final = "eventversion"
"""Extension attribute: version of the event type's schema."""

SEQUENCE: Final = "eventsequence"
"""Extension attribute: number of the event within its entity, as text: it may exceed 32 bits."""

INHERITED: Final = {
    "traceparent": "traceparent",
    "tracestate": "tracestate",
    "correlationid": "correlation",
    "causationid": "causation",
}
"""Extension attribute → metadata member."""

BUILT_IN: Final = {DELETED: "eventmill.deleted", STATE: "eventmill.state", STEP: "eventmill.step"}
"""CloudEvents types of the platform's own entries."""


def topic_source(service: str, topic: str) -> str:
    """CloudEvents source of events that the service published itself."""
    return f"/{service}/topics/{topic}"


def entity_source(service: str, component: str) -> str:
    """CloudEvents source of an entity's events."""
    return f"/{service}/components/{component}"


def of_entry(entry: Entry, source: str) -> CloudEvent:
    """Return an entry as CloudEvent; `source` is for an entry that was made inside."""
    metadata = metadata_of(entry)
    outside: dict[str, Any] = metadata.get(OUTSIDE) or {}
    extensions: dict[str, Value] = dict(outside.get("extensions") or {})
    extensions[VERSION] = entry.version
    if entry.sequence:
        extensions[SEQUENCE] = str(entry.sequence)
    for name, member in INHERITED.items():
        if isinstance(value := metadata.get(member), str):
            extensions[name] = value
    return CloudEvent(
        id=outside.get("id") or entry.id,
        source=outside.get("source") or source,
        type=BUILT_IN.get(entry.type, entry.type),
        subject=entry.subject or None,
        time=outside.get("time") or time_text(entry.time),
        datacontenttype="application/json",
        dataschema=outside.get("dataschema"),
        data=told(entry.payload) if entry.type == STEP else entry.payload,
        extensions=extensions,
    )


def completed(event: CloudEvent, topic: Topic[Any]) -> CloudEvent:
    """Return an event that came to a topic as if its sender had said all of it: without a version it is of
    the topic's, without a subject it has the key that the topic makes of it.

    Raises `InvalidCloudEvent` for a version that is none.
    """
    extensions, version = event.extensions, version_of(event)
    if VERSION not in extensions and (current := topic.version_of(event.type)) != version:
        extensions, version = {**extensions, VERSION: current}, current
    subject = event.subject or topic.key_of(event.type, version, event.data or b"{}") or None
    if subject == event.subject and extensions is event.extensions:
        return event
    return msgspec.structs.replace(event, subject=subject, extensions=extensions)


def version_of(event: CloudEvent) -> int:
    """Return an event's version, 1 if it does not say.

    Raises `InvalidCloudEvent` for one that is none.
    """
    value = event.extensions.get(VERSION)
    if value is None:
        return 1
    text = str(value)
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0):
        raise InvalidCloudEvent(f"{VERSION} is a whole number from 1", VERSION)
    return int(text)


def metadata_from(event: CloudEvent) -> dict[str, Any]:
    """Return the metadata under which `of_entry` finds the event's attributes again."""
    outside: dict[str, Any] = {"id": event.id, "source": event.source}
    if event.time is not None:
        outside["time"] = event.time
    if event.dataschema is not None:
        outside["dataschema"] = event.dataschema
    metadata: dict[str, Any] = {OUTSIDE: outside}
    if event.extensions:
        others: dict[str, Value] = {}
        for name, value in event.extensions.items():
            if name in INHERITED:
                metadata[INHERITED[name]] = str(value)
            elif name not in (VERSION, SEQUENCE):
                others[name] = value
        if others:
            outside["extensions"] = others
    return metadata


def time_text(microseconds: int) -> str:
    """Return microseconds since the epoch as RFC 3339 in UTC."""
    seconds, rest = divmod(microseconds, 1_000_000)
    return f"{_second_text(seconds)}.{rest:06}Z"


@lru_cache(256)
def _second_text(seconds: int) -> str:
    """Return a whole second as text: entries that follow each other share it."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"
