"""Messages outside the store: entries as CloudEvents headers and payload, and back. Pure.

Place on the road: what the broker's adapters send and receive, so that plain clients of the broker
take part. Binary mode of the CloudEvents NATS binding, which is the HTTP binding's: attributes are
`ce-` headers, percent-encoded; `content-type` is the content type; the payload is the data.

Our own messages begin with two more headers, from which an entry comes back as it was:
`eventmill-entry` (id in the outbox, version, microseconds) and `eventmill-metadata`. Whatever
arrives becomes an entry: a message that is no valid event, or lies in a wrong partition, one of
type `MALFORMED` that holds the original bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote, unquote_to_bytes

import msgspec

from eventmill.engine import cloudevent
from eventmill.model import cloudevents, limits
from eventmill.model.cloudevents import CloudEvent, InvalidCloudEvent, attributes
from eventmill.model.entry import Entry

MALFORMED: Final = "$malformed"
"""Type of an entry made of a message that is no valid event. Its payload is a `Malformed`."""


class Malformed(msgspec.Struct, frozen=True):
    """What arrived, as far as it can be told."""

    reason: str
    """Why it is no message of the topic; its sender must mend it."""
    headers: list[tuple[str, str]]
    data: bytes
    """The payload, in JSON as base64."""


class Arrived(msgspec.Struct, frozen=True, gc=False):
    """A message as the broker holds it."""

    topic: str
    shard: int
    position: int
    stored: int
    """When the broker stored it, microseconds since the epoch."""
    headers: bytes
    """Lines, each with its end."""
    payload: bytes


def header_lines(entry: Entry, source: str) -> bytes:
    """Return an entry's headers as lines; `source` is the topic's CloudEvents source."""
    known = _KNOWN.decode(entry.metadata) if entry.metadata else _NOTHING
    begin = b"eventmill-entry: %d:%d %d %d\r\neventmill-metadata: %s\r\nce-type: %s\r\n" % (
        entry.shard,
        entry.position,
        entry.version,
        entry.time,
        entry.metadata or b"",
        _encoded(entry.type),
    )
    if entry.subject:
        begin += b"ce-subject: %s\r\n" % _encoded(entry.subject)
    if known.cloudevent is not None:
        pairs, _ = cloudevents.encode_binary(cloudevent.of_entry(entry, source))
        rest = [b"%s: %s\r\n" % pair for pair in pairs if pair[0] not in _AT_THE_BEGIN]
        return begin + b"".join(rest)
    lines = begin + (
        b"ce-specversion: 1.0\r\nce-id: %d:%d\r\nce-source: %s\r\nce-time: %s\r\n"
        b"ce-eventversion: %d\r\ncontent-type: application/json\r\n"
        % (
            entry.shard,
            entry.position,
            _encoded(source),
            cloudevent.time_text(entry.time).encode(),
            entry.version,
        )
    )
    for name, member in cloudevent.INHERITED.items():
        if isinstance(value := getattr(known, member), str):
            lines += b"ce-%s: %s\r\n" % (name.encode(), _encoded(value))
    return lines


def entry_of(arrived: Arrived, belongs: Callable[[str], bool] = lambda key: True) -> Entry:
    """Return a message as entry; `belongs` knows the keys of its shard.

    `origin` is the id in the outbox; a message from outside has none.
    """
    try:
        entry = _own(arrived) or _foreign(arrived)
        if not belongs(entry.subject):
            raise InvalidCloudEvent(
                f"key {entry.subject!r} is not of this partition; send to the topic's own subject"
            )
    except (InvalidCloudEvent, ValueError) as error:
        return malformed(arrived, str(error))
    return entry


def malformed(arrived: Arrived, reason: str) -> Entry:
    """Return the entry that stands for a message that cannot be taken.

    Its key is its own, so that nothing waits behind it.
    """
    headers = [(_legible(name), _legible(value)) for name, value in header_pairs(arrived.headers)]
    return Entry(
        arrived.topic,
        f"{MALFORMED}/{arrived.shard}:{arrived.position}",
        0,
        MALFORMED,
        1,
        arrived.stored,
        msgspec.json.encode(Malformed(reason, headers, arrived.payload)),
        shard=arrived.shard,
        position=arrived.position,
    )


def reason_of(entry: Entry) -> str:
    """Return why a malformed message is no event."""
    return msgspec.json.decode(entry.payload, type=Malformed).reason


def admitted(arrived: Arrived, complete: Callable[[CloudEvent], CloudEvent]) -> tuple[str, Arrived]:
    """Return a message from outside with its key, as it is taken.

    What only an `append` may say is left out. `complete` adds to an event what its sender left to the
    topic to say. The key of no valid event is empty.
    """
    pairs = [pair for pair in header_pairs(arrived.headers) if pair[0].lower() not in _OURS]
    taken = msgspec.structs.replace(arrived, headers=_lines(pairs))
    if entry_of(taken).type == MALFORMED:
        return "", taken
    (event,) = cloudevents.decode(pairs, taken.payload)
    whole = complete(event)
    if whole is not event:
        known, data = cloudevents.encode_binary(whole)
        others = [(name, value) for name, value in pairs if not _of_an_event(name.lower())]
        taken = msgspec.structs.replace(taken, headers=_lines(known + others), payload=data)
    return whole.subject or "", taken


def header_pairs(lines: bytes) -> list[tuple[bytes, bytes]]:
    """Return names and values of header lines, without the broker's own."""
    pairs = []
    for line in lines.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if colon and line[:5].lower() != _OF_THE_BROKER:
            pairs.append((name.strip(), value.strip()))
    return pairs


class _Known(msgspec.Struct, gc=False):
    """Members of the metadata that are CloudEvents attributes."""

    correlation: Any = None
    causation: Any = None
    traceparent: Any = None
    tracestate: Any = None
    cloudevent: Any = None


_KNOWN = msgspec.json.Decoder(_Known)
_NOTHING = _Known()
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_JSON = msgspec.json.Decoder(msgspec.Raw)
_OF_THE_BROKER: Final = b"nats-"
_OURS: Final = (b"eventmill-entry", b"eventmill-metadata")
_AT_THE_BEGIN: Final = (b"ce-type", b"ce-subject")
_OWN = re.compile(
    rb"eventmill-entry: (\d{1,9}:\d{1,19}) (\d{1,9}) (\d{1,18})\r\neventmill-metadata: ([^\r]*)\r\n"
    rb"ce-type: ([^\r]+)\r\n(?:ce-subject: ([^\r]*)\r\n)?"
)
_UNENCODED: Final = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')
_PLAIN = re.compile("[!#$&-~]*")
"""The same characters: texts of these alone are quick."""


def _of_an_event(header: bytes) -> bool:
    return header.startswith(b"ce-") or header == b"content-type"


def _lines(pairs: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join(b"%s: %s\r\n" % pair for pair in pairs)


def _own(arrived: Arrived) -> Entry | None:
    """Return the entry of a message that an `append` stored; None if it is somebody else's."""
    found = _OWN.search(arrived.headers)
    if found is None:
        return None
    origin, version, time, metadata, kind, subject = found.groups(b"")
    if metadata:
        _OBJECT.decode(metadata)
    _JSON.decode(arrived.payload)
    key, kind_text = _decoded(subject), _decoded(kind)
    _check(kind_text, key)
    return Entry(
        arrived.topic,
        key,
        0,
        kind_text,
        int(version),
        int(time),
        arrived.payload,
        metadata or None,
        origin.decode(),
        arrived.shard,
        arrived.position,
    )


def _foreign(arrived: Arrived) -> Entry:
    """Return the entry of an event that a plain client published."""
    events = cloudevents.decode(header_pairs(arrived.headers), arrived.payload)
    if len(events) != 1:
        raise InvalidCloudEvent("a message holds one event; batches are for HTTP")
    (event,) = events
    _check(event.type, event.subject or "")
    if not attributes.is_json(event.datacontenttype):
        raise InvalidCloudEvent("topics carry application/json", "datacontenttype")
    metadata = msgspec.json.encode(cloudevent.metadata_from(event))
    if len(metadata) > limits.METADATA_BYTES_MAX:
        raise InvalidCloudEvent(f"attributes have at most {limits.METADATA_BYTES_MAX} bytes")
    return Entry(
        arrived.topic,
        event.subject or "",
        0,
        event.type,
        cloudevent.version_of(event),
        arrived.stored,
        event.data or b"{}",
        metadata,
        shard=arrived.shard,
        position=arrived.position,
    )


def _check(kind: str, subject: str) -> None:
    if not 0 < len(kind) <= limits.NAME_CHARACTERS_MAX or kind[0] == "$":
        raise InvalidCloudEvent(
            f"an event type has 1 to {limits.NAME_CHARACTERS_MAX} characters and no '$' in front",
            "type",
        )
    if len(subject) > limits.SUBJECT_CHARACTERS_MAX:
        raise InvalidCloudEvent(
            f"a subject has at most {limits.SUBJECT_CHARACTERS_MAX} characters", "subject"
        )


def _encoded(text: str) -> bytes:
    if _PLAIN.fullmatch(text):
        return text.encode("ascii")
    return quote(text, safe=_UNENCODED).encode("ascii")


def _decoded(value: bytes) -> str:
    return unquote_to_bytes(value).decode() if b"%" in value else value.decode("ascii")


def _legible(value: bytes) -> str:
    return value.decode("utf-8", "replace")[: limits.ATTRIBUTE_CHARACTERS_MAX]
