"""Parameters: a query's arguments as a store binds them, in the same form as columns are kept.

So `:since` of type datetime compares with a datetime column, whatever zone the caller is in. A list
becomes one JSON text, whatever its length: the SQL stays the same, and so does its plan.

Texts have a bound of their own: what a query looks for in a column (`instr`, `replace`) costs as many
steps as both have characters, multiplied, and no store can interrupt it within one row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from sqlglot import exp

from eventmill.engine.views.kinds import (
    INTEGER_MAX,
    INTEGER_MIN,
    Conversion,
    FieldType,
    Kind,
    Stored,
    field_type,
    storing,
)
from eventmill.engine.views.problems import Problems, nearest_or_all
from eventmill.errors import InvalidPayload
from eventmill.model import limits

Bind = Callable[[Any], Stored]


def parameter_types(annotations: Mapping[str, Any], problems: Problems) -> dict[str, FieldType]:
    """Understand the parameters' annotations; note those that cannot be bound."""
    fields: dict[str, FieldType] = {}
    for name, annotation in annotations.items():
        try:
            field = field_type(annotation)
        except TypeError as error:
            problems.add(f"parameter {name!r} cannot be bound: {error}")
            continue
        fields[name] = field
        if name.startswith("_"):
            problems.add(f"parameter {name!r}: names that begin with '_' are reserved")
        elif field.kind is Kind.JSON and not _is_bindable_list(field):
            problems.add(
                f"parameter {name!r} cannot be bound: it has to be a single value, or a list, set "
                "or tuple of values of one type that are not None"
            )
    return fields


def check_use(
    query: exp.Expr, declared: Mapping[str, Any], own: frozenset[str], problems: Problems
) -> None:
    """Note parameters of the SQL without an argument, and arguments that the SQL never uses.

    Parameters: `own` are arguments that the platform uses itself: page token and size.
    """
    placeholders = {node.name: node for node in query.find_all(exp.Placeholder)}
    for name, node in placeholders.items():
        if name not in declared:
            hint = nearest_or_all(name, declared.keys() - placeholders.keys())
            problems.add(f"parameter :{name} is not an argument of the method{hint}", node.parent)
        elif name in own:
            problems.add(f"parameter :{name} pages the result; do not use it", node.parent)
    for name in declared:
        if name not in placeholders and name not in own:
            problems.add(f"argument {name!r} is never used as :{name}")


class Binder:
    """Makes bindings of the arguments of a call.

    Parameters: `own` are arguments that the platform uses itself: no column meets them.
    """

    def __init__(
        self, place: str, fields: Mapping[str, FieldType], own: frozenset[str] = frozenset()
    ) -> None:
        self._place = place
        self._binds = [
            (name, _same if name in own else _binding(field)) for name, field in fields.items()
        ]

    def bind(self, arguments: Sequence[Any]) -> dict[str, Stored]:
        """Return bindings by name; `arguments` are validated, in the method's order.

        Raises `InvalidPayload` that names an argument which no column could hold.
        """
        bindings: dict[str, Stored] = {}
        for (name, bind), value in zip(self._binds, arguments, strict=True):
            try:
                bindings[name] = None if value is None else bind(value)
            except (ValueError, OverflowError, TypeError, msgspec.MsgspecError) as error:
                raise InvalidPayload(f"{self._place}, argument {name!r}: {error}") from error
        return bindings


def _is_bindable_list(field: FieldType) -> bool:
    item = field.item
    return item is not None and item.kind is not Kind.JSON and not item.nullable


def _binding(field: FieldType) -> Bind:
    if field.item is not None:
        return _list_binding(_binding(field.item))
    store = storing(field)
    match field.kind:
        case Kind.INTEGER:
            return _integer if store is None else _then(store, _integer)
        case Kind.TEXT if store is None:
            return _text
        case Kind.BYTES | Kind.DECIMAL:
            assert store is not None
            return _then(store, _text)
    return _same if store is None else store


def _list_binding(bind: Bind) -> Bind:
    encode = msgspec.json.Encoder().encode

    def bind_list(values: Any) -> str:
        encoded = encode([bind(value) for value in values])
        if len(encoded) > limits.PAYLOAD_BYTES_MAX:
            most = limits.PAYLOAD_BYTES_MAX
            raise ValueError(f"{len(encoded)} bytes of JSON; a list has at most {most}")
        return encoded.decode()

    return bind_list


def _then(first: Conversion, second: Bind) -> Bind:
    return lambda value: second(first(value))


def _integer(value: int) -> int:
    if not INTEGER_MIN <= value <= INTEGER_MAX:
        raise ValueError(f"{value} has more than 64 bits")
    return value


def _text(value: str) -> str:
    if len(value) > limits.VIEW_ARGUMENT_CHARACTERS_MAX:
        most = limits.VIEW_ARGUMENT_CHARACTERS_MAX
        raise ValueError(f"{len(value)} characters; a view's query takes texts of at most {most}")
    if not value.isascii():
        value.encode()  # a lone surrogate is no text that a store takes
    return value


def _same(value: Stored) -> Stored:
    return value
