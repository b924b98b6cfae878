"""Checks: queries that a store would answer, but wrongly, or not the same as another store.

Fourth station, on a bound tree:
- a column beside an aggregate that is not grouped by (SQLite picks any row, PostgreSQL refuses);
- comparing, sorting or aggregating values whose kept form does not compare as they do: decimals
  (text), JSON, the order of base64;
- a list parameter anywhere but in IN (…), = ANY(…) or <> ALL(…).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sqlglot import exp

from eventmill.engine.views.inference import Inference
from eventmill.engine.views.kinds import FieldType, Kind
from eventmill.engine.views.names import Bound
from eventmill.engine.views.problems import Problems
from eventmill.engine.views.syntax import is_list_operator

_ADVICE = {
    Kind.DECIMAL: (
        "is a Decimal, kept as exact text: CAST(… AS REAL) compares it approximately; whole "
        "cents in an int compare exactly"
    ),
    Kind.JSON: "is kept as JSON: use a part of it, column ->> 'name', or json_each(column)",
    Kind.BYTES: "is kept as base64: it can be equal or not, but has no order",
}

_ONLY_WINDOWED = (
    *(exp.RowNumber, exp.Rank, exp.DenseRank, exp.PercentRank, exp.CumeDist, exp.Ntile),
    *(exp.Lag, exp.Lead, exp.FirstValue, exp.LastValue, exp.NthValue),
)
_EQUALITIES = (exp.EQ, exp.NEQ, exp.In)
_ORDERS = (exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Between, exp.Like, exp.ILike)
_AGGREGATES = (exp.Sum, exp.Avg, exp.Min, exp.Max, exp.Median, exp.Greatest, exp.Least)
_ARITHMETIC = (exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod, exp.Neg, exp.Abs, exp.Round)


def check_bound(bound: Bound, inference: Inference, problems: Problems) -> None:
    """Note what would be answered wrongly."""
    for select in bound.tree.find_all(exp.Select):
        _check_grouping(select, problems)
        if select.args.get("distinct"):
            _check_order(select, "DISTINCT", problems)
    for node in bound.tree.walk():
        if isinstance(node, exp.SetOperation):
            _check_widths(node, problems)
            _check_order(node, type(node).__name__.upper(), problems)
        if isinstance(node, exp.AggFunc | exp.RowNumber):
            _check_clause(node, problems)
        if isinstance(node, _EQUALITIES):
            _check_operands(node, (Kind.DECIMAL, Kind.JSON), inference, problems)
        elif isinstance(node, (*_ORDERS, *_AGGREGATES, *_ARITHMETIC, exp.Ordered)):
            _check_operands(node, (Kind.DECIMAL, Kind.JSON, Kind.BYTES), inference, problems)


def check_lists(tree: exp.Expr, parameters: Mapping[str, FieldType], problems: Problems) -> None:
    """Note list parameters where one value is needed, and the reverse."""
    for node in tree.find_all(exp.Placeholder):
        field = parameters.get(node.name)
        if field is None:
            continue
        place = _list_place(node)
        if field.kind is Kind.JSON and field.item is not None:
            alone = isinstance(node.parent, exp.Is) or _in_json_each(node)
            if place is None and not alone:
                problems.add(
                    f"parameter {node.name!r} is a list: use it as IN (:{node.name}), "
                    f"= ANY(:{node.name}) or <> ALL(:{node.name})",
                    _near(node),
                )
        elif isinstance(place, exp.Any | exp.Anonymous):
            problems.add(f"ANY and ALL take a list; {node.name!r} is none", _near(node))
    for operator in tree.find_all(exp.Any, exp.Anonymous):
        if is_list_operator(operator) and list_comparison(operator) is None:
            problems.add("write column = ANY(:list) or column <> ALL(:list)", operator)


def list_comparison(operator: exp.Expr) -> exp.Expr | None:
    """Return the comparison of `x = ANY(:list)` or `x <> ALL(:list)`; None if it is neither."""
    parent = operator.parent
    expected = exp.EQ if isinstance(operator, exp.Any) else exp.NEQ
    if not isinstance(parent, expected) or parent.expression is not operator:
        return None
    return parent if isinstance(list_argument(operator), exp.Placeholder) else None


def list_argument(operator: exp.Expr) -> exp.Expr | None:
    """Return what is between the parentheses of ANY(…) or ALL(…)."""
    if isinstance(operator, exp.Any):
        argument: exp.Expr = operator.this
        return argument.unnest()
    return operator.expressions[0] if len(operator.expressions) == 1 else None


def _list_place(node: exp.Placeholder) -> exp.Expr | None:
    """The IN, ANY or ALL whose only operand is this parameter."""
    parent = node.parent
    while isinstance(parent, exp.Paren):
        parent = parent.parent
    if isinstance(parent, exp.In):
        alone = parent.expressions == [node] or parent.args.get("field") is node
        return parent if alone else None
    return parent if parent is not None and is_list_operator(parent) else None


def _in_json_each(node: exp.Placeholder) -> bool:
    return isinstance(node.parent, exp.Anonymous) and isinstance(node.parent.parent, exp.Table)


def _near(node: exp.Expr) -> exp.Expr:
    # The parser keeps no position of a parameter itself.
    return node.parent if node.parent is not None else node


def _check_operands(
    node: exp.Expr, refused: tuple[Kind, ...], inference: Inference, problems: Problems
) -> None:
    for operand in _operands(node):
        column = operand.unnest()
        kind = inference.of(column).kind
        if isinstance(column, exp.Column) and kind in refused:
            problems.add(f"{column.name!r} {_ADVICE[kind]}", column)


def _operands(node: exp.Expr) -> Iterator[exp.Expr]:
    for operand in node.iter_expressions():
        if isinstance(operand, exp.Distinct | exp.Tuple):
            yield from operand.expressions
        else:
            yield operand


def _check_widths(node: exp.SetOperation, problems: Problems) -> None:
    widths = [len(part.selects) for part in (node.this, node.expression)]
    if widths[0] != widths[1]:
        name = type(node).__name__.upper()
        problems.add(f"{name} of {widths[0]} and {widths[1]} columns: select the same number", node)


def _check_order(query: exp.Query, what: str, problems: Problems) -> None:
    """Note terms of ORDER BY that are no column of the result: merged rows have no others."""
    order = query.args.get("order")
    outputs = [column.unalias() for column in query.selects]
    for term in order.expressions if order is not None else []:
        is_named = isinstance(term.this, exp.Column) and not term.this.table
        if not is_named and term.this not in outputs:
            problems.add(f"with {what}, ORDER BY names columns of the result alone", term)


def _check_clause(function: exp.AggFunc | exp.RowNumber, problems: Problems) -> None:
    """Note aggregates and window functions where there are no groups or windows."""
    windowed, name = _is_windowed(function), function.sql_name().lower()
    if isinstance(function, _ONLY_WINDOWED) and not windowed:
        problems.add(f"{name}() needs a window: {name}() OVER (ORDER BY …)", function)
        return
    clause = function.find_ancestor(exp.AggFunc, exp.Where, exp.Join, exp.Group, exp.Query)
    if isinstance(clause, exp.AggFunc) and (windowed or not _is_windowed(clause)):
        problems.add(f"{name}() cannot stand inside of another aggregate", function)
    elif isinstance(clause, exp.Where | exp.Join | exp.Group):
        where = type(clause).__name__.upper()
        problems.add(f"{name}() cannot stand in {where}: select it in a subquery", function)
    columns = function.this.expressions if isinstance(function.this, exp.Distinct) else []
    if isinstance(function, exp.Count) and len(columns) > 1:
        problems.add("count(DISTINCT …) takes one column; join several with ||", function)


def _check_grouping(select: exp.Select, problems: Problems) -> None:
    group = select.args.get("group")
    parts = [*select.expressions, select.args.get("having"), select.args.get("order")]
    outputs = [part for part in parts if part is not None]
    if group is None and not any(_aggregates(part) for part in outputs):
        return
    grouped = list(group.expressions) if group is not None else []
    aliases = {part.alias: part.unalias() for part in select.expressions if part.alias}
    for part in outputs:
        for column in _loose(part.unalias(), grouped):
            if not column.table and column.name in aliases:
                continue
            problems.add(
                f"{column.name!r} is neither grouped nor aggregated: add it to GROUP BY, or "
                f"choose with max({column.name})",
                column,
            )


def _aggregates(part: exp.Expr) -> bool:
    if isinstance(part, exp.Query | exp.Window):
        return False
    if isinstance(part, exp.AggFunc):
        return True
    return any(_aggregates(child) for child in part.iter_expressions())


def _loose(part: exp.Expr, grouped: list[exp.Expr]) -> Iterator[exp.Column]:
    """Columns that are outside of aggregates and of grouped expressions."""
    if part in grouped or isinstance(part, exp.Query):
        return
    if isinstance(part, exp.AggFunc | exp.Filter) and not _is_windowed(part):
        return
    if isinstance(part, exp.Column):
        yield part
        return
    for child in part.iter_expressions():
        yield from _loose(child, grouped)


def _is_windowed(function: exp.Expr) -> bool:
    around = function.parent.parent if isinstance(function.parent, exp.Filter) else function.parent
    return isinstance(around, exp.Window)
