"""Shapes: the structure of a type as text, the same wherever and whenever it is written down.

Two types of the same shape read and write the same JSON. Names of classes, docstrings and defaults
are left out: changing them changes no stored row. Choices and bounds count, since rows outside new
ones would not be read. Used by `fingerprint`, and by `kinds` to find, at start, types that JSON
cannot carry.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import inspect

_SCALARS: dict[type[inspect.Type], str] = {
    inspect.AnyType: "any",
    inspect.NoneType: "null",
    inspect.BoolType: "bool",
    inspect.IntType: "int",
    inspect.FloatType: "float",
    inspect.StrType: "str",
    inspect.BytesType: "bytes",
    inspect.DateTimeType: "datetime",
    inspect.TimeType: "time",
    inspect.DateType: "date",
    inspect.TimeDeltaType: "timedelta",
    inspect.UUIDType: "uuid",
    inspect.DecimalType: "decimal",
}

_COLLECTIONS = (
    inspect.ListType,
    inspect.SetType,
    inspect.FrozenSetType,
    inspect.VarTupleType,
)
_RECORDS = (
    inspect.StructType,
    inspect.DataclassType,
    inspect.TypedDictType,
    inspect.NamedTupleType,
)


def shape_of(annotation: Any) -> str:
    """Return the structure of a type annotation.

    Raises `TypeError` that names the part which JSON cannot carry.
    """
    try:
        return _shape(inspect.type_info(annotation), ())
    except NameError as error:
        raise TypeError(str(error)) from error


def _shape(info: inspect.Type, inside: tuple[type, ...]) -> str:
    scalar = _SCALARS.get(type(info))
    if scalar is not None:
        return scalar + _constraints(info)
    match info:
        case inspect.Metadata(type=inner):
            return _shape(inner, inside)
        case inspect.EnumType(cls=cls):
            return _choice(member.value for member in cls)
        case inspect.LiteralType(values=values):
            return _choice(values)
        case inspect.UnionType(types=types):
            return "|".join(sorted(_shape(part, inside) for part in types))
        case inspect.TupleType(item_types=types):
            return f"({','.join(_shape(part, inside) for part in types)})"
        case inspect.DictType(key_type=key, value_type=value):
            return f"{{{_shape(key, inside)}:{_shape(value, inside)}}}"
        case inspect.CustomType(cls=cls) if hasattr(cls, "model_json_schema"):
            return _model_shape(cls)
        case _ if isinstance(info, _COLLECTIONS):
            return f"[{_shape(info.item_type, inside)}]"
        case _ if isinstance(info, _RECORDS):
            return _record_shape(info, inside)
    raise TypeError(f"{_name(info)} cannot be kept as JSON")


def _constraints(info: inspect.Type) -> str:
    names = (name for name in info.__struct_fields__ if getattr(info, name) is not None)
    text = ",".join(f"{name}={getattr(info, name)!r}" for name in names)
    return f"<{text}>" if text else ""


def _choice(values: Iterable[Any]) -> str:
    return f"<{','.join(sorted(repr(value) for value in values))}>"


def _record_shape(info: Any, inside: tuple[type, ...]) -> str:
    if info.cls in inside:
        return f"^{len(inside) - inside.index(info.cls)}"
    fields = [
        f"{field.encode_name}{'' if field.required else '?'}:"
        f"{_shape(field.type, (*inside, info.cls))}"
        for field in info.fields
    ]
    tag = getattr(info, "tag", None)
    text = ",".join([*fields, f"#{tag}"] if tag is not None else fields)
    is_array = isinstance(info, inspect.NamedTupleType) or getattr(info, "array_like", False)
    return f"({text})" if is_array else f"{{{text}}}"


def _model_shape(cls: Any) -> str:
    """Shape of a Pydantic model: its own JSON Schema without the texts for people."""
    return msgspec.json.encode(_bare(cls.model_json_schema()), order="sorted").decode()


def _bare(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_bare(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: {name: _bare(part) for name, part in value.items()}
        if key in ("properties", "$defs") and isinstance(value, dict)
        else _bare(value)
        for key, value in schema.items()
        if key not in ("title", "description", "examples", "default")
    }


def _name(info: inspect.Type) -> str:
    cls = getattr(info, "cls", None)
    return cls.__qualname__ if cls is not None else type(info).__name__.removesuffix("Type")
