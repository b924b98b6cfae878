"""Result: what a query's method returns, and which of the query's columns fill it.

Fifth station. The columns of the SELECT are matched by name with the fields of the declared type;
what is missing, of another kind, or possibly NULL where the field allows none, is a problem at
start instead of a failed request later.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
from msgspec import inspect
from sqlglot import exp

from eventmill.engine.views.inference import Inference, Inferred
from eventmill.engine.views.kinds import FieldType, Kind, field_type
from eventmill.engine.views.names import Bound, select_of
from eventmill.engine.views.problems import Problems, nearest_or_all
from eventmill.model.page import is_page


class Cardinality(enum.StrEnum):
    """How many items a method returns."""

    ONE = "one"
    OPTIONAL = "optional"
    MANY = "many"
    PAGE = "page"


@dataclass(frozen=True, slots=True)
class ResultField:
    """One field of a result's items."""

    name: str
    json_name: str
    type: FieldType
    required: bool


@dataclass(frozen=True, slots=True)
class Result:
    """A declared result type, understood."""

    cardinality: Cardinality
    item: Any
    """Type of one item."""
    fields: tuple[ResultField, ...] | None
    """None: the items are single values, or dicts of whatever is selected."""
    scalar: FieldType | None
    """Of the items if they are single values."""


@dataclass(frozen=True, slots=True)
class Output:
    """A column of the query that goes into the answer."""

    name: str
    """In the SQL."""
    json_name: str
    kind: Kind | None
    """How it is kept; None: as JSON has it."""


_ACCEPTED: dict[Kind, frozenset[Kind]] = {
    Kind.INTEGER: frozenset({Kind.BOOLEAN}),
    Kind.FLOAT: frozenset({Kind.INTEGER}),
    Kind.BOOLEAN: frozenset({Kind.INTEGER}),
    Kind.DECIMAL: frozenset({Kind.INTEGER, Kind.FLOAT, Kind.TEXT}),
    Kind.DATETIME: frozenset({Kind.TEXT}),
    Kind.DATE: frozenset({Kind.TEXT}),
    Kind.TIME: frozenset({Kind.TEXT}),
    Kind.UUID: frozenset({Kind.TEXT}),
    Kind.BYTES: frozenset({Kind.TEXT}),
    Kind.TEXT: frozenset(
        {Kind.DATETIME, Kind.DATE, Kind.TIME, Kind.DECIMAL, Kind.UUID, Kind.BYTES}
    ),
}


def result_of(annotation: Any, problems: Problems) -> Result | None:
    """Understand what a method returns; None if that is not possible, which is noted."""
    cardinality, item = _cardinality_of(annotation)
    try:
        return _result(cardinality, item)
    except (TypeError, NameError) as error:
        problems.add(
            f"it cannot return {_text(annotation)}: {error}; declare Row, Row | None, list[Row], "
            "Page[Row], or a single value such as int"
        )
        return None


def outputs_of(
    bound: Bound, result: Result, inference: Inference, star: bool, problems: Problems
) -> list[Output]:
    """Match the query's columns with the result; note what does not fit.

    Parameters: `star` tells that the query selects `*`, so that columns without a field are left
    out instead of being a mistake.
    """
    select = select_of(bound, bound.tree)
    columns = list(zip(bound.tree.named_selects, select.expressions, strict=False))
    for _, column in columns:
        if column.is_star:
            problems.add("* of json_each is not possible: name its columns", column)
            return []
    if result.scalar is not None:
        return list(_scalar_output(columns, result.scalar, inference, problems))
    _note_duplicates(columns, result, problems)
    if result.fields is None:
        kinds = [(name, inference.of(column).kind) for name, column in columns]
        return [Output(name, name, kind) for name, kind in kinds]
    fields = {field.name.lower(): field for field in result.fields}
    if not star:
        _note_unwanted(columns, fields, result, problems)
    return list(_field_outputs(columns, fields, result, inference, problems))


def _cardinality_of(annotation: Any) -> tuple[Cardinality, Any]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if is_page(annotation):
        return Cardinality.PAGE, arguments[0] if arguments else Any
    if origin is list or annotation is list:
        return Cardinality.MANY, arguments[0] if arguments else Any
    members = [argument for argument in arguments if argument is not type(None)]
    if len(members) == len(arguments) - 1 == 1 and origin is not dict:
        return Cardinality.OPTIONAL, members[0] if _is_record(members[0]) else annotation
    return Cardinality.ONE, annotation


def _result(cardinality: Cardinality, item: Any) -> Result:
    if item in (None, type(None)) or (item is Any and cardinality is Cardinality.ONE):
        raise TypeError("the rows need a type")
    info = inspect.type_info(item)
    if isinstance(info, inspect.DictType | inspect.AnyType):
        return Result(cardinality, item, None, None)
    if isinstance(info, inspect.NamedTupleType | inspect.TupleType):
        raise TypeError("columns have names, tuples have none")
    if not _is_record(item):
        return Result(cardinality, item, None, field_type(item))
    if getattr(info, "array_like", False):
        raise TypeError("array_like=True is not possible: columns have names")
    return Result(cardinality, item, tuple(_fields_of(item, info)), None)


def _is_record(item: Any) -> bool:
    info = inspect.type_info(item)
    if isinstance(info, inspect.CustomType):
        return hasattr(info.cls, "model_fields")
    return isinstance(info, inspect.StructType | inspect.DataclassType | inspect.TypedDictType)


def _fields_of(item: Any, info: Any) -> Iterator[ResultField]:
    if isinstance(info, inspect.CustomType):
        model: Any = info.cls
        for name, field in model.model_fields.items():
            kind = field_type(field.annotation)
            yield ResultField(name, field.alias or name, kind, field.is_required())
        return
    if isinstance(info, inspect.StructType):
        hints = {field.name: field.type for field in msgspec.structs.fields(item)}
    else:
        hints = get_type_hints(item)
    for field in info.fields:
        kind = field_type(hints[field.name])
        yield ResultField(field.name, field.encode_name, kind, field.required)


_Columns = list[tuple[str, exp.Expr]]


def _note_duplicates(columns: _Columns, result: Result, problems: Problems) -> None:
    names = [name.lower() for name, _ in columns]
    wanted = None if result.fields is None else {f.name.lower() for f in result.fields}
    for name in sorted({name for name in names if names.count(name) > 1}):
        if wanted is None or name in wanted:
            problems.add(f"several columns are called {name!r}: select one, or rename with AS")


def _note_unwanted(
    columns: _Columns, fields: dict[str, ResultField], result: Result, problems: Problems
) -> None:
    for name, column in columns:
        if name.lower() in fields:
            continue
        if name.startswith("_"):
            problems.add("an expression needs a name: … AS field", column)
        else:
            hint = nearest_or_all(name, fields)
            problems.add(f"column {name!r} is no field of {_text(result.item)}{hint}", column)


def _field_outputs(
    columns: _Columns,
    fields: dict[str, ResultField],
    result: Result,
    inference: Inference,
    problems: Problems,
) -> Iterator[Output]:
    selected = {name.lower(): (name, column) for name, column in columns}
    for key, field in fields.items():
        if key not in selected:
            if field.required:
                problems.add(
                    f"{_text(result.item)} needs {field.name!r}, which the query does not select"
                )
            continue
        name, column = selected[key]
        place = f"column {field.name!r} of {_text(result.item)}"
        _note_misfit(place, field.type, inference.of(column), column, problems)
        yield Output(name, field.json_name, field.type.kind)


def _scalar_output(
    columns: _Columns, scalar: FieldType, inference: Inference, problems: Problems
) -> Iterator[Output]:
    if len(columns) != 1:
        problems.add(f"{_text(scalar.annotation)} is one value; the query selects {len(columns)}")
        return
    name, column = columns[0]
    _note_misfit("its value", scalar, inference.of(column), column, problems)
    yield Output(name, "", scalar.kind)


def _note_misfit(
    place: str, field: FieldType, inferred: Inferred, column: exp.Expr, problems: Problems
) -> None:
    kind = inferred.kind
    if kind not in (None, field.kind) and kind not in _ACCEPTED.get(field.kind, ()):
        problems.add(f"{place} is declared as {_text(field.annotation)}, but is {kind}", column)
    elif inferred.nullable and not field.nullable:
        problems.add(
            f"{place} may be NULL: declare {_text(field.annotation)} | None, or write "
            "coalesce(…, a default)",
            column,
        )


def _text(annotation: Any) -> str:
    if isinstance(annotation, type) and not get_args(annotation):
        return annotation.__qualname__.rsplit("<locals>.")[-1]
    return str(annotation).replace("typing.", "")
