"""JSON in and out, in one place: msgspec, with Pydantic models accepted wherever a type is named."""

from __future__ import annotations

from typing import Any

import msgspec


def _encode_hook(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    if dump is None:
        raise TypeError(f"{type(value).__qualname__} cannot be encoded as JSON")
    return dump(mode="json")


def _decode_hook(kind: type, value: Any) -> Any:
    if isinstance(value, kind):
        return value
    validate = getattr(kind, "model_validate", None)
    if validate is None:
        raise TypeError(f"{kind.__qualname__} cannot be decoded from JSON")
    return validate(value)


encode = msgspec.json.Encoder(enc_hook=_encode_hook).encode
"""Encode any supported value as JSON bytes."""


def decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    """Make a JSON decoder for a type annotation."""
    return msgspec.json.Decoder(kind, dec_hook=_decode_hook)


def convert(value: Any, kind: Any) -> Any:
    """Validate Python data against a type annotation; containers are copied."""
    return msgspec.convert(value, kind, dec_hook=_decode_hook)


def schema_fingerprint(kind: type[msgspec.Struct]) -> str:
    """Return text that changes when the names, types or defaults-ness of a struct's fields do."""
    fields = msgspec.structs.fields(kind)
    return ";".join(f"{field.encode_name}:{field.type!r}" for field in fields)
