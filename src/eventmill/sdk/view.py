"""Views: typed rows made of events, queried with SQL."""

from __future__ import annotations

import inspect
import re
from typing import Any, ClassVar

import msgspec

from eventmill.errors import ConfigurationError
from eventmill.model.definition import (
    Retry,
    ViewDefinition,
    ViewHandler,
    ViewQuery,
    ViewTable,
)
from eventmill.model.problems import Problems
from eventmill.sdk.component import id_of, place_of
from eventmill.sdk.context import Context
from eventmill.sdk.handlers import ON, Query, SqlQuery
from eventmill.sdk.reaction import (
    check_annotated,
    check_context,
    check_types,
    hints_of,
    issubclass_of,
    members_of,
    route_of,
    source_of,
)


class Record(msgspec.Struct):
    """Base of a view's rows: typed fields become columns."""


class View:
    """Rows made of events.

    Nested `Record` classes that its handlers take or return are its tables: a single one is named
    like the view (`-` and `.` become `_`), several are named after their classes in snake case.
    `@on(source)` methods take the event and the current row of the event's subject and return the
    new row, or None to delete it.
    """

    version: ClassVar[int] = 1
    """Raise it when a handler's meaning changes: the view is then rebuilt beside the old one."""
    ignore_unknown: ClassVar[bool] = False
    """Skip events of types that the source does not declare instead of parking them."""


def define_view(cls: type[View]) -> ViewDefinition:
    """Read a view class.

    Raises `ConfigurationError` that tells every problem and names its method.
    """
    problems = Problems()
    view = read_view(cls, problems)
    problems.refuse()
    return view


def read_view(cls: type[View], problems: Problems) -> ViewDefinition:
    """Read a view class, noting its problems; what is broken is missing from the definition."""
    id, place = id_of(cls), place_of(cls)
    tables: dict[str, ViewTable] = {}
    with problems.noting(place):
        tables = _tables_of(cls, id)
    marked = [function for function in vars(cls).values() if hasattr(function, ON)]
    if not marked:
        problems.found.append(f"{place}: a view needs at least one @on(source) handler")
    handlers = []
    for function in marked:
        with problems.noting(place_of(function)):
            handlers.append(_handler_of(cls, function, tables))
    problems.found += [
        f'{value.place}: a view\'s query needs SQL: @query("SELECT …")'
        for value in vars(cls).values()
        if isinstance(value, Query) and not isinstance(value, SqlQuery)
    ]
    queries = {}
    for name, value in vars(cls).items():
        if isinstance(value, SqlQuery):
            with problems.noting(value.place):
                value.resolve()
                if tables:  # else every query would miss them, too
                    queries[name] = ViewQuery(value, value.sql)
    return ViewDefinition(
        id, cls, tables, handlers, queries, cls.version, cls.ignore_unknown, Retry()
    )


def _tables_of(cls: type[View], id: str) -> dict[str, ViewTable]:
    rows = [value for value in vars(cls).values() if issubclass_of(value, Record)]
    for row in rows:
        check_annotated(row)
    if not rows:
        raise ConfigurationError(f"{place_of(cls)}: declare the rows as a nested class Row(Record)")
    # The others only type what queries return.
    written = [row for row in rows if _is_written(cls, row)] or rows
    if len(written) == 1:
        name = re.sub(r"[-.]", "_", id)
        return {name: ViewTable(name, written[0])}
    return {_snake(row): ViewTable(_snake(row), row) for row in written}


def _is_written(cls: type[View], row: type) -> bool:
    for function in vars(cls).values():
        _, table = getattr(function, ON, ((), None))
        if table is not None:
            hints = hints_of(function, cls).values()
            if table == _snake(row) or any(row in members_of(hint) for hint in hints):
                return True
    return False


def _snake(row: type) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", row.__name__).lower()


def _handler_of(cls: type, function: Any, tables: dict[str, ViewTable]) -> ViewHandler:
    sources, table = getattr(function, ON)
    place, problems = f"@on handler {place_of(function)}", Problems()
    if inspect.iscoroutinefunction(function):
        problems.found.append(f"{place}: a view only folds events into rows: no async")
    with problems.noting():
        _check_parameters(cls, function, place)
        if tables:  # else that is the problem
            table = _table_of(cls, function, table, tables)
    source = route = None
    with problems.noting():
        if len(sources) != 1:
            raise ConfigurationError(f"{place}: name one source: @on(Cart) or @on(topic)")
        source = source_of(sources[0], place, function, cls)
    with problems.noting():
        route = route_of(function, cls)
    if source is not None and route is not None:
        with problems.noting():
            check_types(route.types, source, sources[0], place)
    problems.refuse()
    assert source is not None
    assert route is not None
    return ViewHandler(source, route, table)


def _check_parameters(cls: type, function: Any, place: str) -> None:
    parameters = list(inspect.signature(function).parameters)
    if len(parameters) < 3:
        raise ConfigurationError(
            f"{place}: it takes (self, event, row) and, if it wants, a Context"
        )
    if parameters[2] != "row" and issubclass_of(
        hints_of(function, cls).get(parameters[2]), Context
    ):
        raise ConfigurationError(
            f"{place}: it takes the current row before the Context: (self, event, row, ctx)"
        )
    check_context(function, 3, cls)


def _table_of(cls: type, function: Any, table: str, tables: dict[str, ViewTable]) -> str:
    place = f"@on handler {place_of(function)}"
    if not table:
        third = list(inspect.signature(function).parameters)[2]
        table = _table_by_row(hints_of(function, cls).get(third), tables, place)
    if table not in tables:
        raise ConfigurationError(f"{place}: unknown table {table!r}; there is {', '.join(tables)}")
    return table


def _table_by_row(annotation: Any, tables: dict[str, ViewTable], place: str) -> str:
    if len(tables) == 1:
        return next(iter(tables))
    members = members_of(annotation)
    matches = [table.name for table in tables.values() if table.row in members]
    if len(matches) != 1:
        raise ConfigurationError(
            f"{place}: annotate `row` with the row class of the table it changes, or name it: "
            "@on(source, table=…)"
        )
    return matches[0]
