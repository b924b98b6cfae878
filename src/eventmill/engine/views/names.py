"""Names: what the tables, columns and aliases of a query refer to.

Second station. sqlglot's `qualify` expands stars, natural joins and aliases and puts the table
before each column; what it leaves alone or gets wrong is a problem of the query, reported here with
the nearest known name. Afterwards every `Column` node of the tree is bound: to a column of a view's
table, to the output of a subquery, or to an item of `json_each`.

Invariant: a bound tree names only columns of row types, so `_key` and `rowid` cannot be reached.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from sqlglot import exp
from sqlglot.errors import OptimizeError, SqlglotError
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import Scope, traverse_scope

from eventmill.engine.views.problems import Problems, nearest_or_all
from eventmill.engine.views.schema import Column, Table
from eventmill.engine.views.syntax import DIALECT, JSON_EACH

LOGICAL = "view_table"
"""Mark on a `Table` node that stands for a view's table; survives copies of the tree."""

JSON_EACH_COLUMNS = frozenset({"key", "value", "type", "atom", "id", "parent", "fullkey", "path"})


@dataclass
class Bound:
    """A query whose names are understood. Keys are `id(node)` of nodes of `tree`."""

    tree: exp.Query
    scopes: list[Scope]
    tables: dict[str, Table]
    """Those that the query reads, by name."""
    columns: dict[int, Column] = field(default_factory=dict)
    """`Column` node → column of a view's table."""
    outputs: dict[int, exp.Expr] = field(default_factory=dict)
    """`Column` node → the expression in a subquery, or in the own SELECT, that it names."""
    scope_of: dict[int, Scope] = field(default_factory=dict)
    """SELECT or UNION node → its scope."""


def bind(query: exp.Query, tables: Mapping[str, Table], problems: Problems) -> Bound | None:
    """Bind every name; note those that refer to nothing. None if any was noted."""
    before = len(problems.found)
    unknown = _check_tables(query, tables, problems)
    schema: dict[str, object] = {
        table.name: {column.name.lower(): "TEXT" for column in table.columns}
        for table in tables.values()
    }
    try:
        tree = qualify(
            _with_named_items(query.copy(), tables),
            schema=schema,
            dialect=DIALECT,
            validate_qualify_columns=False,
            allow_partial_qualification=True,
            quote_identifiers=False,
            identify=False,
        )
    except (OptimizeError, SqlglotError) as error:
        if not unknown:
            problems.add(f"{error}; put the table before each column: t.column")
        return None
    bound = Bound(tree, traverse_scope(tree), {})
    for scope in bound.scopes:
        bound.scope_of[id(scope.expression)] = scope
        _bind_tables(scope, tables, bound)
    for scope in bound.scopes:
        for column in scope.find_all(exp.Column):
            _bind_column(column, scope, bound, problems)
    for part in tree.find_all(exp.Dot):
        problems.add(f"{part.sql(DIALECT)}: write column ->> 'name' for a part of a value", part)
    return bound if len(problems.found) == before else None


def select_of(bound: Bound, query: exp.Expr) -> exp.Select:
    """Return the SELECT that names a query's columns: a UNION's are those of its first."""
    while not isinstance(query, exp.Select):
        query = query.this
    return query


def _check_tables(
    query: exp.Query, tables: Mapping[str, Table], problems: Problems
) -> list[exp.Table]:
    unknown = []
    for scope in traverse_scope(query):
        known = {*tables, *(name for name in scope.cte_sources)}
        for table in scope.tables:
            if isinstance(table.this, exp.Anonymous):
                continue
            if table.db:
                problems.add(f"{table.sql(DIALECT)}: name the table alone", table)
            elif table.name.lower() not in known:
                hint = nearest_or_all(table.name, tables)
                problems.add(f"unknown table {table.name!r}{hint}", table)
            else:
                continue
            unknown.append(table)
    return unknown


def _with_named_items(query: exp.Query, tables: Mapping[str, Table]) -> exp.Query:
    """Put its name before the columns of each json_each: `qualify` does not know them."""
    for scope in traverse_scope(query):
        functions = [t for t in scope.tables if isinstance(t.this, exp.Anonymous)]
        known = [tables[t.name.lower()] for t in scope.tables if t.name.lower() in tables]
        for function in functions:
            if not function.alias:
                function.set("alias", exp.TableAlias(this=exp.to_identifier(JSON_EACH)))
            for column in scope.columns:
                name = column.name.lower()
                if column.table or name not in JSON_EACH_COLUMNS or len(functions) > 1:
                    continue
                if not any(table.column(name) for table in known):
                    column.set("table", exp.to_identifier(function.alias))
    return query


def _bind_tables(scope: Scope, tables: Mapping[str, Table], bound: Bound) -> None:
    for source in scope.sources.values():
        if isinstance(source, exp.Table) and isinstance(source.this, exp.Identifier):
            table = tables.get(source.name.lower())
            if table is not None:
                source.meta[LOGICAL] = table.name
                bound.tables[table.name] = table


def _bind_column(node: exp.Column, scope: Scope, bound: Bound, problems: Problems) -> None:
    if isinstance(node.this, exp.Star):
        return
    if node.args.get("db"):
        problems.add(f"{node.sql(DIALECT)}: name at most a table and a column", node)
    elif not node.table:
        _bind_output(node, scope, bound, problems)
    else:
        source = _source(node.table, scope)
        if source is None:
            known = {name for outer in _chain(scope) for name in outer.sources}
            hint = nearest_or_all(node.table, known)
            problems.add(f"unknown table or alias {node.table!r}{hint}", node)
        elif not _bind_to(node, source, bound):
            hint = nearest_or_all(node.name, _names(source, bound))
            problems.add(f"unknown column {node.table}.{node.name}{hint}", node)


def _bind_to(node: exp.Column, source: exp.Table | Scope, bound: Bound) -> bool:
    """Bind to a column of one source; whether it has it."""
    if isinstance(source, Scope):
        outputs = _outputs(source)
        if node.name.lower() not in outputs:
            return False
        bound.outputs[id(node)] = outputs[node.name.lower()]
        return True
    if LOGICAL not in source.meta:
        return not isinstance(source.this, exp.Anonymous) or node.name.lower() in JSON_EACH_COLUMNS
    column = bound.tables[source.meta[LOGICAL]].column(node.name)
    if column is None:
        return False
    node.set("this", exp.to_identifier(column.name, quoted=True))
    bound.columns[id(node)] = column
    return True


def _bind_output(node: exp.Column, scope: Scope, bound: Bound, problems: Problems) -> None:
    """Bind a column that no table was found for: an output's name in ORDER BY, or a mistake."""
    query = scope.expression
    name = node.name.lower()
    order = node.find_ancestor(exp.Order, exp.Window, exp.Select, exp.SetOperation)
    if isinstance(order, exp.Order) and order.parent is query:
        outputs = _outputs(scope)
        if name in outputs:
            bound.outputs[id(node)] = outputs[name]
            return
    sources = [source for outer in _chain(scope) for source in outer.sources.values()]
    if any(_is_unknown(source) for source in sources):
        return  # the table is noted already
    having = _aliases_with(name, scope, bound)
    if len(having) == 1:
        node.set("table", exp.to_identifier(having[0]))
        _bind_column(node, scope, bound, problems)
        return
    if having:
        choice = " or ".join(f"{alias}.{node.name}" for alias in having)
        problems.add(f"column {node.name!r} is ambiguous: write {choice}", node)
        return
    known = {name for source in sources for name in _names(source, bound)}
    hint = nearest_or_all(node.name, known)
    if node.name.startswith("$"):
        hint = f"; write parameters as :{node.name[1:]}"
    problems.add(f"unknown column {node.name!r}{hint}", node)


def _aliases_with(name: str, scope: Scope, bound: Bound) -> list[str]:
    """The sources that have a column: of the innermost scope that has one."""
    for outer in _chain(scope):
        having = [alias for alias, s in outer.sources.items() if name in _names(s, bound)]
        if having:
            return having
    return []


def _is_unknown(source: exp.Table | Scope) -> bool:
    return (
        isinstance(source, exp.Table)
        and LOGICAL not in source.meta
        and not isinstance(source.this, exp.Anonymous)
    )


def _source(alias: str, scope: Scope) -> exp.Table | Scope | None:
    for outer in _chain(scope):
        source = outer.sources.get(alias)
        if source is not None:
            return source
    return None


def _chain(scope: Scope) -> Iterator[Scope]:
    """The scope and, for a correlated subquery, those around it."""
    current: Scope | None = scope
    while current is not None:
        yield current
        current = current.parent


def _outputs(scope: Scope) -> dict[str, exp.Expr]:
    query = scope.expression
    while isinstance(query, exp.SetOperation | exp.Subquery):
        query = query.this
    assert isinstance(query, exp.Query)
    names = [name.lower() for name in query.named_selects]
    return dict(zip(_renamed(scope, names), query.selects, strict=False))


def _renamed(scope: Scope, names: list[str]) -> list[str]:
    """A CTE or derived table may name its columns itself: `WITH x(a, b) AS …`."""
    owner = scope.expression.parent
    alias = owner.args.get("alias") if isinstance(owner, exp.CTE | exp.Subquery) else None
    own = [column.name.lower() for column in alias.columns] if alias else []
    return own + names[len(own) :]


def _names(source: exp.Table | Scope, bound: Bound) -> set[str]:
    if isinstance(source, Scope):
        return set(_outputs(source))
    if LOGICAL in source.meta:
        return {column.name.lower() for column in bound.tables[source.meta[LOGICAL]].columns}
    return set(JSON_EACH_COLUMNS) if isinstance(source.this, exp.Anonymous) else set()
