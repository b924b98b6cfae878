"""The JSON event format and the JSON batch format (specification 1.0.2).

How a batch gets its speed: one typed decoding in C yields the core attributes and passes over
other members. Whether there were any, or one came twice, is told by counting quotes: each member
that was seen accounts for a known number of them. Only if the counts differ the body is read
again, member by member.

The order of the steps keeps memory bounded: the typed decoding fails at the first thing that is no
event, and the batch's length is checked, before anything is read a second time.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec

from eventmill.model import limits
from eventmill.model.cloudevents import attributes, validity
from eventmill.model.cloudevents.attributes import Value
from eventmill.model.cloudevents.event import CloudEvent, CloudEventTooLarge, InvalidCloudEvent


def decode_structured(body: bytes) -> CloudEvent:
    """Read an event that is one JSON object.

    Raises `InvalidCloudEvent`.
    """
    wire = _gate(_WIRE, body)
    return _events(body, [wire], lambda: [_MEMBERS.decode(body)], in_batch=False)[0]


def decode_batch(body: bytes) -> list[CloudEvent]:
    """Read a JSON array of events, which may be empty.

    Raises `InvalidCloudEvent`; its `index` tells which event is at fault.
    """
    wires = _gate(_WIRES, body)
    if len(wires) > limits.BATCH_EVENTS_MAX:
        raise CloudEventTooLarge(
            f"a batch has at most {limits.BATCH_EVENTS_MAX} events, this one has {len(wires)}"
        )
    return _events(body, wires, lambda: _MEMBERS_OF_EVENTS.decode(body), in_batch=True)


def encode_structured(event: CloudEvent) -> bytes:
    """Return the body of a structured-mode message."""
    return msgspec.json.encode(_members(event))


def encode_batch(events: Sequence[CloudEvent]) -> bytes:
    """Return the body of a batched-mode message.

    Raises `CloudEventTooLarge` if the batch is too long.
    """
    if len(events) > limits.BATCH_EVENTS_MAX:
        raise CloudEventTooLarge(f"a batch has at most {limits.BATCH_EVENTS_MAX} events")
    return msgspec.json.encode([_members(event) for event in events])


def attributes_of(event: CloudEvent) -> dict[str, Value]:
    """Return all attributes that are set, core and extensions, by name."""
    core = {name: getattr(event, name) for name in attributes.CORE}
    set_core = {name: value for name, value in core.items() if value is not None}
    return {**set_core, **event.extensions, **set_core}


def is_utf8(parameters: str) -> bool:
    """Whether the parameters of a content type name no character set other than UTF-8."""
    charset = _CHARSET.search(parameters)
    return charset is None or charset[1].lower() in ("utf-8", "utf8", "us-ascii")


_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=limits.ATTRIBUTE_CHARACTERS_MAX)]


class _Wire(msgspec.Struct, gc=False):
    """What the typed decoding sees of an event: the core attributes in their order, and data."""

    id: _Text
    source: _Text
    type: _Text
    specversion: Literal["1.0"]
    subject: _Text | None = None
    time: _Text | None = None
    datacontenttype: _Text | None = None
    dataschema: _Text | None = None
    data: msgspec.Raw = msgspec.Raw()


_T = TypeVar("_T")
_Members = dict[str, msgspec.Raw]
_SEEN: Final = frozenset(_Wire.__struct_fields__)

_WIRE = msgspec.json.Decoder(_Wire)
_WIRES = msgspec.json.Decoder(list[_Wire])
_MEMBERS = msgspec.json.Decoder(_Members)
_MEMBERS_OF_EVENTS = msgspec.json.Decoder(list[_Members])
_RAWS = msgspec.json.Decoder(list[msgspec.Raw])
_VALUE = msgspec.json.Decoder(Value | None)
_STRING = msgspec.json.Decoder(str)
_BASE64 = msgspec.json.Decoder(bytes | None)

_FLAT_BYTES: Final = 2 * limits.JSON_DEPTH_MAX
"""Shorter JSON cannot nest too deep, as each level takes two brackets."""
_MALFORMED = (msgspec.DecodeError, ValueError, RecursionError)
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([^;\s\"']+)", re.IGNORECASE)
_PLACE = re.compile(
    r"(?:field `(?P<missing>\w+)`)?(?: - at `\$(?:\[(?P<index>\d+)\])?(?:\.(?P<name>\w+))?.*`)?\Z"
)


def _gate(decoder: msgspec.json.Decoder[_T], body: bytes) -> _T:
    """Decode the core attributes, or say what is wrong with the body."""
    try:
        body.decode()  # msgspec passes over the text of `data` without looking at its UTF-8
        return decoder.decode(body)
    except RecursionError:
        raise validity.too_deep(None) from None
    except msgspec.ValidationError as error:
        place = _PLACE.search(str(error))
        assert place is not None  # every part is optional
        raise InvalidCloudEvent(
            f"not a CloudEvent: {error}",
            place["missing"] or place["name"],
            int(place["index"]) if place["index"] else None,
        ) from None
    except (msgspec.DecodeError, ValueError) as error:
        raise InvalidCloudEvent(f"the body is not JSON in UTF-8: {error}") from None


def _events(
    body: bytes,
    wires: list[_Wire],
    read_members: Callable[[], list[_Members]],
    *,
    in_batch: bool,
) -> list[CloudEvent]:
    if not wires:
        return []
    *core, raws = zip(*map(msgspec.structs.astuple, wires), strict=True)
    columns = dict(zip(attributes.CORE, core, strict=True))
    texts = list(map(bytes, raws))
    validity.check_columns(columns, in_batch=in_batch)
    saw_all = body.count(b'"') == _quotes(columns, texts)
    if saw_all and all(map(attributes.is_json, set(columns["datacontenttype"]))):
        events = list(map(CloudEvent, *core, [text or None for text in texts]))
    else:
        members = read_members()
        events = [
            _event(wire, others, index if in_batch else None)
            for index, (wire, others) in enumerate(zip(wires, members, strict=True))
        ]
        _check_no_repeats(body, members, in_batch)
    for index in [at for at, text in enumerate(texts) if len(text) > _FLAT_BYTES]:
        validity.check_size(texts[index], index if in_batch else None)
        validity.check_depth(texts[index], index if in_batch else None)
    return events


def _quotes(columns: validity.Columns, texts: list[bytes]) -> int:
    """Count the quotes of the members that were seen: two for a name, two for a string."""
    strings = sum([len(texts) - column.count(None) for column in columns.values()])
    in_data = sum([text.count(b'"') for text in texts])
    return 4 * strings + 2 * (len(texts) - texts.count(b"")) + in_data


def _event(wire: _Wire, members: _Members, index: int | None) -> CloudEvent:
    others: dict[str, Any] = {}
    for name in members.keys() - _SEEN:
        try:
            value = (_BASE64 if name == "data_base64" else _VALUE).decode(members[name])
        except _MALFORMED as error:
            raise InvalidCloudEvent(f"member {name!r}: {error}", name, index) from None
        if value is not None:
            others[name] = value
    data: bytes | None = others.pop("data_base64", None)
    if data is None:
        data = _content(wire, index)
    elif wire.data:
        raise InvalidCloudEvent("send data or data_base64, not both", "data", index)
    elif attributes.is_json(wire.datacontenttype):
        validity.check_json(data, index)
    else:
        validity.check_size(data, index)
    validity.check_extensions(others, index)
    return CloudEvent(
        wire.id,
        wire.source,
        wire.type,
        wire.specversion,
        wire.subject,
        wire.time,
        wire.datacontenttype,
        wire.dataschema,
        data,
        others,
    )


def _content(wire: _Wire, index: int | None) -> bytes | None:
    if not wire.data:
        return None
    if attributes.is_json(wire.datacontenttype):
        return bytes(wire.data)
    try:
        text = _STRING.decode(wire.data).encode()
    except _MALFORMED:
        text = None
    if text is None or not is_utf8(wire.datacontenttype or ""):
        raise InvalidCloudEvent(
            "data that is neither JSON nor text in UTF-8 belongs into data_base64", "data", index
        )
    return text


def _check_no_repeats(body: bytes, members: list[_Members], in_batch: bool) -> None:
    if body.count(b'"') == sum(map(_quotes_of, members)):
        return
    raws = _RAWS.decode(body) if in_batch else [body]
    for index, (raw, event) in enumerate(zip(raws, members, strict=True)):
        if bytes(raw).count(b'"') != _quotes_of(event):
            raise InvalidCloudEvent("a member comes twice", None, index if in_batch else None)


def _quotes_of(members: _Members) -> int:
    return 2 * len(members) + b"".join(members.values()).count(b'"')


def _members(event: CloudEvent) -> dict[str, Any]:
    members: dict[str, Any] = attributes_of(event)
    if event.data is None:
        return members
    if attributes.is_json(event.datacontenttype):
        return {**members, "data": msgspec.Raw(event.data)}
    return {**members, "data_base64": b64encode(event.data).decode("ascii")}
