"""SQL text for the tables of views. Names are quoted here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from eventmill.adapters import view_indexes
from eventmill.engine.views.postgres import identifier
from eventmill.model.table import Affinity, PhysicalTable

INDEXES = """
SELECT i.relname, t.relname FROM pg_index AS x
JOIN pg_class AS i ON i.oid = x.indexrelid JOIN pg_class AS t ON t.oid = x.indrelid
WHERE NOT x.indisprimary AND t.relnamespace = current_schema()::regnamespace
"""
"""Name and table of the indexes that views asked for."""

READABLE = """
SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace
  AND relkind = 'r' AND has_table_privilege(oid, 'SELECT')
"""
"""Tables that a query may read."""

COLUMNS = """
SELECT attname, format_type(atttypid, NULL) FROM pg_attribute
WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
"""Name and type of a table's columns, in order."""

TABLES = """
SELECT coalesce(obj_description(t.oid, 'pg_class'), t.relname),
    array_agg(coalesce(col_description(t.oid, a.attnum), a.attname) ORDER BY a.attnum),
    array_agg(format_type(a.atttypid, NULL) ORDER BY a.attnum)
FROM pg_class AS t JOIN pg_attribute AS a ON a.attrelid = t.oid
WHERE t.relnamespace = current_schema()::regnamespace AND t.relkind = 'r'
  AND a.attnum > 0 AND NOT a.attisdropped AND EXISTS (
    SELECT FROM pg_attribute WHERE attrelid = t.oid AND attnum = 1 AND attname = '_key')
GROUP BY t.oid, t.relname ORDER BY t.relname
"""
"""Views' tables, with names and types of their columns, the key first."""

_TYPES = {
    Affinity.INTEGER: "bigint",
    Affinity.REAL: "double precision",
    Affinity.TEXT: 'text COLLATE "C"',
}


def quoted(name: str) -> str:
    """Return an identifier that SQL takes as it is."""
    return '"' + identifier(name).replace('"', '""') + '"'


def create(table: PhysicalTable, found: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Return what makes a table and its indexes; `found` are the indexes there are."""
    columns = "".join(f", {quoted(name)} {_TYPES[kind]}" for name, kind in table.columns)
    key = f"_key {_TYPES[Affinity.TEXT]} PRIMARY KEY"
    yield f"CREATE TABLE IF NOT EXISTS {quoted(table.name)} ({key}{columns})"
    yield from _whole_names(table)
    yield from view_indexes.changes(table, found, quoted, identifier)


def kinds(names: Iterable[str], types: Iterable[str]) -> tuple[tuple[str, Affinity], ...]:
    """Return the columns of a table as they were asked for, without the key."""
    found = {kind.partition(" COLLATE")[0]: affinity for affinity, kind in _TYPES.items()}
    return tuple((name, found[type]) for name, type in zip(names, types, strict=True))[1:]


def _whole_names(table: PhysicalTable) -> Iterator[str]:
    """Keep as comments the names that are too long for PostgreSQL: an export needs them."""
    whole = [(f"TABLE {quoted(table.name)}", table.name)] + [
        (f"COLUMN {quoted(table.name)}.{quoted(name)}", name) for name, _ in table.columns
    ]
    for what, name in whole:
        if identifier(name) != name:
            text = name.replace("'", "''")
            yield f"COMMENT ON {what} IS '{text}'"


def drop(name: str) -> str:
    """Return what removes a table."""
    return f"DROP TABLE IF EXISTS {quoted(name)}"


def grant(table: str, role: str) -> str:
    """Return what lets a role read a table."""
    return f"GRANT SELECT ON {quoted(table)} TO {quoted(role)}"


@lru_cache(256)
def select(table: str, columns: Sequence[tuple[str, str]]) -> str:
    """Return what reads the rows of an array of keys, in its order, until their texts reach a number
    of bytes; with each row comes how many they are up to there."""
    names = ", ".join(quoted(name) for name, _ in columns)
    texts = [quoted(name) for name, kind in columns if kind == "text"]
    weight = " + ".join(f"coalesce(octet_length({name}), 0)" for name in texts)
    return (
        f'SELECT {names}, "$sum" FROM ('  # noqa: S608 - the names are quoted
        f'SELECT t.*, w."$size", sum(w."$size") OVER (ORDER BY k.nth ROWS UNBOUNDED PRECEDING) '
        f'AS "$sum", k.nth AS "$nth" '
        f"FROM unnest($1::text[]) WITH ORDINALITY AS k (key, nth) "
        f"JOIN {quoted(table)} AS t ON t._key = k.key "
        f'CROSS JOIN LATERAL (SELECT {weight} AS "$size") AS w) AS weighed '
        f'WHERE "$sum" - "$size" < $2::bigint ORDER BY "$nth"'
    )


@lru_cache(256)
def upsert(table: str, columns: Sequence[tuple[str, str]], prefix: str) -> str:
    """Return what writes rows, given as one array a column, named by prefix and number."""
    names = [quoted(name) for name, _ in columns]
    arrays = ", ".join(f":{prefix}{nth}::{kind}[]" for nth, (_, kind) in enumerate(columns))
    changed = ", ".join(f"{name} = excluded.{name}" for name in names[1:])
    action = f"UPDATE SET {changed}" if changed else "NOTHING"
    return (
        f"INSERT INTO {quoted(table)} SELECT * FROM unnest({arrays}) "  # noqa: S608 - quoted
        f"ON CONFLICT (_key) DO {action}"
    )


@lru_cache(256)
def delete(table: str, parameter: str) -> str:
    """Return what removes the rows of an array of keys."""
    return f"DELETE FROM {quoted(table)} WHERE _key = ANY (:{parameter}::text[])"  # noqa: S608 - quoted
