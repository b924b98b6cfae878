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
    try:
        return validate(value)
    except ValueError as error:
        raise ValueError(_in_one_line(error)) from error


def _in_one_line(error: ValueError) -> str:
    """Tell Pydantic's findings without what a caller need not see: links, and the input again."""
    findings = getattr(error, "errors", None)
    if findings is None:
        return str(error)
    return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in findings())


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
