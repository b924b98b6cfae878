"""Queries: a view's SQL, compiled once at start.

`compile_query` takes a query through all stations and reports every problem at once. What comes out,
`compiled.CompiledQuery`, runs on any version of the view's tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eventmill.engine.views import postgres
from eventmill.engine.views.checks import check_bound, check_lists
from eventmill.engine.views.compiled import CompiledQuery
from eventmill.engine.views.inference import Inference
from eventmill.engine.views.kinds import FieldType, Kind
from eventmill.engine.views.names import bind
from eventmill.engine.views.paging import SIZE, TOKEN, sort_keys
from eventmill.engine.views.parameters import check_use, parameter_types
from eventmill.engine.views.problems import Problems
from eventmill.engine.views.rendering import mark_json_arguments
from eventmill.engine.views.result import Cardinality, Output, outputs_of, result_of
from eventmill.engine.views.schema import Table
from eventmill.engine.views.syntax import parse_query


def compile_query(
    sql: str,
    tables: Mapping[str, Table],
    parameters: Mapping[str, Any],
    result_type: Any,
    *,
    view: str,
    query: str,
) -> CompiledQuery:
    """Compile a query against the tables of its view.

    Parameters: `parameters` are the method's, with their annotations, in its order; `result_type`
    is what the method is annotated to return.

    Raises `ConfigurationError` with every problem in `details["problems"]`, each naming view,
    query and, where it is in the SQL, line and column.
    """
    problems = Problems(view, query, sql)
    fields = parameter_types(parameters, problems)
    result = result_of(result_type, problems)
    paged = result is not None and result.cardinality is Cardinality.PAGE
    own = frozenset({TOKEN, SIZE}) if paged else frozenset()
    if paged:
        _check_page_parameters(fields, problems)
    parsed = parse_query(sql, problems)
    if parsed is not None:
        check_use(parsed, parameters, own, problems)
        check_lists(parsed, fields, problems)
    bound = bind(parsed, tables, problems) if parsed is not None else None
    outputs: list[Output] = []
    if bound is not None and parsed is not None:
        inference = Inference(bound, fields)
        check_bound(bound, inference, problems)
        if result is not None:
            star = any(node.is_star for node in parsed.selects)
            outputs = outputs_of(bound, result, inference, star, problems)
        if paged and (bound.tree.args.get("limit") or bound.tree.args.get("offset")):
            problems.add("page_size limits a Page: leave out LIMIT and OFFSET")
        mark_json_arguments(bound.tree, inference)
        postgres.mark_kinds(bound.tree, inference, fields)
    problems.raise_if_any()
    assert bound is not None
    assert result is not None
    keys = sort_keys(bound) if paged else ()
    return CompiledQuery(view, query, sql, bound, fields, result, tuple(outputs), keys)


def _check_page_parameters(fields: Mapping[str, FieldType], problems: Problems) -> None:
    token, size = fields.get(TOKEN), fields.get(SIZE)
    if token is None or token.kind is not Kind.TEXT or not token.nullable:
        problems.add("a method that returns a Page takes page_token: str | None = None")
    if size is not None and size.kind is not Kind.INTEGER:
        problems.add("page_size is an int")
