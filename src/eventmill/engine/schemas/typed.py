"""The JSON Schema (2020-12) of a type: one document that stands alone.

`msgspec.json.schema` tells people what to send. It leaves out what decides whether stored JSON can
be read: that a text is a time and whether it has a zone, what the keys of a map are, how many bytes
a text of base64 may be. That is said here too, in keywords that other tools pass over. Titles and
descriptions are left out, since they promise nothing, and whatever has no order is sorted: a file of
these changes when the JSON does.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
from msgspec import inspect as types

from eventmill.model import codec
from eventmill.model.replicated.value import Kind

Schema = dict[str, Any]

_REF: Final = "#/$defs/"
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9._-]+")

_PLAIN: Final[dict[type[types.Type], Schema]] = {
    types.NoneType: {"type": "null"},
    types.BoolType: {"type": "boolean"},
    types.DateType: {"type": "string", "format": "date"},
    types.TimeDeltaType: {"type": "string", "format": "duration"},
    types.UUIDType: {"type": "string", "format": "uuid"},
    types.DecimalType: {"type": "string", "format": "decimal"},
}

_SCHEMAS: Final = ("items", "additionalProperties", "propertyNames", "not")
_LISTS: Final = ("anyOf", "oneOf", "allOf", "prefixItems")
_MAPS: Final = ("properties", "$defs")
_TEXTS: Final = ("title", "description", "examples")


def schema_of(annotation: Any) -> Schema:
    """Return the schema of a type annotation; classes that occur in it are in its `$defs`."""
    maker = _Maker()
    schema = maker.of(types.type_info(annotation))
    name = schema.get("$ref", "").removeprefix(_REF)
    if maker.uses[name] == 1:
        schema = maker.defs.pop(name)
    return {**schema, "$defs": maker.defs} if maker.defs else schema


def schema_of_replicated(fields: Mapping[str, Kind[Any]]) -> Schema:
    """Return what a replicated entity keeps: of each field its data type, and what is in it.

    What is stored is a tree from which all nodes make the same; a field of which nobody has written
    anything is not there.
    """
    maker = _Maker()
    schemas = {name: maker.replicated(kind) for name, kind in fields.items()}
    schema: Schema = {"type": "object", "properties": schemas, "required": []}
    return {**schema, "$defs": maker.defs} if maker.defs else schema


class _Maker:
    """Makes one document."""

    def __init__(self) -> None:
        self.defs: dict[str, Schema] = {}
        self.uses: Counter[str] = Counter()
        self._names: dict[Any, str] = {}

    def of(self, kind: types.Type) -> Schema:
        match kind:
            case types.Metadata():
                return self.of(kind.type)
            case types.AnyType() | types.RawType():
                return {}
            case types.IntType() | types.FloatType():
                return _number(kind)
            case types.StrType():
                bounds = {"minLength": kind.min_length, "maxLength": kind.max_length}
                return {"type": "string", **_given(bounds), **_given({"pattern": kind.pattern})}
            case types.BytesType() | types.ByteArrayType() | types.MemoryViewType():
                bounds = {"minBytes": kind.min_length, "maxBytes": kind.max_length}
                return {"type": "string", "contentEncoding": "base64", **_given(bounds)}
            case types.DateTimeType() | types.TimeType():
                return _time(kind)
            case types.LiteralType():
                return _values(kind.values)
            case types.UnionType():
                options = [self.of(one) for one in kind.types]
                return {"anyOf": sorted(options, key=msgspec.json.encode)}
            case types.CollectionType() | types.TupleType():
                return self._array(kind)
            case types.DictType() | types.FrozenDictType():
                return self._map(kind)
            case _ if type(kind) in _PLAIN:
                return dict(_PLAIN[type(kind)])
            case _:
                return self._named(kind)

    def replicated(self, kind: Kind[Any]) -> Schema:
        schemas: Schema = {"kind": {"enum": [kind.cls.__name__]}}
        if kind.texts is not None:  # of a map: its keys
            schemas["of"] = self.of(types.type_info(kind.texts.type))
        if kind.inner is not None:
            schemas["values"] = self.replicated(kind.inner)
        return {"type": "object", "properties": schemas, "required": sorted(schemas)}

    def _array(self, kind: types.CollectionType | types.TupleType) -> Schema:
        if isinstance(kind, types.TupleType):
            number = len(kind.item_types)
            places = [self.of(item) for item in kind.item_types]
            schema = {"type": "array", "minItems": number, "maxItems": number, "items": False}
            return {**schema, "prefixItems": places} if places else schema
        bounds = _given({"minItems": kind.min_length, "maxItems": kind.max_length})
        return {"type": "array", "items": self.of(kind.item_type), **bounds}

    def _map(self, kind: types.DictType | types.FrozenDictType) -> Schema:
        schema = {"type": "object", "additionalProperties": self.of(kind.value_type)}
        if names := self._keys(kind.key_type):
            schema["propertyNames"] = names
        bounds = {"minProperties": kind.min_length, "maxProperties": kind.max_length}
        return {**schema, **_given(bounds)}

    def _keys(self, kind: types.Type) -> Schema:
        """Return what a map's keys are: texts, whatever they are made into."""
        while isinstance(kind, types.Metadata):
            kind = kind.type
        if isinstance(kind, types.EnumType):
            return _values(str(one.value) for one in kind.cls)
        if isinstance(kind, types.LiteralType):
            return _values(map(str, kind.values))
        schema = self.of(kind)
        found = schema.pop("type", "string")
        return schema if found == "string" else {"format": found, **schema}

    def _named(self, kind: Any) -> Schema:
        """Return a reference to a class, which is read at its first mention."""
        name = self._names.get(kind.cls)
        if name is None:
            name = self._names[kind.cls] = self._name_of(kind.cls)
            self.defs[name] = {}  # taken, also while its own fields are read
            self.defs[name] = self._class(kind, name)
        self.uses[name] += 1
        return {"$ref": _REF + name}

    def _name_of(self, cls: Any) -> str:
        origin = getattr(cls, "__origin__", cls)
        short = _NOT_IN_NAMES.sub("_", repr(cls) if origin is not cls else cls.__name__)
        long = _NOT_IN_NAMES.sub("_", f"{origin.__module__}.{origin.__qualname__}")
        taken = set(self._names.values())
        names = (short, long, *(f"{long}.{n}" for n in range(2, len(taken) + 3)))
        return next(name for name in names if name not in taken)

    def _class(self, kind: Any, name: str) -> Schema:
        if isinstance(kind, types.EnumType):
            return _values(one.value for one in kind.cls)
        if isinstance(kind, types.CustomType):
            return self._model(kind.cls, name)
        names = [field.encode_name for field in kind.fields]
        schemas = [self._field(field) for field in kind.fields]
        required = [field.encode_name for field in kind.fields if field.required]
        forbids, is_array = False, isinstance(kind, types.NamedTupleType)
        if isinstance(kind, types.StructType):
            forbids, is_array = kind.forbid_unknown_fields, kind.array_like
            if kind.tag_field is not None:
                names, required = [kind.tag_field, *names], [kind.tag_field, *required]
                schemas = [{"enum": [kind.tag]}, *schemas]
        if is_array:
            least = max((names.index(one) + 1 for one in required), default=0)
            bounds = {"minItems": least}
            if forbids or not names or isinstance(kind, types.NamedTupleType):
                bounds["maxItems"] = len(names)
            return {"type": "array", **bounds, **({"prefixItems": schemas} if schemas else {})}
        schema: Schema = {
            "type": "object",
            "properties": dict(zip(names, schemas, strict=True)),
            "required": sorted(required),
        }
        return {**schema, "additionalProperties": False} if forbids else schema

    def _field(self, field: types.Field) -> Schema:
        schema = self.of(field.type)
        default = field.default
        if default is msgspec.NODEFAULT and field.default_factory in (list, dict, set):
            default = field.default_factory()
        if default is msgspec.NODEFAULT or default is msgspec.UNSET:
            return schema
        try:
            return {**schema, "default": msgspec.json.decode(codec.encode(default))}
        except TypeError:  # JSON cannot carry it: it is nobody's promise
            return schema

    def _model(self, cls: Any, name: str) -> Schema:
        """Return the schema of a class that msgspec does not know: a Pydantic model, or anything."""
        make = getattr(cls, "model_json_schema", None)
        if make is None:
            return {"python": f"{cls.__module__}.{cls.__qualname__}"}
        schema: Schema = _bare(make(ref_template=f"{_REF}{name}.{{model}}"))
        for inner, definition in schema.pop("$defs", {}).items():
            self.defs[f"{name}.{inner}"] = definition
        own = f"{name}.{cls.__name__}"
        if schema.get("$ref") == _REF + own:  # it refers to itself
            schema = self.defs[own]
        return schema


def _number(kind: types.IntType | types.FloatType) -> Schema:
    bounds = {
        "minimum": kind.ge,
        "exclusiveMinimum": kind.gt,
        "maximum": kind.le,
        "exclusiveMaximum": kind.lt,
        "multipleOf": kind.multiple_of,
    }
    return {"type": "integer" if isinstance(kind, types.IntType) else "number", **_given(bounds)}


def _time(kind: types.DateTimeType | types.TimeType) -> Schema:
    text = "date-time" if isinstance(kind, types.DateTimeType) else "time"
    if kind.tz is None:
        return {"type": "string", "format": text}
    return {"type": "string", "format": text, "zone": "required" if kind.tz else "forbidden"}


def _values(values: Iterable[Any]) -> Schema:
    return {"enum": sorted(values, key=lambda value: (type(value).__name__, value))}


def _given(keywords: Schema) -> Schema:
    return {name: value for name, value in keywords.items() if value is not None}


def _bare(schema: Any) -> Any:
    """Return a schema of somebody else's without texts, sorted where there is no order."""
    if not isinstance(schema, dict):
        return schema
    bare: Schema = {}
    for name, value in schema.items():
        if name in _TEXTS:
            continue
        if name in _SCHEMAS:
            bare[name] = _bare(value)
        elif name in _LISTS:
            bare[name] = [_bare(one) for one in value]
        elif name in _MAPS:
            bare[name] = {key: _bare(one) for key, one in value.items()}
        elif name in ("required", "enum") and all(isinstance(one, str) for one in value):
            bare[name] = sorted(value)
        else:
            bare[name] = value
    return bare
