"""Inference: of what kind an expression's values are, and whether they may be NULL.

Third station. Used to check a query's columns against its result type, to write values of an
unannotated result as JSON, and to refuse comparisons that the kept form cannot answer. It tells
only what is certain: kind None means anything, and `nullable` that NULL is possible for certain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sqlglot import exp
from sqlglot.optimizer.scope import Scope

from eventmill.engine.views.kinds import FieldType, Kind
from eventmill.engine.views.names import Bound, select_of
from eventmill.engine.views.syntax import is_list_operator


@dataclass(frozen=True, slots=True)
class Inferred:
    """What is known of an expression's values."""

    kind: Kind | None = None
    nullable: bool = False


_UNKNOWN = Inferred()
_NUMBERS = frozenset({Kind.INTEGER, Kind.FLOAT, Kind.BOOLEAN})


class Inference:
    """Infers the expressions of one bound query."""

    def __init__(self, bound: Bound, parameters: Mapping[str, FieldType]) -> None:
        self._bound = bound
        self._parameters = parameters
        self._known: dict[int, Inferred] = {}

    def of(self, node: exp.Expr | None) -> Inferred:
        """Return what is known of an expression's values."""
        if node is None:
            return _UNKNOWN
        known = self._known.get(id(node))
        if known is None:
            # A recursive CTE refers to itself: there, nothing is known.
            self._known[id(node)] = _UNKNOWN
            known = self._known[id(node)] = self._infer(node)
        return known

    def _infer(self, node: exp.Expr) -> Inferred:
        if isinstance(node, exp.Column):
            return self._of_column(node)
        if isinstance(node, exp.Placeholder):
            field = self._parameters.get(node.name)
            return Inferred(field.kind, field.nullable) if field else _UNKNOWN
        if isinstance(node, exp.Literal):
            return Inferred(_literal_kind(node))
        if isinstance(node, exp.Alias | exp.Paren | exp.Neg | exp.Window | exp.Distinct):
            return self.of(node.this or next(iter(node.expressions), None))
        if isinstance(node, exp.Subquery | exp.Query):
            return self._of_subquery(node)
        if isinstance(node, exp.Cast):
            return Inferred(_cast_kind(node), self.of(node.this).nullable)
        if isinstance(node, exp.Case | exp.If | exp.Coalesce | exp.Nullif):
            return self._of_choice(node)
        for types, infer in _BY_TYPE:
            if isinstance(node, types):
                return infer(self, node)
        if isinstance(node, exp.Anonymous):
            kind = _FUNCTION_KINDS.get(str(node.this).lower())
            return Inferred(kind, self._any_nullable(node.expressions))
        return _UNKNOWN

    def _of_column(self, node: exp.Column) -> Inferred:
        output = self._bound.outputs.get(id(node))
        if output is not None:
            inferred = self.of(output)
        elif id(node) in self._bound.columns:
            column = self._bound.columns[id(node)]
            inferred = Inferred(column.kind, column.nullable)
        else:
            return _UNKNOWN
        select = node.find_ancestor(exp.Select)
        scope = self._bound.scope_of.get(id(select)) if select else None
        if scope is None or node.table not in scope.sources:
            return inferred
        if node.table in _outer_joined(scope):
            return Inferred(inferred.kind, not _is_required(node, scope))
        if inferred.nullable and _is_required(node, scope):
            return Inferred(inferred.kind)
        return inferred

    def _of_subquery(self, node: exp.Expr) -> Inferred:
        select = select_of(self._bound, node.this if isinstance(node, exp.Subquery) else node)
        if len(select.expressions) != 1:
            return _UNKNOWN
        inner = self.of(select.expressions[0])
        always_one = isinstance(select.expressions[0].unalias(), exp.Count)
        return Inferred(inner.kind, not always_one or inner.nullable)

    def _of_choice(self, node: exp.Expr) -> Inferred:
        match node:
            case exp.Case():
                values = [branch.args["true"] for branch in node.args["ifs"]]
                values += [node.args.get("default") or exp.Null()]
            case exp.If():
                values = [node.args["true"], node.args.get("false") or exp.Null()]
            case exp.Nullif():
                return Inferred(self.of(node.this).kind, nullable=True)
            case _:
                values = [node.this, *node.expressions]
                merged = self._merged(values)
                return Inferred(merged.kind, all(self.of(value).nullable for value in values))
        return self._merged(values)

    def _merged(self, values: list[exp.Expr]) -> Inferred:
        kinds = {self.of(value).kind for value in values if not isinstance(value, exp.Null)}
        return Inferred(_merged_kind(kinds), self._any_nullable(values))

    def _any_nullable(self, nodes: list[exp.Expr]) -> bool:
        return any(self.of(node).nullable for node in nodes)

    def _of_aggregate(self, node: exp.Expr) -> Inferred:
        argument = self.of(node.this.expressions[0] if _is_distinct(node) else node.this)
        match node:
            case exp.Count():
                return Inferred(Kind.INTEGER)
            case exp.JSONArrayAgg() | exp.JSONObjectAgg():
                return Inferred(Kind.JSON)
            case exp.Avg() | exp.Median():
                kind: Kind | None = Kind.FLOAT
            case exp.GroupConcat():
                kind = Kind.TEXT
            case exp.Sum() if argument.kind is Kind.BOOLEAN:
                kind = Kind.INTEGER
            case _:
                kind = argument.kind
        return Inferred(kind, argument.nullable or self._may_be_empty(node))

    def _may_be_empty(self, node: exp.Expr) -> bool:
        """Whether it aggregates over all rows, of which there may be none, or over a filter."""
        if isinstance(node.parent, exp.Filter):
            return True
        around = node.find_ancestor(exp.Window, exp.Select)
        return isinstance(around, exp.Select) and not around.args.get("group")

    def _of_arithmetic(self, node: exp.Expr) -> Inferred:
        sides = [self.of(node.left), self.of(node.right)]  # type: ignore[attr-defined]
        kinds = {side.kind for side in sides}
        kind: Kind | None = None
        if kinds <= {Kind.INTEGER, Kind.BOOLEAN}:
            kind = Kind.INTEGER
        elif kinds <= _NUMBERS:
            kind = Kind.FLOAT
        elif kinds == {Kind.DURATION} and isinstance(node, exp.Add | exp.Sub):
            kind = Kind.DURATION
        return Inferred(kind, any(side.nullable for side in sides))

    def _of_comparison(self, node: exp.Expr) -> Inferred:
        sides = [
            side
            for side in (node.this, node.args.get("expression"))
            if isinstance(side, exp.Expr) and not is_list_operator(side)
        ]
        return Inferred(Kind.BOOLEAN, self._any_nullable(sides))

    def _of_certain(self, node: exp.Expr) -> Inferred:
        return Inferred(Kind.BOOLEAN)

    def _of_json_part(self, node: exp.Expr) -> Inferred:
        is_json = isinstance(node, exp.JSONExtract) and not node.expressions
        return Inferred(Kind.JSON if is_json else None, nullable=True)

    def _of_item(self, node: exp.Expr) -> Inferred:
        if isinstance(node, exp.Lag | exp.Lead) and node.args.get("default") is None:
            return Inferred(self.of(node.this).kind, nullable=True)
        return self.of(node.this)

    def _of_extreme(self, node: exp.Expr) -> Inferred:
        return self._merged([node.this, *node.expressions])


_Infer = Callable[[Inference, exp.Expr], Inferred]


def _always(kind: Kind) -> _Infer:
    """Of that kind; NULL if an argument is."""

    def infer(inference: Inference, node: exp.Expr) -> Inferred:
        arguments = [a for a in node.iter_expressions() if not isinstance(a, exp.DataType)]
        return Inferred(kind, inference._any_nullable(arguments))

    return infer


_BY_TYPE: tuple[tuple[tuple[type[exp.Expr], ...], _Infer], ...] = (
    ((exp.Count, exp.Sum, exp.Avg, exp.Min, exp.Max, exp.Median), Inference._of_aggregate),
    ((exp.GroupConcat, exp.JSONArrayAgg, exp.JSONObjectAgg), Inference._of_aggregate),
    ((exp.Filter,), lambda inference, node: inference.of(node.this)),
    ((exp.Greatest, exp.Least), Inference._of_extreme),
    ((exp.Is, exp.Exists, exp.NullSafeEQ, exp.NullSafeNEQ), Inference._of_certain),
    ((exp.JSONExtract, exp.JSONExtractScalar), Inference._of_json_part),
    ((exp.JSONObject,), lambda inference, node: Inferred(Kind.JSON)),
    ((exp.Lag, exp.Lead, exp.FirstValue, exp.LastValue), Inference._of_item),
    ((exp.NthValue,), lambda inference, node: Inferred(inference.of(node.this).kind, True)),
    ((exp.RowNumber, exp.Rank, exp.DenseRank, exp.Ntile), lambda i, n: Inferred(Kind.INTEGER)),
    ((exp.PercentRank, exp.CumeDist), lambda i, n: Inferred(Kind.FLOAT)),
    ((exp.Boolean,), lambda i, n: Inferred(Kind.BOOLEAN)),
    ((exp.Null,), lambda i, n: Inferred(None, nullable=True)),
    ((exp.Not, exp.And, exp.Or, exp.Predicate), Inference._of_comparison),
    ((exp.DPipe,), _always(Kind.TEXT)),
    ((exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod), Inference._of_arithmetic),
    ((exp.Lower, exp.Upper, exp.Substring, exp.Trim, exp.Replace, exp.Chr), _always(Kind.TEXT)),
    ((exp.Concat, exp.ConcatWs), lambda i, n: Inferred(Kind.TEXT)),
    ((exp.TimeToStr,), _always(Kind.TEXT)),
    ((exp.Date,), _always(Kind.DATE)),
    ((exp.Length, exp.StrPosition, exp.Unicode, exp.Sign), _always(Kind.INTEGER)),
    ((exp.Round, exp.Sqrt, exp.Pow, exp.Exp, exp.Ln, exp.Log), _always(Kind.FLOAT)),
    ((exp.Abs, exp.Ceil, exp.Floor, exp.Trunc), lambda i, n: i.of(n.this)),
)

_FUNCTION_KINDS = {
    "date": Kind.DATE,
    "time": Kind.TIME,
    "datetime": Kind.DATETIME,
    "strftime": Kind.TEXT,
    "julianday": Kind.FLOAT,
    "unixepoch": Kind.INTEGER,
    "json": Kind.JSON,
    "json_array": Kind.JSON,
    "json_array_length": Kind.INTEGER,
}


def conjuncts(condition: exp.Expr | None) -> list[exp.Expr]:
    """Return what a condition demands all of."""
    if condition is None:
        return []
    condition = condition.unnest()
    if isinstance(condition, exp.And):
        return [*conjuncts(condition.left), *conjuncts(condition.right)]
    return [condition]


def _outer_joined(scope: Scope) -> set[str]:
    """Sources whose rows may be missing from a joined row."""
    select = scope.expression
    seen = [source.alias_or_name for source in _from_sources(select)]
    missing: set[str] = set()
    for join in select.args.get("joins") or []:
        side = join.side.upper()
        if side in ("RIGHT", "FULL"):
            missing.update(seen)
        if side in ("LEFT", "FULL"):
            missing.add(join.alias_or_name)
        seen.append(join.alias_or_name)
    return missing


def _from_sources(select: exp.Expr) -> list[exp.Expr]:
    source = select.args.get("from_")
    return [source.this] if source is not None else []


def _is_required(node: exp.Column, scope: Scope) -> bool:
    """Whether WHERE lets no row pass in which the column is NULL."""
    where = scope.expression.args.get("where")
    if where is None:
        return False
    for conjunct in conjuncts(where.this):
        if isinstance(conjunct, exp.Not) and isinstance(conjunct.this.unnest(), exp.Is):
            conjunct = conjunct.this.unnest()
        elif isinstance(conjunct, exp.Is | exp.NullSafeEQ | exp.NullSafeNEQ | exp.Or | exp.Not):
            continue
        if isinstance(conjunct, exp.Predicate | exp.Is) and node in (
            conjunct.this,
            conjunct.args.get("expression"),
        ):
            return True
    return False


def _is_distinct(node: exp.Expr) -> bool:
    return isinstance(node.this, exp.Distinct)


def _literal_kind(node: exp.Literal) -> Kind:
    if node.is_string:
        return Kind.TEXT
    return Kind.INTEGER if node.is_int else Kind.FLOAT


def _merged_kind(kinds: set[Kind | None]) -> Kind | None:
    if len(kinds) == 1:
        return next(iter(kinds))
    if kinds and kinds <= {Kind.INTEGER, Kind.FLOAT}:
        return Kind.FLOAT
    return None


def _cast_kind(node: exp.Cast) -> Kind | None:
    if node.to.this in exp.DataType.INTEGER_TYPES:
        return Kind.INTEGER
    if node.to.this in exp.DataType.REAL_TYPES:
        return Kind.FLOAT
    if node.to.this in exp.DataType.TEXT_TYPES:
        return Kind.TEXT
    return None
