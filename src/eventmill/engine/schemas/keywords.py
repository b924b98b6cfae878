"""JSON Schema as it is compared: what keywords mean, and a few words about a schema."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from eventmill.engine.schemas.typed import Schema

_ANNOTATIONS: Final = {
    "$defs",
    "$schema",
    "default",
    "deprecated",
    "description",
    "discriminator",
    "examples",
    "readOnly",
    "title",
    "uniqueItems",  # a set takes what comes twice once
    "writeOnly",
}
_AT_LEAST: Final = ("minLength", "minBytes")
_AT_MOST: Final = ("maxLength", "maxBytes")
_NUMBERS: Final = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "multipleOf")
_OBJECTS: Final = (
    "properties",
    "required",
    "additionalProperties",
    "propertyNames",
    "minProperties",
    "maxProperties",
)
_ARRAYS: Final = ("prefixItems", "items", "minItems", "maxItems")


def resolved(schema: Any, defs: Schema) -> Any:
    """Follow references, and what is wrapped around them."""
    while isinstance(schema, dict):
        if "$ref" in schema and not narrowing(schema) - {"$ref"}:
            schema = defs[schema["$ref"].removeprefix("#/$defs/")]
        elif len(schema.get("allOf", ())) == 1 and not narrowing(schema) - {"allOf"}:
            schema = schema["allOf"][0]
        else:
            break
    return schema


def options_of(schema: Schema) -> list[Any] | None:
    """Return the members of a union, None for what is none."""
    if isinstance(kinds := schema.get("type"), list):
        return [{**schema, "type": kind} for kind in kinds]
    found: list[Any] | None = schema.get("anyOf", schema.get("oneOf"))
    return found


def values_of(schema: Schema) -> list[Any] | None:
    """Return the values that a schema lists, None if it does not."""
    found: list[Any] | None = [schema["const"]] if "const" in schema else schema.get("enum")
    return found


def described(schema: Any, defs: Schema | None = None) -> str:
    """Say in a few words what a schema allows."""
    schema = resolved(schema, defs) if defs is not None else schema
    if not isinstance(schema, dict) or not narrowing(schema):
        return "nothing" if schema is False else "anything"
    if "$ref" in schema:
        return str(schema["$ref"]).removeprefix("#/$defs/")
    if (options := options_of(schema)) is not None:
        return " or ".join(described(one, defs) for one in options)
    if (values := values_of(schema)) is not None:
        return shown(values)
    kind = str(schema.get("format", schema.get("contentEncoding", schema.get("type", "anything"))))
    if kind == "array" and isinstance(schema.get("items"), dict):
        return f"array of {described(schema['items'])}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"map of {described(schema['additionalProperties'])}"
    bounds = sorted(narrowing(schema) - {"type", "format", "contentEncoding", *_OBJECTS, *_ARRAYS})
    return " ".join([kind, *(f"{name}={schema[name]}" for name in bounds)])


def narrowing(schema: Any) -> set[str]:
    """Return the keywords that say what is allowed; none: anything is."""
    if isinstance(schema, dict):
        return set(schema.keys() - _ANNOTATIONS)
    return set() if schema is True else {"false"}


def kinds_of(schema: Any) -> set[str]:
    """Return the JSON types of what a member of a union takes."""
    if not isinstance(schema, dict):
        return set()
    if (values := values_of(schema)) is not None:
        return {kind_of(value) for value in values}
    return {schema["type"]} if "type" in schema else set()


def kind_of(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def same_tags(writer: Schema, reader: Any) -> bool:
    """Whether two members of unions may be the same one: no tag says otherwise."""
    if not isinstance(reader, dict):
        return False
    ours, theirs = tags_of(writer), tags_of(reader)
    return all(theirs.get(name, value) == value for name, value in ours.items())


def tags_of(schema: Schema) -> dict[Any, Any]:
    """Return what has a single value, by name or place."""
    places = [*schema.get("properties", {}).items(), *enumerate(schema.get("prefixItems", []))]
    found = ((name, values_of(one)) for name, one in places if isinstance(one, dict))
    return {name: values[0] for name, values in found if values is not None and len(values) == 1}


def implies(writer: Schema, reader: Schema, name: str) -> bool:
    """Whether what a writer keeps to makes a keyword of the reader hold."""
    bound = reader[name]
    if name in ("type", *_OBJECTS, *_ARRAYS):
        return True  # looked at apart
    if name in _AT_LEAST:
        return bool(writer.get(name, 0) >= bound)
    if name in _AT_MOST:
        return bool(writer.get(name, math.inf) <= bound)
    low, above = writer.get("minimum", -math.inf), writer.get("exclusiveMinimum", -math.inf)
    high, below = writer.get("maximum", math.inf), writer.get("exclusiveMaximum", math.inf)
    match name:
        case "minimum":
            return bool(low >= bound or above >= bound)
        case "exclusiveMinimum":
            return bool(low > bound or above >= bound)
        case "maximum":
            return bool(high <= bound or below <= bound)
        case "exclusiveMaximum":
            return bool(high < bound or below <= bound)
        case "multipleOf":
            step = writer.get(name)
            whole = isinstance(step, int) and isinstance(bound, int)
            return step == bound or (whole and step % bound == 0)
    # What is named alike may be different in the two documents.
    return bool(writer.get(name) == bound) and "$ref" not in str(bound)


def holds(value: Any, name: str, bound: Any) -> bool:
    """Whether a keyword holds for a text or a number."""
    match name:
        case "minLength":
            return bool(len(value) >= bound)
        case "maxLength":
            return bool(len(value) <= bound)
        case "pattern":
            return re.search(bound, value) is not None
        case "minimum":
            return bool(value >= bound)
        case "exclusiveMinimum":
            return bool(value > bound)
        case "maximum":
            return bool(value <= bound)
        case "exclusiveMaximum":
            return bool(value < bound)
        case "multipleOf":
            return isinstance(bound, int) and bool(value % bound == 0)
    return False


def shown(values: Iterable[Any]) -> str:
    """Show values as JSON does."""
    texts = [msgspec.json.encode(value).decode() for value in values]
    return ", ".join(texts[:8]) + (", …" if len(texts) > 8 else "")
