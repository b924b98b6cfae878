"""PostgreSQL's words for what a view's query says in SQLite's.

SQLite's booleans are numbers, so conditions become numbers where a value is needed and numbers
conditions where one is; parameters get the type of their kind, functions their names and types
here. Nodes carry their kinds as marks (`postgres.mark_kinds`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from sqlglot import exp
from sqlglot.dialects.postgres import Postgres
from sqlglot.generators.postgres import PostgresGenerator

from eventmill.engine.views.kinds import Kind
from eventmill.engine.views.syntax import JSON_EACH
from eventmill.errors import ConfigurationError

KIND: Final = "kind"
"""Mark on a node: the kind of its values."""

NUMBERS = frozenset({Kind.INTEGER, Kind.BOOLEAN, Kind.DURATION})
"""Kinds that are kept as whole numbers."""

_CONDITIONS = (exp.Predicate, exp.And, exp.Or, exp.Not, exp.Escape)


def quoted(name: str) -> str:
    """Return a name as SQL's quoted identifier."""
    return '"' + name.replace('"', '""') + '"'


def json_value(kind: Kind | None, sql: str) -> str:
    """Return an expression of the JSON value of a kept one; NULL stays NULL."""
    match kind:
        case Kind.BOOLEAN:
            return f"({sql} <> 0)"
        case Kind.JSON:
            return f"CAST({sql} AS json)"
        case Kind.DURATION:
            seconds = (
                f"abs({sql}) / 1000000 || '.' || lpad(CAST(abs({sql}) % 1000000 AS text), 6, '0')"
            )
            return f"(CASE WHEN {sql} < 0 THEN '-' ELSE '' END || 'PT' || {seconds} || 'S')"
        case _:
            return sql


def type_of(kind: Kind | None) -> str:
    if kind in NUMBERS:
        return "bigint"
    return "double precision" if kind is Kind.FLOAT else "text"


def _kind(node: Any) -> Kind | None:
    if isinstance(node, exp.Paren | exp.Alias | exp.Neg) and KIND not in node.meta:
        return _kind(node.this)
    found = node.meta.get(KIND) if isinstance(node, exp.Expr) else None
    if found is None and isinstance(node, exp.Literal):
        return Kind.TEXT if node.is_string else Kind.INTEGER if node.is_int else Kind.FLOAT
    return Kind(found) if found is not None else None


def _is_condition(node: exp.Expr | None) -> bool:
    return isinstance(node, _CONDITIONS) or (
        isinstance(node, exp.Boolean) and _needs_condition(node)
    )


def _needs_condition(node: exp.Expr) -> bool:
    """Whether a condition stands here, not a value."""
    child = node
    while isinstance(child.parent, exp.Paren):
        child = child.parent
    parent = child.parent
    match parent:
        case exp.And() | exp.Or() | exp.Not() | exp.Where() | exp.Having():
            return True
        case exp.Join():
            return child.arg_key == "on"
        case exp.If():
            around = parent.parent
            simple = isinstance(around, exp.Case) and around.args.get("this") is not None
            return child.arg_key == "this" and not simple
    return False


def _inner(node: exp.Expr) -> exp.Expr:
    """The function below its FILTER and OVER."""
    while isinstance(node, exp.Window | exp.Filter):
        node = node.this
    return node


def _is_json_part(node: exp.Expr) -> bool:
    if isinstance(node, exp.JSONExtractScalar):
        return True
    return isinstance(node, exp.Column) and node.name in ("value", "atom") and KIND not in node.meta


_MODIFIER = re.compile(r"([+-]?\d+(?:\.\d+)?) (second|minute|hour|day|month|year)s?")
_START = re.compile(r"start of (day|month|year)")
_FORMATS = {
    "%Y": "YYYY", "%m": "MM", "%d": "DD", "%H": "HH24", "%M": "MI", "%S": "SS", "%j": "DDD",
    "%f": "SS.MS", "%G": "IYYY", "%V": "IW", "%u": "ID", "%F": "YYYY-MM-DD", "%T": "HH24:MI:SS",
    "%R": "HH24:MI", "%I": "HH12", "%p": "AM", "%%": "%",
}  # fmt: skip


class ViewGenerator(PostgresGenerator):
    """Says SQLite's meaning with PostgreSQL's words."""

    TRANSFORMS = {
        **PostgresGenerator.TRANSFORMS,
        exp.Avg: lambda g, n: g.func("AVG", g.real(n.this)),
        exp.Ceil: lambda g, n: g.whole("CEIL", n),
        exp.Floor: lambda g, n: g.whole("FLOOR", n),
        exp.Trunc: lambda g, n: g.whole("TRUNC", n),
        exp.Round: lambda g, n: g.round(n),
        exp.Sign: lambda g, n: f"CAST(SIGN({g.real(n.this)}) AS BIGINT)",
        exp.Sqrt: lambda g, n: g.guarded("SQRT", n.this, ">= 0"),
        exp.Ln: lambda g, n: g.guarded("LN", n.this, "> 0"),
        exp.Log: lambda g, n: g.log(n),
        exp.Exp: lambda g, n: g.func("EXP", g.real(n.this)),
        exp.Pow: lambda g, n: g.func("POWER", g.real(n.this), g.real(n.expression)),
        exp.Greatest: lambda g, n: g.extreme("GREATEST", n),
        exp.Least: lambda g, n: g.extreme("LEAST", n),
        exp.Lower: lambda g, n: g.lower(n.this),
        exp.Upper: lambda g, n: f'UPPER({g.text(n.this)} COLLATE "C")',
        exp.Length: lambda g, n: f"CAST(LENGTH({g.text(n.this)}) AS BIGINT)",
        exp.Unicode: lambda g, n: f"NULLIF(ASCII({g.text(n.this)}), 0)",
        exp.Chr: lambda g, n: "(" + " || ".join(f"CHR({g.sql(e)})" for e in n.expressions) + ")",
        exp.Concat: lambda g, n: g.func("CONCAT", *map(g.text, n.expressions)),
        exp.ConcatWs: lambda g, n: g.func("CONCAT_WS", *map(g.text, n.expressions)),
        exp.DPipe: lambda g, n: f"{g.text(n.this)} || {g.text(n.expression)}",
        exp.BitwiseLeftShift: lambda g, n: g.shift("<<", n),
        exp.BitwiseRightShift: lambda g, n: g.shift(">>", n),
        exp.Cast: lambda g, n: g.converted(n),
        exp.Date: lambda g, n: g.moment(n, "YYYY-MM-DD", [n.this, *n.expressions]),
        exp.TimeToStr: lambda g, n: g.formatted(n, n.args["format"], [n.this]),
        exp.JSONExtract: lambda g, n: f"CAST({g.part(n, '#>')} AS TEXT)",
        exp.JSONExtractScalar: lambda g, n: f'({g.part(n, "#>>")} COLLATE "C")',
        exp.JSONObject: lambda g, n: g.json_text("json_build_object", n),
        exp.JSONArrayAgg: lambda g, n: g.collected(n),
        exp.JSONObjectAgg: lambda g, n: g.collected_pairs(n),
        exp.GroupConcat: lambda g, n: g.joined(n),
        exp.StrPosition: lambda g, n: g.func("STRPOS", g.text(n.this), g.text(n.args["substr"])),
    }

    def sql(self, expression: Any, key: str | None = None, comment: bool = True) -> str:
        text = super().sql(expression, key, comment)
        node = expression.args.get(key) if key and expression is not None else expression
        if key or not isinstance(node, exp.Expr):
            return text
        return self._adapted(node, text)

    def _adapted(self, node: exp.Expr, text: str) -> str:
        if isinstance(node, exp.Paren | exp.Boolean):
            return text
        if isinstance(node, _CONDITIONS):
            return text if _stands_as_condition(node) else f"CAST(({text}) AS INTEGER)"
        if _needs_condition(node) and isinstance(node, exp.Condition | exp.Subquery):
            return f"({text}) <> 0"
        return self._typed(node, text)

    def _typed(self, node: exp.Expr, text: str) -> str:
        wrapped = isinstance(node.parent, exp.Window | exp.Filter) and node.arg_key == "this"
        if isinstance(_inner(node), exp.Sum) and not wrapped:
            kind = "BIGINT" if _kind(_inner(node)) is not Kind.FLOAT else "DOUBLE PRECISION"
            return f"CAST({text} AS {kind})"
        if isinstance(node, exp.JSONExtractScalar) and _is_plain_output(node):
            return self.typed_part(node)
        if _is_json_part(node) and _beside_number(node):
            return f"CAST({text} AS DOUBLE PRECISION)"
        return text

    def boolean_sql(self, expression: exp.Boolean) -> str:
        if _needs_condition(expression):
            return "TRUE" if expression.this else "FALSE"
        return "1" if expression.this else "0"

    def is_sql(self, expression: exp.Is) -> str:
        if isinstance(expression.expression, exp.Boolean):
            truth = "TRUE" if expression.expression.this else "FALSE"
            operator = "IS NOT" if expression.args.get("negate") else "IS"
            return f"({self.sql(expression.this)} <> 0) {operator} {truth}"
        return super().is_sql(expression)

    def placeholder_sql(self, expression: exp.Placeholder) -> str:
        name, parent = expression.name, expression.parent
        counts = isinstance(parent, exp.Limit | exp.Offset)
        kind = "bigint" if counts else type_of(_kind(expression))
        text = f"CAST(:{name} AS {kind})"
        return f'({text} COLLATE "C")' if kind == "text" else text

    def literal_sql(self, expression: exp.Literal) -> str:
        text = super().literal_sql(expression)
        if expression.is_string or expression.is_int:
            return text
        return f"CAST({text} AS DOUBLE PRECISION)"

    def like_sql(self, expression: exp.Like) -> str:
        escaped = isinstance(expression.parent, exp.Escape)
        text = super().like_sql(expression)
        return text if escaped else f"{text} ESCAPE ''"

    def ilike_sql(self, expression: exp.ILike) -> str:
        escaped = isinstance(expression.parent, exp.Escape)
        operator = "NOT LIKE" if expression.args.get("negate") else "LIKE"
        left, right = self.lower(expression.this), self.lower(expression.expression)
        text = f"{left} {operator} {right}"
        return text if escaped else f"{text} ESCAPE ''"

    def lower(self, node: exp.Expr) -> str:
        """Lower case of ASCII letters alone, as in SQLite."""
        return f'LOWER({self.text(node)} COLLATE "C")'

    def anonymous_sql(self, expression: exp.Anonymous) -> str:
        name, arguments = str(expression.this).lower(), expression.expressions
        match name:
            case "json_array":
                return self.json_text("json_build_array", expression)
            case "json":
                return f"CAST(CAST({self.sql(arguments[0])} AS json) AS text)"
            case "json_array_length":
                return f"CAST(json_array_length(CAST({self.sql(arguments[0])} AS json)) AS BIGINT)"
            case "date":
                return self.moment(expression, "YYYY-MM-DD", arguments)
            case "time":
                return self.moment(expression, "HH24:MI:SS", arguments)
            case "datetime":
                return self.moment(expression, "YYYY-MM-DD HH24:MI:SS", arguments)
            case "strftime":
                return self.formatted(expression, arguments[0], arguments[1:])
            case "unixepoch":
                return f"CAST(FLOOR(EXTRACT(EPOCH FROM {self.time(arguments)})) AS BIGINT)"
            case "julianday":
                seconds = f"CAST(EXTRACT(EPOCH FROM {self.time(arguments)}) AS DOUBLE PRECISION)"
                return f"({seconds} / 86400.0 + 2440587.5)"
        return super().anonymous_sql(expression)

    def table_sql(self, expression: exp.Table, sep: str = " AS ") -> str:
        call = expression.this
        if not (isinstance(call, exp.Anonymous) and str(call.this).lower() == JSON_EACH):
            return super().table_sql(expression, sep)
        items = f"json_array_elements_text(CAST({self.sql(call.expressions[0])} AS json))"
        alias = quoted(expression.alias or JSON_EACH)
        return (
            f'LATERAL (SELECT n - 1 AS "key", v COLLATE "C" AS "value" '  # noqa: S608
            f"FROM {items} WITH ORDINALITY AS _e (v, n)) AS {alias}"
        )

    def collected(self, expression: exp.JSONArrayAgg) -> str:
        return f"CAST(coalesce({self._aggregate('json_agg', expression)}, '[]') AS text)"

    def collected_pairs(self, expression: exp.JSONObjectAgg) -> str:
        pair = expression.expressions
        if len(pair) == 1:
            pair = [pair[0].this, pair[0].expression]
        key, value = self.text(pair[0]), self.json(pair[-1])
        return f"CAST(coalesce(json_object_agg({key}, {value}), '{{}}') AS text)"

    def joined(self, expression: exp.GroupConcat) -> str:
        this, order, distinct = _parts_of(expression.this)
        separator = expression.args.get("separator")
        parts = f"{self.text(this)}, {self.sql(separator) if separator else repr(',')}"
        return f"string_agg({distinct}{parts}{self.sql(order) if order else ''})"

    def _aggregate(self, name: str, expression: exp.Expr) -> str:
        this, order, distinct = _parts_of(expression.this)
        return f"{name}({distinct}{self.json(this)}{self.sql(order) if order else ''})"

    def json_text(self, name: str, expression: exp.Expr) -> str:
        """A function that makes JSON, as text."""
        arguments = []
        for argument in expression.expressions:
            if isinstance(argument, exp.JSONKeyValue):
                arguments += [self.text(argument.this), self.json(argument.expression)]
            else:
                arguments.append(self.json(argument))
        return f"CAST({name}({', '.join(arguments)}) AS text)"

    def json(self, node: exp.Expr) -> str:
        """A value as JSON has it."""
        return json_value(_kind(node), self.sql(node))

    def text(self, node: exp.Expr) -> str:
        """A value as text, as SQLite writes it."""
        sql, kind = self.sql(node), _kind(node)
        if kind in NUMBERS:
            return f"CAST({sql} AS TEXT)"
        if kind is Kind.FLOAT:
            whole = f"{sql} = TRUNC({sql}) AND ABS({sql}) < 1e15"
            return f"(CASE WHEN {whole} THEN CAST({sql} AS BIGINT) || '.0' ELSE CAST({sql} AS TEXT) END)"
        return sql if kind is not None else f"CAST({sql} AS TEXT)"

    def real(self, node: exp.Expr) -> str:
        """A value as a floating number."""
        sql = self.sql(node)
        return sql if _kind(node) is Kind.FLOAT else f"CAST({sql} AS DOUBLE PRECISION)"

    def guarded(self, name: str, node: exp.Expr, condition: str) -> str:
        """A function that is NULL outside of where it is defined."""
        value = self.real(node)
        return f"CASE WHEN {value} {condition} THEN {name}({value}) END"

    def log(self, node: exp.Log) -> str:
        if node.args.get("expression") is None:
            return self.guarded("LOG", node.this, "> 0")
        base, value = (
            self.guarded("LN", node.this, "> 0"),
            self.guarded("LN", node.expression, "> 0"),
        )
        return f"({value}) / NULLIF({base}, 0)"

    def whole(self, name: str, node: exp.Expr) -> str:
        if _kind(node.this) in NUMBERS:
            return self.sql(node.this)
        return f"{name}({self.real(node.this)})"

    def round(self, node: exp.Round) -> str:
        digits = node.args.get("decimals")
        parts = [f"CAST({self.sql(node.this)} AS NUMERIC)"]
        if digits is not None:
            parts.append(f"CAST({self.sql(digits)} AS INTEGER)")
        return f"CAST(ROUND({', '.join(parts)}) AS DOUBLE PRECISION)"

    def extreme(self, name: str, node: exp.Expr) -> str:
        values = [self.sql(value) for value in (node.this, *node.expressions)]
        known = " AND ".join(f"{value} IS NOT NULL" for value in values)
        return f"CASE WHEN {known} THEN {name}({', '.join(values)}) END"

    def shift(self, operator: str, node: exp.Expr) -> str:
        return f"{self.sql(node.this)} {operator} CAST({self.sql(node.expression)} AS INTEGER)"

    def converted(self, node: exp.Cast) -> str:
        target, kind = node.to.this, _kind(node.this)
        if target in exp.DataType.INTEGER_TYPES:
            if kind in NUMBERS:
                return f"CAST({self.sql(node.this)} AS BIGINT)"
            return f"CAST(TRUNC(CAST({self.sql(node.this)} AS NUMERIC)) AS BIGINT)"
        if target in exp.DataType.REAL_TYPES:
            return f"CAST({self.sql(node.this)} AS DOUBLE PRECISION)"
        return f'({self.text(node.this)} COLLATE "C")'

    def part(self, node: exp.Expr, operator: str) -> str:
        """A part of a JSON value by its path."""
        path = node.expression
        steps = [step for step in path.expressions if not isinstance(step, exp.JSONPathRoot)]
        if not all(isinstance(s, exp.JSONPathKey | exp.JSONPathSubscript) for s in steps):
            raise ConfigurationError(f"the path {path} cannot be said in PostgreSQL")
        listed = ", ".join("'" + str(step.this).replace("'", "''") + "'" for step in steps)
        path_sql = f"CAST(ARRAY[{listed}] AS text[])"
        return f"CAST({self.sql(node.this)} AS json) {operator} {path_sql}"

    def typed_part(self, node: exp.Expr) -> str:
        """A part of a JSON value as the JSON that SQLite answers: numbers stay numbers."""
        part = self.part(node, "#>")
        return (
            f"CASE json_typeof({part}) WHEN 'number' THEN {part} WHEN 'null' THEN NULL "
            f"WHEN 'boolean' THEN to_json(CAST(CAST(CAST({part} AS text) AS boolean) AS integer)) "
            f"ELSE to_json({self.part(node, '#>>')}) END"
        )

    def time(self, arguments: Sequence[exp.Expr]) -> str:
        """A time value with its modifiers, in UTC."""
        first = arguments[0]
        first = first.this if isinstance(first, exp.TsOrDsToTimestamp) else first
        text = f"CAST(RTRIM({self.sql(first)}, 'Z') AS TIMESTAMP)"
        for modifier in arguments[1:]:
            said = modifier.name.lower()
            if step := _MODIFIER.fullmatch(said):
                text = f"({text} + INTERVAL '{step[1]} {step[2]}')"
            elif start := _START.fullmatch(said):
                text = f"DATE_TRUNC('{start[1]}', {text})"
            else:
                raise ConfigurationError(f"the modifier {said!r} cannot be said in PostgreSQL")
        return text

    def moment(self, node: exp.Expr, format: str, arguments: Sequence[exp.Expr]) -> str:
        given = [argument for argument in arguments if argument is not None]
        return f"(TO_CHAR({self.time(given)}, '{format}') COLLATE \"C\")"

    def formatted(self, node: exp.Expr, format: exp.Expr, arguments: Sequence[exp.Expr]) -> str:
        if format.name == "%s":
            return f"CAST(FLOOR(EXTRACT(EPOCH FROM {self.time(arguments)})) AS TEXT)"
        parts = re.split(r"(%.)", format.name)
        for part in parts[1::2]:
            if part not in _FORMATS:
                raise ConfigurationError(f"the format {part} cannot be said in PostgreSQL")
        texts = ['"' + part + '"' if part else "" for part in parts[::2]]
        codes = [*(_FORMATS[part] for part in parts[1::2]), ""]
        said = "".join(text + code for text, code in zip(texts, codes, strict=True))
        return self.moment(node, said.replace("'", "''"), arguments)


class ViewPostgres(Postgres):
    """The dialect of view queries on PostgreSQL."""

    Generator = ViewGenerator


def _stands_as_condition(node: exp.Expr) -> bool:
    return _needs_condition(node) or isinstance(node.parent, exp.Escape | exp.Filter)


def _is_plain_output(node: exp.Expr) -> bool:
    """Whether it is answered as it is: JSON has no order and cannot be grouped."""
    output = node.parent if isinstance(node.parent, exp.Alias) else node
    select = output.parent
    if not isinstance(select, exp.Select) or select.parent is not None:
        return False
    if output.arg_key != "expressions" or select.args.get("group") or select.args.get("distinct"):
        return False
    order = select.args.get("order")
    terms = [term.this for term in order.expressions] if order is not None else []
    return all(term != node and term.name != output.alias_or_name for term in terms)


def _beside_number(node: exp.Expr) -> bool:
    parent = node.parent
    if not isinstance(parent, exp.Binary | exp.Between | exp.In):
        return isinstance(parent, exp.Sum | exp.Avg)
    others = [child for child in parent.iter_expressions() if child is not node]
    return any(_kind(other) in (*NUMBERS, Kind.FLOAT) for other in others)


def _parts_of(node: exp.Expr) -> tuple[exp.Expr, exp.Order | None, str]:
    """An aggregate's value, its order, and DISTINCT."""
    order = node if isinstance(node, exp.Order) else None
    value = order.this if order is not None else node
    if isinstance(value, exp.Distinct):
        inner = value.expressions[0]
        if isinstance(inner, exp.Order):
            order, inner = inner, inner.this
        value, distinct = inner, "DISTINCT "
    else:
        distinct = ""
    if order is not None:
        order = order.copy()
        order.set("this", None)
    return value, order, distinct
