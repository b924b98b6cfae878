"""A whole view, compiled: what the start checks, the projector and the store need of it."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from eventmill.engine.views.compiled import CompiledQuery
from eventmill.engine.views.fingerprint import Feed, view_fingerprint
from eventmill.engine.views.indexes import Index, derive_indexes
from eventmill.engine.views.query import compile_query
from eventmill.engine.views.schema import Table, table_of
from eventmill.errors import ConfigurationError
from eventmill.model.definition import ViewDefinition, ViewHandler, ViewQuery


@dataclass(frozen=True)
class CompiledView:
    """A view's tables, queries and indexes by their logical names."""

    id: str
    tables: dict[str, Table]
    queries: dict[str, CompiledQuery]
    indexes: tuple[Index, ...]
    fingerprint: str
    """Of the stored rows: another one means that the view is built anew."""


def compile_view(definition: ViewDefinition) -> CompiledView:
    """Compile a view.

    Raises `ConfigurationError` with every problem of its rows and queries in
    `details["problems"]`, each naming its place.
    """
    problems: list[str] = []
    tables: dict[str, Table] = {}
    for table in definition.tables.values():
        try:
            tables[table.name] = table_of(table.row, table.name, view=definition.id)
        except ConfigurationError as error:
            problems += error.details.get("problems", [error.message])
    queries: dict[str, CompiledQuery] = {}
    if not problems:  # otherwise each query would complain about the same columns again
        for name, query in definition.queries.items():
            try:
                queries[name] = _compile(query, tables, view=definition.id, name=name)
            except ConfigurationError as error:
                problems += error.details.get("problems", [error.message])
    if problems:
        raise ConfigurationError("\n".join(problems), details={"problems": problems})
    feeds = map(_feed, definition.handlers)
    return CompiledView(
        definition.id,
        tables,
        queries,
        derive_indexes(queries.values()),
        view_fingerprint(tables.values(), feeds, definition.version),
    )


def _compile(query: ViewQuery, tables: dict[str, Table], *, view: str, name: str) -> CompiledQuery:
    handler = query.handler
    handler.resolve()
    fields = msgspec.structs.fields(handler.arguments_type)
    parameters = {field.name: field.type for field in fields}
    return compile_query(query.sql, tables, parameters, handler.result_type, view=view, query=name)


def _feed(handler: ViewHandler) -> Feed:
    stored = {kind.cls: kind.name for kind in handler.source.event_types.values()}
    names = (stored.get(cls, cls.__name__) for cls in handler.route.types)
    return Feed(handler.source.id, handler.table, tuple(sorted(names)))
