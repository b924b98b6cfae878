"""Syntax: one SELECT, made of what every store can answer, with nothing that writes or reaches out.

First station of a query. Everything is refused that is not on a list here: kinds of expressions,
their options, functions. The lists hold what SQLite does and PostgreSQL can be told to do, since
the same query has to give the same answer on both. Besides, a view's reader has a connection that
cannot write: this is the first wall, not the only one.
"""

from __future__ import annotations

from typing import Any, Final

from sqlglot import ErrorLevel, Tokenizer, exp, parse
from sqlglot.errors import ParseError, TokenError

from eventmill.engine.views.problems import Problems, nearest

DIALECT: Final = "sqlite"
"""Queries are written as SQLite reads them, on every store."""

JSON_EACH: Final = "json_each"
"""The one function that may stand for a table: the items of a JSON column."""


def parse_query(sql: str, problems: Problems) -> exp.Query | None:
    """Parse one SELECT; note what is not possible. None if it cannot even be read."""
    if not _begins_as_query(sql, problems):
        return None
    try:
        statements = [s for s in parse(sql, read=DIALECT, error_level=ErrorLevel.RAISE) if s]
    except ParseError as error:
        for detail in error.errors:
            _add_parse_error(detail, problems)
        return None
    if len(statements) != 1 or not isinstance(statements[0], exp.Query):
        problems.add("write exactly one SELECT (WITH, UNION and subqueries are possible)")
        return None
    before = len(problems.found)
    query = statements[0].unnest()
    assert isinstance(query, exp.Query)
    for node in query.walk():
        _check(node, problems)
    return query if len(problems.found) == before else None


def is_list_operator(node: exp.Expr | None) -> bool:
    """Whether it is the ANY(…) or ALL(…) of a comparison with a list."""
    return isinstance(node, exp.Any) or (isinstance(node, exp.Anonymous) and _name(node) == "all")


def _begins_as_query(sql: str, problems: Problems) -> bool:
    try:
        tokens = Tokenizer(dialect=DIALECT).tokenize(sql)
    except TokenError as error:
        problems.add(f"the SQL cannot be read: {error}")
        return False
    first = next((token.text.upper() for token in tokens if token.text != "("), "")
    if first not in ("SELECT", "WITH"):
        problems.add(f"a view's query is a SELECT; it cannot begin with {first or 'nothing'!r}")
        return False
    return True


def _add_parse_error(detail: dict[str, Any], problems: Problems) -> None:
    near, text = detail["highlight"] or "", str(detail["description"])
    if text.startswith("Required keyword"):
        text = "something is missing"
    column = (detail["col"] or 1) - max(0, len(near) - 1)
    problems.add_at(f"{text} at {near!r}", detail["line"] or 1, max(1, column))


def _check(node: exp.Expr, problems: Problems) -> None:
    hint = _HINTS.get(type(node))
    if hint is not None:
        problems.add(hint, node)
    elif isinstance(node, exp.Anonymous):
        _check_function(node, problems)
    elif isinstance(node, exp.Func) and type(node) not in _FUNCTIONS:
        name = node.sql_name().lower()
        problems.add(f"function {name}() is not possible in a view{_function_hint(name)}", node)
    elif not isinstance(node, (*_PARTS, *_FUNCTIONS)):
        problems.add(f"{type(node).__name__.upper()} is not possible in a view's query", node)
    else:
        _check_options(node, problems)


def _check_function(node: exp.Anonymous, problems: Problems) -> None:
    name = _name(node)
    is_table = isinstance(node.parent, exp.Table)
    if is_table and name != JSON_EACH:
        problems.add(
            f"{name}() is no table of this view; only json_each(…) may stand for one", node
        )
    elif not is_table and name not in _OTHER_FUNCTIONS and not is_list_operator(node):
        problems.add(f"function {name}() is not possible in a view{_function_hint(name)}", node)
    elif name in _DATE_FUNCTIONS:
        _check_now(node, node.expressions, problems)


def _check_options(node: exp.Expr, problems: Problems) -> None:
    allowed = _OPTIONS.get(type(node))
    if allowed is not None:
        for option, value in node.args.items():
            if value and option not in allowed:
                text = option.rstrip("_").replace("_", " ").upper()
                problems.add(f"{text} is not possible in a view's query", node)
    if isinstance(node, exp.Query) and node.args.get("offset") and not node.args.get("limit"):
        problems.add("OFFSET needs a LIMIT before it", node)
    match node:
        case exp.Placeholder() if not node.name.isidentifier():
            problems.add("a parameter has a name: write :name", node)
        case exp.Join() if node.method.upper() not in ("", "NATURAL") or (
            node.kind.upper() not in ("", "INNER", "OUTER", "CROSS")
        ):
            problems.add(f"{node.method or node.kind} JOIN is not possible", node)
        case exp.SetOperation():
            _check_parts(node, problems)
        case exp.Select() if not node.expressions:
            problems.add("the SELECT names no columns", node)
        case exp.Alias() if node.alias.startswith("_"):
            problems.add(f"{node.alias!r}: names that begin with '_' are reserved", node)
        case exp.Trim(expression=exp.Expr() as characters) if not isinstance(
            characters, exp.Literal
        ):
            # Each character of the text is looked for among them: minutes, without an interruption.
            problems.add("write the characters that trim() takes off as a literal", node)
        case exp.Date() | exp.TsOrDsToTimestamp():
            _check_now(node, [node.this, *node.expressions], problems)


def _check_parts(node: exp.SetOperation, problems: Problems) -> None:
    name = type(node).__name__.upper()
    for part in (node.this, node.expression):
        if isinstance(part, exp.Subquery):
            problems.add(f"write {name} without parentheses around its parts", part)
        elif part.args.get("order") or part.args.get("limit"):
            problems.add(f"ORDER BY and LIMIT belong behind the whole {name}", part)


def _check_now(node: exp.Expr, arguments: list[exp.Expr | None], problems: Problems) -> None:
    literals = [a.name.lower() for a in arguments if isinstance(a, exp.Literal) and a.is_string]
    if "now" in literals or not any(arguments):
        problems.add("a query knows no present time: pass it as a parameter", node)


def _function_hint(name: str) -> str:
    return _FUNCTION_HINTS.get(name) or nearest(name, _NAMES)


def _name(node: exp.Anonymous) -> str:
    return str(node.this).lower()


_PARTS: tuple[type[exp.Expr], ...] = (
    *(exp.Select, exp.Union, exp.Intersect, exp.Except, exp.Subquery, exp.With, exp.CTE),
    *(exp.From, exp.Join, exp.Where, exp.Group, exp.Having, exp.Order, exp.Ordered, exp.Limit),
    *(exp.Offset, exp.Distinct, exp.Window, exp.WindowSpec, exp.Filter, exp.Table),
    *(exp.TableAlias, exp.Alias, exp.Column, exp.Identifier, exp.Star, exp.Paren, exp.Tuple),
    *(exp.Literal, exp.Null, exp.Boolean, exp.Placeholder, exp.DataType, exp.DataTypeParam),
    *(exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Is, exp.In, exp.Between, exp.Like),
    *(exp.ILike, exp.Escape, exp.Not, exp.NullSafeEQ, exp.NullSafeNEQ, exp.Any, exp.Var),
    *(exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod, exp.Neg, exp.DPipe, exp.BitwiseAnd),
    *(exp.BitwiseOr, exp.BitwiseNot, exp.BitwiseLeftShift, exp.BitwiseRightShift),
    *(exp.JSONPath, exp.JSONPathPart, exp.JSONKeyValue),
)

_FUNCTIONS: tuple[type[exp.Func], ...] = (
    *(exp.And, exp.Or, exp.Case, exp.If, exp.Cast, exp.Exists, exp.Coalesce, exp.Nullif),
    *(exp.Count, exp.Sum, exp.Avg, exp.Min, exp.Max, exp.GroupConcat, exp.Median),
    *(exp.Greatest, exp.Least, exp.Abs, exp.Round, exp.Ceil, exp.Floor, exp.Trunc, exp.Sign),
    *(exp.Sqrt, exp.Pow, exp.Exp, exp.Ln, exp.Log, exp.Length, exp.Lower, exp.Upper),
    *(exp.Substring, exp.Trim, exp.Replace, exp.StrPosition, exp.Concat, exp.ConcatWs),
    *(exp.Unicode, exp.Chr, exp.Date, exp.TimeToStr, exp.TsOrDsToTimestamp, exp.JSONExtract),
    *(exp.JSONExtractScalar, exp.JSONArrayAgg, exp.JSONObjectAgg, exp.JSONObject),
    *(exp.RowNumber, exp.Rank, exp.DenseRank, exp.PercentRank, exp.CumeDist, exp.Ntile),
    *(exp.Lag, exp.Lead, exp.FirstValue, exp.LastValue, exp.NthValue),
)

_DATE_FUNCTIONS = frozenset({"date", "time", "datetime", "strftime", "julianday", "unixepoch"})
_OTHER_FUNCTIONS = _DATE_FUNCTIONS | {"json", "json_array", "json_array_length"}
_NAMES = {name.lower() for function in _FUNCTIONS for name in function.sql_names()} | {
    *_OTHER_FUNCTIONS,
    *("json_group_array", "json_group_object", "json_object", "ifnull", "iif", "instr"),
}

_FUNCTION_HINTS = {
    "total": "; write coalesce(sum(x), 0.0)",
    "random": "; it would answer differently each time",
    "rand": "; it would answer differently each time",
    "printf": "; format in Python",
    "format": "; format in Python",
    "current_timestamp": "; pass the time as a parameter",
    "current_date": "; pass the date as a parameter",
    "current_time": "; pass the time as a parameter",
}

_HINTS: dict[type[exp.Expr], str] = {
    exp.Parameter: "write parameters as :name",
    exp.Dot: "write json_extract(column, '$.name') or column ->> 'name' for a part of a value",
    exp.HexString: "write bytes as a parameter",
    exp.Glob: "GLOB is not possible in a view's query; use LIKE",
    exp.RegexpLike: "REGEXP is not possible in a view's query; use LIKE",
    exp.Collate: "COLLATE is not possible in a view's query; compare or sort lower(x)",
}

_SELECT = frozenset(
    [
        "expressions",
        "from_",
        "where",
        "joins",
        "group",
        "having",
        "order",
        "limit",
        "offset",
        "distinct",
        "with_",
        "windows",
    ]
)
_SET = frozenset(
    ["this", "expression", "distinct", "by_name", "with_", "order", "limit", "offset"]
) - {"by_name"}
_OPTIONS: dict[type[exp.Expr], frozenset[str]] = {
    exp.Select: _SELECT,
    exp.Union: _SET,
    exp.Intersect: _SET,
    exp.Except: _SET,
    exp.Subquery: frozenset({"this", "alias", "joins", "with_"}),
    exp.Table: frozenset({"this", "alias", "joins"}),
    exp.Star: frozenset(),
    exp.Group: frozenset({"expressions"}),
    exp.Distinct: frozenset({"expressions"}),
    exp.Join: frozenset({"this", "method", "side", "kind", "on", "using"}),
}
