"""Indexes: derived from a view's queries, so that nobody has to declare them.

For each SELECT and table: the columns compared for equality first, then the columns of the order,
or one column compared by range. For a join, the columns it is looked up by come first. What another
index begins with is left out. An index that no query needs any more is dropped, a new one created,
without a rebuild: queries are no part of a view's fingerprint.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TypeGuard

from sqlglot import exp
from sqlglot.optimizer.scope import Scope

from eventmill.engine.views.compiled import CompiledQuery
from eventmill.engine.views.inference import conjuncts
from eventmill.engine.views.names import LOGICAL, Bound
from eventmill.engine.views.schema import KEY
from eventmill.model import limits


@dataclass(frozen=True, order=True, slots=True)
class Index:
    """An index that a view's queries want. `columns` may end with `_key`, for pages."""

    table: str
    """Logical name."""
    columns: tuple[str, ...]

    def name_on(self, physical: str) -> str:
        """Return its name on a physical table: the same for the same columns, always."""
        digest = blake2b("\0".join(self.columns).encode(), digest_size=4).hexdigest()
        return f"{physical}_ix_{digest}"


def derive_indexes(
    queries: Iterable[CompiledQuery], *, most: int = limits.VIEW_INDEXES_MAX
) -> tuple[Index, ...]:
    """Return the indexes that the queries want, at most `most` per table.

    Beyond that, those that serve most queries are kept.
    """
    wanted: list[_Use] = []
    for query in queries:
        for scope in query.bound.scopes:
            if isinstance(scope.expression, exp.Select):
                wanted += _uses(scope, query)
    popular = Counter((use.table, column) for use in wanted for column in use.equal)
    votes = Counter(index for use in wanted for index in use.indexes(popular))
    chosen = _without_prefixes(votes)
    kept: list[Index] = []
    for table in sorted({index.table for index in chosen}):
        of_table = [index for index in chosen if index.table == table]
        of_table.sort(key=lambda index: (-votes[index], index))
        kept += of_table[:most]
    return tuple(sorted(kept))


def _without_prefixes(votes: Counter[Index]) -> list[Index]:
    """Leave out what another index begins with; its votes go to the longest such."""
    kept: list[Index] = []
    for index in sorted(votes, key=lambda index: (-len(index.columns), index)):
        length = len(index.columns)
        longer = [k for k in kept if k.table == index.table and k.columns[:length] == index.columns]
        if longer:
            votes[longer[0]] += votes[index]
        else:
            kept.append(index)
    return kept


@dataclass
class _Use:
    """How one SELECT reads one of its tables."""

    table: str
    equal: dict[str, None] = field(default_factory=dict)
    """Compared with something that is no column of the same SELECT."""
    joined: dict[str, None] = field(default_factory=dict)
    """Compared with a column of another table of the same SELECT."""
    ranges: dict[str, None] = field(default_factory=dict)
    order: tuple[str, ...] = ()

    def indexes(self, popular: Counter[tuple[str, str]]) -> Iterator[Index]:
        """Return what serves it: when it is read first, and when it is looked up by a join."""
        # Columns that many queries compare come first: then one index begins another.
        equal = sorted(self.equal, key=lambda column: (-popular[self.table, column], column))
        # An index serves the order only if no other column is compared by range before it.
        serves_order = not self.ranges or self.order[:1] == tuple(self.ranges)[:1]
        rest = self.order if self.order and serves_order else tuple(self.ranges)[:1]
        yield from self._index([*equal, *rest])
        if self.joined:
            yield from self._index([*sorted(self.joined), *equal])

    def _index(self, columns: list[str]) -> Iterator[Index]:
        unique = tuple(dict.fromkeys(columns))
        if unique and unique != (KEY,):
            yield Index(self.table, unique)


def _uses(scope: Scope, query: CompiledQuery) -> Iterator[_Use]:
    tables = {
        alias: source.meta[LOGICAL]
        for alias, source in scope.sources.items()
        if isinstance(source, exp.Table) and LOGICAL in source.meta
    }
    select = scope.expression
    conditions = conjuncts(select.args["where"].this if select.args.get("where") else None)
    for join in select.args.get("joins") or []:
        conditions += conjuncts(join.args.get("on"))
    for alternative in _alternatives(conditions):
        for alias, table in tables.items():
            use = _Use(table, order=_order(select, alias, query))
            for condition in alternative:
                _note(condition, alias, tables, use)
            yield use


def _alternatives(conditions: list[exp.Expr]) -> Iterator[list[exp.Expr]]:
    """All conditions together, and each branch of an OR: SQLite reads an index for each."""
    ors = [condition for condition in conditions if isinstance(condition, exp.Or)]
    plain = [condition for condition in conditions if not isinstance(condition, exp.Or)]
    yield plain
    if plain or len(ors) != 1:
        return
    branches = [conjuncts(branch) for branch in ors[0].flatten()]
    if all(_is_indexable(branch) for branch in branches):
        yield from branches


def _is_indexable(branch: list[exp.Expr]) -> bool:
    return any(isinstance(c, (*_EQUAL, *_RANGE)) and isinstance(c.this, exp.Column) for c in branch)


_EQUAL = (exp.EQ, exp.NullSafeEQ, exp.Is)
_RANGE = (exp.GT, exp.GTE, exp.LT, exp.LTE)


def _note(condition: exp.Expr, alias: str, tables: dict[str, str], use: _Use) -> None:
    """Note what a condition says of one table."""
    this, other = condition.this, condition.args.get("expression")
    if isinstance(condition, exp.In | exp.Between | exp.Like):
        if _is_of(this, alias) and not (isinstance(condition, exp.Like) and not _prefixed(other)):
            names = use.equal if isinstance(condition, exp.In) else use.ranges
            names[this.name] = None
        return
    if not isinstance(condition, (*_EQUAL, *_RANGE)):
        return
    for column, against in ((this, other), (other, this)):
        if not _is_of(column, alias) or _mentions(against, alias):
            continue
        if isinstance(condition, _RANGE):
            use.ranges[column.name] = None
        elif any(_mentions(against, name) for name in tables):
            use.joined[column.name] = None
        else:
            use.equal[column.name] = None


def _is_of(node: object, alias: str) -> TypeGuard[exp.Column]:
    return isinstance(node, exp.Column) and node.table == alias


def _mentions(node: object, alias: str) -> bool:
    return isinstance(node, exp.Expr) and any(
        column.table == alias for column in node.find_all(exp.Column)
    )


def _prefixed(pattern: object) -> bool:
    """Whether a LIKE pattern may begin with plain text, which an index can look up."""
    if isinstance(pattern, exp.Literal):
        return pattern.name[:1] not in ("", "%", "_")
    return isinstance(pattern, exp.Placeholder)


def _order(select: exp.Expr, alias: str, query: CompiledQuery) -> tuple[str, ...]:
    """Return the columns of the order that an index of this table can give."""
    if query.sort_keys and select is query.bound.tree:
        terms = [(key.column, key.descending) for key in query.sort_keys]
    else:
        terms = _order_terms(select, alias, query.bound)
    if len({descending for _, descending in terms}) > 1:
        terms = terms[:1]
    return tuple(column for column, _ in terms)


def _order_terms(select: exp.Expr, alias: str, bound: Bound) -> list[tuple[str, bool]]:
    order = select.args.get("order")
    if order is None or select.args.get("group") or select.args.get("distinct"):
        return []
    terms = []
    for term in order.expressions:
        column = bound.outputs.get(id(term.this), term.this).unalias()
        if not _is_of(column, alias):
            return []
        terms.append((column.name, bool(term.args.get("desc"))))
    return terms
