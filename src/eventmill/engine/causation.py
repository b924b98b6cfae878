"""What a caused entry inherits from its cause: correlation, causation and trace context. Pure."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from eventmill.model import codec
from eventmill.model.entry import Entry, metadata_of, without_id


class Causation(msgspec.Struct, omit_defaults=True, gc=False):
    """The members of metadata that are inherited. JSON values as somebody gave them."""

    causation: Any = msgspec.UNSET
    correlation: Any = msgspec.UNSET
    traceparent: Any = msgspec.UNSET
    tracestate: Any = msgspec.UNSET
    request_id: Any = msgspec.UNSET


_decode = msgspec.json.Decoder(Causation).decode
_BEGIN: Final = b'{"causation":'


def caused_by(entry: Entry) -> bytes:
    """Return the metadata of whatever a reaction to `entry` causes."""
    return codec.encode(causation_of(entry, entry.id))


def causation_of(entry: Entry, id: str) -> Causation:
    """Return what a reaction to `entry`, known by that id, inherits."""
    if entry.metadata is None:
        return Causation(id, id)
    caused = _decode(entry.metadata)
    caused.causation = id
    if caused.correlation is msgspec.UNSET:
        caused.correlation = id
    return caused


def traced(entry: Entry) -> dict[str, Any]:
    """Return what leads from an entry back to the request behind it, for the log."""
    told = Causation() if entry.metadata is None else _decode(entry.metadata)
    named = {name: getattr(told, name) for name in ("request_id", "traceparent", "correlation")}
    return {name: value for name, value in named.items() if value is not msgspec.UNSET}


def of_command(entry: Entry) -> bytes:
    """Return the metadata of what a sent command causes: its own, and the command itself as the
    cause if they name none."""
    metadata = without_id(entry.metadata)
    if metadata is not None and metadata.startswith(_BEGIN):
        return metadata
    return codec.encode({"causation": entry.id, **metadata_of(entry)})


def inherited(metadata: bytes | None) -> bytes | None:
    """Return what of a request's metadata everything that follows from it inherits."""
    return None if metadata is None else codec.encode(_decode(metadata))
