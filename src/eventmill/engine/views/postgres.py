"""Rendering for PostgreSQL: the same query, the same answer, in another dialect.

Beside `rendering`, which says what SQLite runs; the words are in `postgres_dialect`. Text compares
by code point (collation "C"). What cannot be said fails when the query is placed, at start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Final

from sqlglot import exp

from eventmill.engine.views import rendering
from eventmill.engine.views.inference import Inference
from eventmill.engine.views.kinds import FieldType, Kind
from eventmill.engine.views.names import LOGICAL
from eventmill.engine.views.postgres_dialect import KIND, ViewPostgres, json_value, type_of
from eventmill.engine.views.result import Output

NAME_BYTES: Final = 63
"""PostgreSQL cuts longer names short without a word."""

ITEM: Final = "item_kind"
"""Mark on a list parameter: the kind of its items."""

_DIGEST_BYTES = 8


def identifier(name: str) -> str:
    """Return a name as PostgreSQL keeps it whole: a long one ends in its digest."""
    text = name.encode()
    if len(text) <= NAME_BYTES:
        return name
    digest = blake2b(text, digest_size=_DIGEST_BYTES).hexdigest()
    begin = text[: NAME_BYTES - 1 - len(digest)].decode(errors="ignore")
    return f"{begin}~{digest}"


def mark_kinds(tree: exp.Expr, inference: Inference, parameters: Mapping[str, FieldType]) -> None:
    """Mark every value with its kind: copies of the tree keep it."""
    for node in tree.walk():
        if isinstance(node, exp.Placeholder):
            field = parameters.get(node.name)
            if field is not None:
                node.meta[KIND] = field.kind.value
                if field.item is not None:
                    node.meta[ITEM] = field.item.kind.value
        elif isinstance(node, exp.Condition | exp.Alias):
            kind = inference.of(node).kind
            if kind is not None:
                node.meta[KIND] = kind.value


def placed(
    tree: exp.Query, physical: Mapping[str, str], parameters: Mapping[str, FieldType]
) -> exp.Query:
    """Return a copy that reads physical tables; see `rendering.placed`."""
    copy = tree.copy()
    for table in list(copy.find_all(exp.Table)):
        if LOGICAL in table.meta:
            name = identifier(physical[table.meta[LOGICAL]])
            table.set("this", exp.to_identifier(name, quoted=True))
    rendering.take_lists(copy, parameters, _items_of)
    return copy


def answer_sql(
    query: exp.Query, outputs: Sequence[Output], sort_columns: Sequence[str] = ()
) -> str:
    """Return the SQL that answers one row with one JSON text; see `rendering.answer_sql`."""
    parts = ["count(*)", f"coalesce(CAST(json_agg({_item(outputs)}) AS text), '[]')"]
    if sort_columns:
        columns = ", ".join(rendering.quoted(name) for name in sort_columns)
        parts.append(f"coalesce(CAST(json_agg(json_build_array({columns})) AS text), '[]')")
    listed = " || ',' || ".join(parts)
    return f"""SELECT '[' || {listed} || ']' FROM ({sql_of(query)}) AS "_rows\""""  # noqa: S608


def sql_of(node: exp.Expr) -> str:
    """Return PostgreSQL's text of an expression, every name quoted."""
    return node.sql(dialect=ViewPostgres, identify=True, comments=False)


def _item(outputs: Sequence[Output]) -> str:
    values = [json_value(output.kind, rendering.quoted(output.name)) for output in outputs]
    if len(outputs) == 1 and not outputs[0].json_name:
        return values[0]
    # A row, not json_build_object: a function takes 100 arguments at most.
    named = (
        f"{value} AS {rendering.quoted(output.json_name)}"
        for value, output in zip(values, outputs, strict=True)
    )
    return f'(SELECT row_to_json("_item") FROM (SELECT {", ".join(named)}) AS "_item")'  # noqa: S608


def _items_of(parameter: exp.Expr) -> exp.Expr:
    kind = Kind(parameter.meta[ITEM])
    value = "CAST(_i.value AS boolean)::integer" if kind is Kind.BOOLEAN else "_i.value"
    source = f"json_array_elements_text(CAST(:{parameter.name} AS json))"
    items = f"SELECT CAST({value} AS {type_of(kind)}) FROM {source} AS _i (value)"  # noqa: S608
    return exp.Var(this=f"({items})")
