"""Trying upcasters: they are functions, so a schema cannot say what they make of older events.

A few values are made of the older schema, with as little and as much as it allows, and read as if
they were stored. If none gets through, the upcaster is missing something. What is stored is the
better proof: `eventmill schema check --data`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from eventmill.engine.schemas.keywords import options_of, resolved, values_of
from eventmill.engine.schemas.typed import Schema
from eventmill.errors import InvalidPayload
from eventmill.model import limits
from eventmill.model.events import MISFITS, EventType

DEPTH_MAX: Final = 12
"""Levels of a sample: a type that needs more of itself has no end."""

_TEXTS: Final = {
    "date-time": "2001-02-03T04:05:06Z",
    "date": "2001-02-03",
    "time": "04:05:06Z",
    "duration": "PT1S",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "decimal": "1",
    "integer": "1",
    "number": "1.5",
    "base64": "AAAA",
}


class _NoSampleError(Exception):
    """No value is known that fits."""


def failure(kind: EventType, version: int, schema: Schema) -> str:
    """Say why nothing of an older version would be read; empty if some of it is, or if nothing can
    be said."""
    first = ""
    for sample in samples(schema):
        found = _failure(kind, version, sample)
        if not found:
            return ""
        first = first or f"{msgspec.json.encode(sample).decode():.200} does not decode: {found}"
    return first


def samples(schema: Schema) -> list[Any]:
    """Return some values that fit a schema, the smallest first; none if none is known."""
    found = []
    for nth in range(limits.SCHEMA_SAMPLES_MAX):
        try:
            value = _Samples(schema, nth).of(schema, 0)
        except _NoSampleError:
            continue
        if value not in found:
            found.append(value)
    return found


def _failure(kind: EventType, version: int, sample: Any) -> str:
    try:
        kind.decode(msgspec.json.encode(sample), version)
    except InvalidPayload as error:
        return error.message if _is_ours(error.__cause__, sample) else ""
    return ""


def _is_ours(cause: BaseException | None, sample: Any) -> bool:
    """Whether an upcaster failed for another reason than its value, which is made up: it may refuse
    it, or look it up somewhere."""
    if isinstance(cause, KeyError):
        known = sample.values() if isinstance(sample, dict) else ()
        return all(key not in known for key in cause.args)
    return type(cause) is not ValueError and isinstance(cause, MISFITS)


class _Samples:
    """Makes the nth value of a document: the 0th with what is needed alone, the others with all."""

    def __init__(self, document: Schema, nth: int) -> None:
        self._defs: Schema = document.get("$defs", {})
        self._nth = nth

    def of(self, schema: Any, depth: int) -> Any:
        schema = resolved(schema, self._defs)
        if depth > DEPTH_MAX or schema is False:
            raise _NoSampleError
        if schema is True:
            return None
        if (values := values_of(schema)) is not None:
            return values[self._nth % len(values)]
        if (options := options_of(schema)) is not None:
            return self._one_of(options, depth)
        match schema.get("type"):
            case None:
                return None
            case "null":
                return None
            case "boolean":
                return bool(self._nth % 2)
            case "integer" | "number":
                return _number(schema)
            case "string":
                return _text(schema)
            case "array":
                return list(self._items(schema, depth))
            case _:
                return dict(self._fields(schema, depth))

    def _one_of(self, options: list[Any], depth: int) -> Any:
        for at in range(len(options)):
            try:
                return self.of(options[(self._nth + at) % len(options)], depth + 1)
            except _NoSampleError:
                continue
        raise _NoSampleError

    def _items(self, schema: Schema, depth: int) -> Iterator[Any]:
        places = schema.get("prefixItems", [])
        least = schema.get("minItems", 0)
        number = max(least, len(places) or 1) if self._nth and depth < DEPTH_MAX // 2 else least
        number = min(number, schema.get("maxItems", number))
        for at in range(number):
            yield self.of(places[at] if at < len(places) else schema.get("items", {}), depth + 1)

    def _fields(self, schema: Schema, depth: int) -> Iterator[tuple[str, Any]]:
        needed = schema.get("required", [])
        for name, inner in schema.get("properties", {}).items():
            if name in needed:
                yield name, self.of(inner, depth + 1)
            elif self._nth and depth < DEPTH_MAX // 2:
                try:
                    yield name, self.of(inner, depth + 1)
                except _NoSampleError:
                    continue
        rest = schema.get("additionalProperties", False)
        least = schema.get("minProperties", 0) - len(schema.get("properties", {}))
        if least > 1:
            raise _NoSampleError
        if rest is not False and (least == 1 or self._nth):
            key = self.of({"type": "string", **schema.get("propertyNames", {})}, depth + 1)
            yield key, self.of(rest, depth + 1)


def _number(schema: Schema) -> int | float:
    low = schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1)
    high = schema.get("maximum", schema.get("exclusiveMaximum", low + 2) - 1)
    number: int | float = min(max(1, low), high) if "multipleOf" not in schema else 0
    if not low <= number <= high:
        raise _NoSampleError
    return number if schema["type"] == "integer" else float(number)


def _text(schema: Schema) -> str:
    kind = schema.get("format", schema.get("contentEncoding"))
    if "pattern" in schema or (kind is not None and kind not in _TEXTS):
        raise _NoSampleError
    if kind is not None:
        text = _TEXTS[kind]
        return text.rstrip("Z") if schema.get("zone") == "forbidden" else text
    length = min(max(1, schema.get("minLength", 1)), schema.get("maxLength", 1 << 10))
    return "a" * int(length)
