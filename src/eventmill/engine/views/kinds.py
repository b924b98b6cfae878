"""Kinds: how the value of a typed field is kept in a column, and how it comes back.

| Kind | Python | Column holds | Compares and sorts as |
|---|---|---|---|
| integer | int, int enums and literals | number, 64 bits | the number |
| float | float | number, finite | the number |
| text | str, str enums and literals | text, UTF-8 | by code point |
| boolean | bool | 0 or 1 | 0 < 1 |
| datetime | datetime | text, UTC, `2024-05-17T08:30:00.000000Z`; a naive one has no Z | the instant |
| date, time | date, time | text, ISO 8601, times with six decimals | the date, the time |
| duration | timedelta | whole microseconds | the duration |
| decimal | Decimal | text, exact | not at all: a query must CAST it |
| uuid | UUID | text, lower case | text |
| bytes | bytes | text, base64 | equal or not |
| json | list, dict, struct, union, Any, Pydantic model, … | JSON text | not at all |

Invariants: what `storing` accepts, `loading` gives back equal (a datetime as the same instant, in
UTC); a value that a store would refuse raises here, before it can break a transaction. Text forms
are those of JSON, so that a query's answer needs no second encoding. Next: `schema` makes tables
of struct types, `parameters` binds arguments.
"""

from __future__ import annotations

import base64
import decimal
import enum
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from operator import attrgetter
from typing import Annotated, Any, Final, get_args

import msgspec
from msgspec import inspect

from eventmill.engine.views.shapes import shape_of
from eventmill.errors import TooLarge
from eventmill.model import codec, limits

INTEGER_MIN: Final = -(2**63)
INTEGER_MAX: Final = 2**63 - 1

Stored = str | int | float | None
"""What a column holds: the types that all stores have in common."""

Conversion = Callable[[Any], Any]


class Kind(enum.StrEnum):
    """How a value is kept."""

    INTEGER = "integer"
    FLOAT = "float"
    TEXT = "text"
    BOOLEAN = "boolean"
    DATETIME = "datetime"
    DATE = "date"
    TIME = "time"
    DURATION = "duration"
    DECIMAL = "decimal"
    UUID = "uuid"
    BYTES = "bytes"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class FieldType:
    """A field's annotation, understood."""

    kind: Kind
    nullable: bool
    annotation: Any
    """As it was written."""
    bounds: dict[str, float] | None = None
    """Of a number: what msgspec's `Meta` says."""
    enum: type[enum.Enum] | None = None
    item: FieldType | None = None
    """Of a list, set or tuple of one type: its items."""


def field_type(annotation: Any) -> FieldType:
    """Understand an annotation.

    Raises `TypeError` that says what is not possible and why.
    """
    if msgspec.UnsetType in get_args(annotation):
        raise TypeError("UNSET has no column value; use None")
    try:
        info = inspect.type_info(annotation)
    except NameError as error:
        raise TypeError(str(error)) from error
    parts = [p for p in _members(info) if not isinstance(p, inspect.NoneType)]
    nullable = len(parts) < len(_members(info)) or isinstance(info, inspect.AnyType)
    if len(parts) != 1:
        if not parts:
            raise TypeError("None alone has no values")
        shape_of(annotation)
        return FieldType(Kind.JSON, nullable, annotation)
    return _of_part(parts[0], nullable, annotation)


def storing(field: FieldType) -> Conversion | None:
    """Return what makes a column's value of a field's (not None); None: it is kept as it is."""
    if field.kind is Kind.JSON:
        return _json_storing(field.annotation)
    if field.enum is not None:
        return attrgetter("value")
    return _STORING.get(field.kind)


def loading(field: FieldType) -> Conversion | None:
    """Return what makes a field's value of a column's (not NULL); None: it is one already."""
    if field.kind is Kind.JSON:
        return codec.decoder(field.annotation).decode
    return field.enum or _LOADING.get(field.kind)


def bounded(field: FieldType) -> Any:
    """Return the annotation narrowed to what a column can hold: 64 bits, finite numbers.

    JSON is `Any` here: its `storing` decodes what it encoded, which checks it in depth.
    """
    narrowed: Any
    match field.kind:
        case Kind.JSON:
            return Any
        case Kind.INTEGER if field.bounds is not None:
            meta = _meta(field.bounds, INTEGER_MIN, INTEGER_MAX)
            narrowed = Annotated[int, meta]
        case Kind.FLOAT if field.bounds is not None:
            # NaN fails each comparison, hence these bounds as well.
            meta = _meta(field.bounds, -sys.float_info.max, sys.float_info.max)
            narrowed = Annotated[float, meta]
        case _:
            return field.annotation
    return narrowed | None if field.nullable else narrowed


def _members(info: inspect.Type) -> tuple[inspect.Type, ...]:
    if isinstance(info, inspect.UnionType):
        return info.types
    if isinstance(info, inspect.LiteralType) and None in info.values:
        values = tuple(value for value in info.values if value is not None)
        return (inspect.LiteralType(values), inspect.NoneType())
    return (info,)


_KINDS: dict[type[inspect.Type], Kind] = {
    inspect.IntType: Kind.INTEGER,
    inspect.FloatType: Kind.FLOAT,
    inspect.StrType: Kind.TEXT,
    inspect.BoolType: Kind.BOOLEAN,
    inspect.DateTimeType: Kind.DATETIME,
    inspect.DateType: Kind.DATE,
    inspect.TimeType: Kind.TIME,
    inspect.TimeDeltaType: Kind.DURATION,
    inspect.DecimalType: Kind.DECIMAL,
    inspect.UUIDType: Kind.UUID,
    inspect.BytesType: Kind.BYTES,
}


def _of_part(info: inspect.Type, nullable: bool, annotation: Any) -> FieldType:
    if isinstance(info, inspect.IntType | inspect.FloatType):
        bounds = {
            name: value
            for name in ("gt", "ge", "lt", "le", "multiple_of")
            if (value := getattr(info, name)) is not None
        }
        return FieldType(_KINDS[type(info)], nullable, annotation, bounds)
    kind = _KINDS.get(type(info))
    if kind is not None:
        return FieldType(kind, nullable, annotation)
    if isinstance(info, inspect.EnumType):
        kind = _kind_of_values([member.value for member in info.cls])
        return FieldType(kind, nullable, annotation, enum=info.cls)
    if isinstance(info, inspect.LiteralType):
        return FieldType(_kind_of_values(list(info.values)), nullable, annotation)
    shape_of(annotation)
    return FieldType(Kind.JSON, nullable, annotation, item=_item_of(annotation))


def _kind_of_values(values: list[Any]) -> Kind:
    if all(isinstance(value, str) for value in values):
        return Kind.TEXT
    if all(isinstance(value, int) for value in values):
        return Kind.INTEGER
    return Kind.JSON


def _item_of(annotation: Any) -> FieldType | None:
    """The type of a collection's items; None if it is no collection of one simple type."""
    for part in (annotation, *get_args(annotation)):
        info = inspect.type_info(part) if part is not Ellipsis else None
        if hasattr(info, "item_type"):
            arguments = get_args(part) or (Any,)
            return field_type(arguments[0])
    return None


def _meta(bounds: dict[str, float], low: float, high: float) -> msgspec.Meta:
    merged: dict[str, Any] = dict(bounds)
    if not merged.keys() & {"gt", "ge"}:
        merged["ge"] = low
    if not merged.keys() & {"lt", "le"}:
        merged["le"] = high
    return msgspec.Meta(**merged)


def _json_storing(annotation: Any) -> Conversion:
    check = codec.decoder(annotation).decode

    def store(value: Any) -> str:
        encoded = codec.encode(value)
        if len(encoded) > limits.PAYLOAD_BYTES_MAX:
            raise TooLarge(f"{len(encoded)} bytes of JSON; {limits.PAYLOAD_BYTES_MAX} are possible")
        # What does not decode now would fail every later query that meets it.
        check(encoded)
        return encoded.decode()

    return store


_encode = msgspec.json.Encoder().encode


def _datetime_text(value: datetime) -> str:
    if value.tzinfo is not None and value.tzinfo is not UTC:
        value = value.astimezone(UTC)
    # msgspec is ten times as fast as isoformat; only whole seconds lack the decimals.
    text = _encode(value)[1:-1].decode()
    return text if len(text) > 20 else f"{text[:19]}.000000{text[19:]}"


def _time_text(value: time) -> str:
    text = _encode(value)[1:-1].decode()
    return text if text[8:9] == "." else f"{text[:8]}.000000{text[8:]}"


def _microseconds(value: timedelta) -> int:
    total = (value.days * 86_400 + value.seconds) * 1_000_000 + value.microseconds
    if abs(total) > INTEGER_MAX:
        raise ValueError(f"{value!r} is beyond ±292,471 years")
    return total


def _duration(microseconds: int) -> timedelta:
    return timedelta(microseconds=microseconds)


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


_STORING: dict[Kind, Conversion] = {
    Kind.DATETIME: _datetime_text,
    Kind.DATE: date.isoformat,
    Kind.TIME: _time_text,
    Kind.DURATION: _microseconds,
    Kind.DECIMAL: str,
    Kind.UUID: str,
    Kind.BYTES: _base64,
}

_LOADING: dict[Kind, Conversion] = {
    Kind.BOOLEAN: bool,
    Kind.DATETIME: datetime.fromisoformat,
    Kind.DATE: date.fromisoformat,
    Kind.TIME: time.fromisoformat,
    Kind.DURATION: _duration,
    Kind.DECIMAL: decimal.Decimal,
    Kind.UUID: uuid.UUID,
    Kind.BYTES: base64.b64decode,
}
