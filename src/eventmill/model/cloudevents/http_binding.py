"""The HTTP protocol binding (specification 1.0.2): content modes, and attributes as headers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from eventmill.model.cloudevents import attributes, json_format, validity
from eventmill.model.cloudevents.attributes import Value
from eventmill.model.cloudevents.event import (
    CloudEvent,
    InvalidCloudEvent,
    UnsupportedEventFormat,
)

JSON_TYPE: Final = "application/json"
STRUCTURED_TYPE: Final = "application/cloudevents+json"
BATCH_TYPE: Final = "application/cloudevents-batch+json"

Headers = Iterable[tuple[bytes, bytes]]
"""As in ASGI; names in any case."""


class Mode(StrEnum):
    """How events are laid into an HTTP message."""

    BINARY = "binary"
    STRUCTURED = "structured"
    BATCH = "batch"


def decode(headers: Headers, body: bytes) -> list[CloudEvent]:
    """Read a message in the mode that its Content-Type tells: one event, or a batch of some.

    Raises `InvalidCloudEvent`.
    """
    pairs = list(headers)
    mode = mode_of(_content_type(pairs) or "")
    if mode is Mode.BATCH:
        return json_format.decode_batch(body)
    if mode is Mode.STRUCTURED:
        return [json_format.decode_structured(body)]
    return [decode_binary(pairs, body)]


def mode_of(content_type: str) -> Mode:
    """Return the content mode that a Content-Type stands for.

    Raises `UnsupportedEventFormat` for CloudEvents that are not JSON in UTF-8.
    """
    kind, _, parameters = content_type.partition(";")
    kind = kind.strip().lower()
    if not kind.startswith("application/cloudevents"):
        return Mode.BINARY
    if kind not in _MODES or not json_format.is_utf8(parameters):
        raise UnsupportedEventFormat(
            f"content type {content_type!r} is not understood: use {STRUCTURED_TYPE} or "
            f"{BATCH_TYPE}, in UTF-8",
            "datacontenttype",
        )
    return _MODES[kind]


def decode_binary(headers: Headers, body: bytes) -> CloudEvent:
    """Read an event whose attributes are `ce-` headers and whose data is the body.

    Raises `InvalidCloudEvent`.
    """
    pairs = list(headers)
    values: dict[str, str] = {}
    for header, raw in pairs:
        if header[:3].lower() == b"ce-":
            name = header[3:].decode("ascii", "replace").lower()
            if name in values:
                raise InvalidCloudEvent(f"header ce-{name} comes twice", name)
            values[name] = _header_value(name, raw)
    for name in attributes.REQUIRED:
        if name not in values:
            raise InvalidCloudEvent(f"header ce-{name} is missing", name)
    if "datacontenttype" in values:
        raise InvalidCloudEvent("use Content-Type, not ce-datacontenttype", "datacontenttype")
    content_type = _content_type(pairs)
    if content_type is not None:
        values["datacontenttype"] = content_type
    extensions: dict[str, Value] = {
        name: values.pop(name) for name in values.keys() - set(attributes.CORE)
    }
    event = CloudEvent(**values, data=body or None, extensions=extensions)
    validity.check(event)
    return event


def encode_binary(event: CloudEvent) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Return headers and body of a binary-mode message.

    Data without a content type goes out as `application/json`, which is what it is.
    """
    values = json_format.attributes_of(event)
    content_type = values.pop("datacontenttype", JSON_TYPE if event.data is not None else None)
    headers = [
        (b"ce-" + name.encode("ascii"), quote(_text(value), safe=_UNENCODED).encode("ascii"))
        for name, value in values.items()
    ]
    if content_type is not None:
        headers.append((b"content-type", str(content_type).encode("ascii")))
    return headers, event.data or b""


_MODES: Final = {STRUCTURED_TYPE: Mode.STRUCTURED, BATCH_TYPE: Mode.BATCH}
_UNENCODED: Final = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')
_QUOTED = re.compile(rb'"((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(rb"\\(.)")
_NOT_ENCODED = re.compile(rb"%(?![0-9A-Fa-f]{2})|[^\x20-\x7e]")


def _content_type(headers: Sequence[tuple[bytes, bytes]]) -> str | None:
    found = [value for name, value in headers if name.lower() == b"content-type"]
    if len(found) > 1:
        raise InvalidCloudEvent("header Content-Type comes twice", "datacontenttype")
    return found[0].decode("ascii", "replace").strip(" \t") if found else None


def _header_value(name: str, raw: bytes) -> str:
    """Undo quoting, then one round of percent-encoding (section 3.1.3.2)."""
    value = raw.strip(b" \t")
    if b'"' in value:
        value = _QUOTED.sub(lambda quoted: _ESCAPED.sub(rb"\1", quoted[1]), value)
    if _NOT_ENCODED.search(value):
        raise InvalidCloudEvent(
            f"header ce-{name}: percent-encode '%' and all that is not printable ASCII", name
        )
    try:
        return unquote_to_bytes(value).decode()
    except UnicodeDecodeError as error:
        raise InvalidCloudEvent(f"header ce-{name} is not UTF-8: {error}", name) from None


def _text(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
