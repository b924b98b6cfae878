"""Paging: where a page begins, and the token that says so.

A query of one table, without grouping, sorted by its columns, continues **behind the last row** of
the page before (keyset): rows that come or go in between shift nothing, and an index leads straight
there. Every other query continues at an **offset**, in an order completed by all its columns.

A token holds the position and a fingerprint of query and arguments, so that it cannot silently
continue another result. It is opaque, not secret: it holds sort values of rows the caller has seen.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, TypeVar

import msgspec
from sqlglot import exp

from eventmill.engine.views.kinds import Kind, Stored
from eventmill.engine.views.names import LOGICAL, Bound
from eventmill.engine.views.postgres_dialect import KIND
from eventmill.engine.views.schema import KEY
from eventmill.errors import RequestError
from eventmill.model import limits

E = TypeVar("E", bound=exp.Expr)

TOKEN: Final = "page_token"
SIZE: Final = "page_size"
OFFSET: Final = "_offset"
"""Parameter: rows of the pages before."""


@dataclass(frozen=True, slots=True)
class SortKey:
    """One column of the order that pages follow."""

    table: str
    """Alias of the table."""
    column: str
    descending: bool = False
    nulls_first: bool = True
    nullable: bool = False
    kind: Kind = Kind.TEXT

    def node(self) -> exp.Column:
        """Return a new reference to the column."""
        return _of_kind(exp.column(self.column, table=self.table, quoted=True), self.kind)

    def value(self, index: int) -> exp.Placeholder:
        """Return a new reference to the token's value for it."""
        return _of_kind(exp.Placeholder(this=_sort_name(index)), self.kind)


def sort_keys(bound: Bound) -> tuple[SortKey, ...]:
    """Return the order that a query can continue in behind a row; empty: by offset alone."""
    select = bound.tree
    if not isinstance(select, exp.Select) or _combines_rows(select):
        return ()
    source = select.args["from_"].this if select.args.get("from_") else None
    if not isinstance(source, exp.Table) or LOGICAL not in source.meta:
        return ()
    order = select.args.get("order")
    keys = [_sort_key(term, bound) for term in (order.expressions if order else [])]
    named = [key for key in keys if key is not None]
    if len(named) < len(keys):
        return ()
    # The key goes with the other columns' direction, so that one index serves the whole order.
    descending = bool(named) and all(key.descending for key in named)
    return (*named, SortKey(source.alias_or_name, KEY, descending, nulls_first=not descending))


def first_page(query: exp.Query, keys: tuple[SortKey, ...]) -> exp.Query:
    """Return the query in an order that leaves no ties, with its sort values as columns."""
    query = query.copy()
    if not keys:
        outputs = [exp.column(name, quoted=True) for name in dict.fromkeys(query.named_selects)]
        terms = query.args["order"].expressions if query.args.get("order") else []
        completed = [*terms, *(exp.Ordered(this=column, nulls_first=True) for column in outputs)]
        query.set("order", exp.Order(expressions=completed))
        return query
    for index, key in enumerate(keys):
        query.append("expressions", exp.alias_(key.node(), _sort_name(index), quoted=True))
    terms = [
        exp.Ordered(this=key.node(), desc=key.descending, nulls_first=key.nulls_first)
        for key in keys
    ]
    query.set("order", exp.Order(expressions=terms))
    return query


def next_page(query: exp.Query, keys: tuple[SortKey, ...]) -> exp.Query:
    """Return the query of `first_page`, begun behind the row or offset of a token."""
    query = query.copy()
    if not keys:
        query.set("offset", exp.Offset(expression=exp.Placeholder(this=OFFSET)))
        return query
    behind = _after(keys[-1], len(keys) - 1)
    for index in reversed(range(len(keys) - 1)):
        same = _same(keys[index], index)
        behind = exp.or_(_after(keys[index], index), exp.and_(same, behind))
    select = query.where(behind)
    leading = keys[0]
    if not leading.nullable:
        # Says no more than the rest does, but this is the part that an index can begin at.
        bound = exp.LTE if leading.descending else exp.GTE
        select = select.where(bound(this=leading.node(), expression=leading.value(0)))
    return select


def sort_columns(keys: tuple[SortKey, ...]) -> list[str]:
    """Return the names of the sort values among the columns of `first_page`."""
    return [_sort_name(index) for index in range(len(keys))]


def position_bindings(position: int | list[Stored], keys: tuple[SortKey, ...]) -> dict[str, Stored]:
    """Return the bindings that `next_page` begins at."""
    if isinstance(position, int):
        return {OFFSET: position}
    return dict(zip(sort_columns(keys), position, strict=True))


def fingerprint(query: str, bindings: Mapping[str, Stored]) -> bytes:
    """Return what tells one result from another: the query and its arguments."""
    parts = msgspec.msgpack.encode([query, sorted(bindings.items())])
    return blake2b(parts, digest_size=8).digest()


def make_token(mark: bytes, position: int | list[Stored]) -> str:
    """Return the token of the page that begins at a position.

    Raises `RequestError` if the sort values do not fit into a token.
    """
    token = msgspec.msgpack.encode((mark, position))
    if len(token) > limits.PAGE_TOKEN_BYTES_MAX:
        raise RequestError(
            f"the sort values of a row have more than {limits.PAGE_TOKEN_BYTES_MAX} bytes: sort "
            "the pages by a shorter column",
            code="view.page_token",
        )
    return base64.urlsafe_b64encode(token).rstrip(b"=").decode()


def read_token(token: str, mark: bytes, keys: tuple[SortKey, ...]) -> int | list[Stored]:
    """Return the position of a token.

    Raises `RequestError` if it is none, or one of another query or other arguments.
    """
    try:
        if len(token) > 2 * limits.PAGE_TOKEN_BYTES_MAX:
            raise ValueError("too long")
        padded = token.encode("ascii") + b"=" * (-len(token) % 4)
        data = base64.b64decode(padded, altchars=b"-_", validate=True)
        found, position = _decode(data)
    except (msgspec.MsgspecError, binascii.Error, ValueError) as error:
        raise RequestError("page_token is not a page token", code="view.page_token") from error
    fits = len(position) == len(keys) if isinstance(position, list) else not keys and position > 0
    if found != mark or not fits:
        raise RequestError(
            "page_token belongs to another query or to other arguments: begin without a token",
            code="view.page_token",
        )
    return position


_decode = msgspec.msgpack.Decoder(tuple[bytes, int | list[str | int | float | None]]).decode


def _combines_rows(select: exp.Select) -> bool:
    if any(select.args.get(part) for part in ("joins", "group", "having", "distinct", "limit")):
        return True
    return any(
        isinstance(node, exp.AggFunc | exp.Window)
        for column in select.expressions
        for node in column.walk(prune=lambda node: isinstance(node, exp.Query))
    )


def _sort_key(term: exp.Expr, bound: Bound) -> SortKey | None:
    node = term.this
    node = bound.outputs.get(id(node), node).unalias()
    column = bound.columns.get(id(node))
    if column is None or not isinstance(node, exp.Column):
        return None
    descending = bool(term.args.get("desc"))
    nulls_first = bool(term.args.get("nulls_first"))
    return SortKey(node.table, column.name, descending, nulls_first, column.nullable, column.kind)


def _after(key: SortKey, index: int) -> exp.Expr:
    """Rows behind the token's in this column alone."""
    comparison = exp.LT if key.descending else exp.GT
    behind: exp.Expr = comparison(this=key.node(), expression=key.value(index))
    if not key.nullable:
        return behind
    column_null = exp.Is(this=key.node(), expression=exp.Null())
    value_null = exp.Is(this=key.value(index), expression=exp.Null())
    if key.nulls_first:
        nulls = exp.and_(value_null, exp.Not(this=column_null))
    else:
        nulls = exp.and_(exp.Not(this=value_null), column_null)
    return exp.or_(behind, nulls)


def _same(key: SortKey, index: int) -> exp.Expr:
    equal = exp.NullSafeEQ if key.nullable else exp.EQ
    return equal(this=key.node(), expression=key.value(index))


def _of_kind(node: E, kind: Kind) -> E:
    node.meta[KIND] = kind.value
    return node


def _sort_name(index: int) -> str:
    return f"_sort{index}"
