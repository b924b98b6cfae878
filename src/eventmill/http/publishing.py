"""`POST /topics/{topic}`: CloudEvents in, messages out.

Place on the road: the ingress of topics. Envelope, grammar of the JSON, depth and size are checked
here; whether data fits its type is not: a consumer finds that out and parks it, so that nothing a
sender meant to say is lost (G5).

Invariants: a request is accepted whole or not at all; its order is kept; what was accepted is
durable when 202 is answered; an event with the source and id of an accepted one is a duplicate.
"""

from __future__ import annotations

from typing import Any

import msgspec

from eventmill.engine import cloudevent
from eventmill.errors import InvalidPayload, NotFound, TooLarge
from eventmill.http.bodies import Bodies
from eventmill.http.meter import Meter
from eventmill.http.problems import UnsupportedMediaType
from eventmill.http.wire import JSON_HEADERS, TOPICS, Receive, Scope, Send, check_encoding
from eventmill.model import cloudevents, limits
from eventmill.model.cloudevents import attributes
from eventmill.model.topic import Topic
from eventmill.runtime.runtime import Runtime
from eventmill.runtime.topics.publisher import Message

_CONTEXT_HEADERS = {
    b"traceparent": "traceparent",
    b"tracestate": "tracestate",
    b"x-request-id": "request_id",
    b"x-correlation-id": "correlation",
}
"""Header → metadata member of every event of the request that does not bring its own."""


class Publishing:
    """Appends events from outside to topics."""

    def __init__(self, runtime: Runtime, meter: Meter, bodies: Bodies) -> None:
        self._runtime = runtime
        self._meter = meter
        self._bodies = bodies
        self._topics = runtime.service.topics
        self._types = {
            id: {name for kind in topic.event_types() for name in (kind.name, *kind.aliases)}
            for id, topic in self._topics.items()
        }

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request.

        Raises `NotFound`, `InvalidPayload`, `TooLarge`, `BodyTimeout`, `UnsupportedMediaType`,
        `Unavailable`.
        """
        topic = scope["path"][len(TOPICS) :]
        types = self._types.get(topic)
        if types is None:
            raise NotFound(f"no topic {topic!r}; there is {', '.join(self._types) or 'none'}")
        headers = scope["headers"]
        context: dict[str, Any] = {}
        for name, value in headers:
            if name == b"content-encoding":
                check_encoding(value.decode("latin-1"))
            elif name in _CONTEXT_HEADERS:
                context[_CONTEXT_HEADERS[name]] = _context_value(name, value)
        body = await self._bodies.read(receive, limits.BODY_BYTES_MAX)
        events = _decoded(headers, body, self._topics[topic])
        messages = [_message(event, context) for event in events]
        self._check_types(topic, {m.type for m in messages} - types)
        fresh = await self._runtime.publisher.messages(topic, messages) if messages else 0
        duplicates = len(messages) - fresh
        self._meter.accepted(topic, fresh, duplicates)
        await send({"type": "http.response.start", "status": 202, "headers": JSON_HEADERS})
        body = b'{"accepted":%d,"duplicates":%d}' % (fresh, duplicates)
        await send({"type": "http.response.body", "body": body})

    def _check_types(self, topic: str, undeclared: set[str]) -> None:
        """An undeclared type is a consumer's business (it parks or ignores it), but its name stays
        in the store for good: anybody could fill it with names."""
        if undeclared and not self._runtime.store.journal.has_room_for(undeclared):
            raise InvalidPayload(
                f"topic {topic!r} carries {', '.join(sorted(self._types[topic]))}, not "
                f"{', '.join(sorted(undeclared))[:200]}; this store holds {limits.NAMES_MAX:,} "
                "names and takes no more undeclared types",
                code="event.too_many_types",
            )


def _context_value(name: bytes, value: bytes) -> str:
    text = value.decode("latin-1")
    if len(text) > limits.SUBJECT_CHARACTERS_MAX or not text.isascii():
        raise InvalidPayload(
            f"header {name.decode()}: at most {limits.SUBJECT_CHARACTERS_MAX} ASCII characters"
        )
    return text


def _decoded(
    headers: list[tuple[bytes, bytes]], body: bytes, topic: Topic[Any]
) -> list[cloudevents.CloudEvent]:
    """Read the CloudEvents; tell their errors in this platform's terms."""
    try:
        events = cloudevents.decode(headers, body)
        return [cloudevent.completed(event, topic) for event in events]
    except cloudevents.InvalidCloudEvent as error:
        details = {"attribute": error.attribute, "index": error.index}
        given = {name: value for name, value in details.items() if value is not None}
        match error:
            case cloudevents.CloudEventTooLarge():
                raise TooLarge(error.message, details=given) from error
            case cloudevents.UnsupportedEventFormat():
                raise UnsupportedMediaType(error.message, details=given) from error
            case _:
                raise InvalidPayload(error.message + _advice(headers), details=given) from error


def _advice(headers: list[tuple[bytes, bytes]]) -> str:
    """What to send, for who sent plain JSON."""
    if any(n.startswith(b"ce-") or v.startswith(b"application/cloudevents") for n, v in headers):
        return ""
    return (
        "; a topic takes CloudEvents: send the headers ce-specversion, ce-id, ce-source and "
        "ce-type with the event's JSON, or let `eventmill topics publish` do it"
    )


def _message(event: cloudevents.CloudEvent, context: dict[str, Any]) -> Message:
    kind, subject = event.type, event.subject or ""
    if len(kind) > limits.NAME_CHARACTERS_MAX or kind[0] == "$":
        raise InvalidPayload(
            f"event type {kind[:200]!r}: use 1 to {limits.NAME_CHARACTERS_MAX} characters, "
            "not beginning with '$'"
        )
    if len(subject) > limits.SUBJECT_CHARACTERS_MAX:
        raise TooLarge(f"a subject has at most {limits.SUBJECT_CHARACTERS_MAX} characters")
    if event.datacontenttype is not None and not attributes.is_json(event.datacontenttype):
        raise UnsupportedMediaType(
            f"data of type {event.datacontenttype!r}: topics carry application/json"
        )
    metadata = cloudevent.metadata_from(event)
    if context:
        metadata = {**context, **metadata}
    encoded = msgspec.json.encode(metadata)
    if len(encoded) > limits.METADATA_BYTES_MAX:
        raise TooLarge(f"attributes of one event have at most {limits.METADATA_BYTES_MAX} bytes")
    # A space cannot stand in a source, so no two pairs read the same.
    dedupe = f"{event.source} {event.id}"
    version, data = cloudevent.version_of(event), event.data or b"{}"
    return Message(kind, version, subject, data, encoded, dedupe)
