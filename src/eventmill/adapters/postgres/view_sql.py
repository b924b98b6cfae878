"""SQL text for the tables of views. Names are quoted here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from eventmill.engine.views.postgres import identifier
from eventmill.model.table import Affinity, PhysicalTable

INDEXES = """
SELECT i.relname, t.relname FROM pg_index AS x
JOIN pg_class AS i ON i.oid = x.indexrelid JOIN pg_class AS t ON t.oid = x.indrelid
WHERE NOT x.indisprimary AND t.relnamespace = current_schema()::regnamespace
"""
"""Name and table of the indexes that views asked for."""

COLUMNS = """
SELECT attname, format_type(atttypid, NULL) FROM pg_attribute
WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
"""Name and type of a table's columns, in order."""

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
    wanted = {identifier(index.name) for index in table.indexes}
    present = {name for name, owner in found if owner == identifier(table.name)}
    for name in sorted(present - wanted):
        yield f"DROP INDEX IF EXISTS {quoted(name)}"
    for index in table.indexes:
        listed = ", ".join(quoted(column) for column in index.columns)
        yield f"CREATE INDEX IF NOT EXISTS {quoted(index.name)} ON {quoted(table.name)} ({listed})"


def drop(name: str) -> str:
    """Return what removes a table."""
    return f"DROP TABLE IF EXISTS {quoted(name)}"


@lru_cache(256)
def select(table: str) -> str:
    """Return what reads the rows of an array of keys."""
    return f"SELECT * FROM {quoted(table)} WHERE _key = ANY ($1::text[])"  # noqa: S608 - the name is quoted


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
