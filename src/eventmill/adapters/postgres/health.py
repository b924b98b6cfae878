"""How a PostgreSQL server and its database are, seen from outside: whether a node could run on them.

Read-only, also beside running nodes: what is missing is told, not made.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from eventmill.adapters.postgres import migration
from eventmill.adapters.postgres.connection import (
    SCHEMA,
    Connection,
    check_usable,
    connect,
    errors,
    survives_power_failures,
)
from eventmill.adapters.postgres.role import role_name
from eventmill.adapters.postgres.view_sql import quoted
from eventmill.adapters.postgres.writer import fetch
from eventmill.errors import ConfigurationError
from eventmill.model.finding import Finding

TESTED: Final = 18
"""Major version of the server that the test suite runs on."""

_MAY = """
SELECT current_user, current_database(), to_regnamespace($1) IS NOT NULL,
    has_database_privilege(current_database(), 'CREATE'),
    EXISTS (SELECT FROM pg_namespace WHERE nspname = $1
        AND has_schema_privilege(oid, 'USAGE') AND has_schema_privilege(oid, 'CREATE'))
"""

_STRANGERS = """
SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class
WHERE relnamespace = to_regnamespace($1) AND relkind IN ('r', 'p')
    AND NOT pg_has_role(relowner, 'USAGE')
"""
"""Owners of tables that this user may not change."""


async def examine(dsn: str) -> AsyncIterator[Finding]:
    """Tell how the server and the database are.

    Raises `ConfigurationError` if the server refuses, `StoreUnavailable` if it does not answer.
    """
    connection = await connect(dsn, default_transaction_read_only="on")
    try:
        with errors():
            yield await _server(connection)
            yield await _durability(connection)
            permissions = await _permissions(connection)
            yield permissions
            if permissions.status == "ok":  # else it may not even read what is there
                yield await _schema(connection)
            yield await _view_role(connection)
    finally:
        connection.terminate()


async def _server(connection: Connection) -> Finding:
    found = connection.get_server_version()
    ((user, database),) = await connection.fetch("SELECT current_user, current_database()")
    text = f"{found.major}.{found.minor}, database {database!r} as {user!r}"
    if found.major < TESTED:
        return Finding("postgresql", "warn", f"{text}; tested with {TESTED} and later: update it")
    return Finding("postgresql", "ok", text)


async def _durability(connection: Connection) -> Finding:
    try:
        await check_usable(connection)
    except ConfigurationError as error:
        return Finding("durability", "fail", error.message)
    if not await survives_power_failures(connection):
        advice = "fsync is off: a power failure destroys the data; turn it on, restart the server"
        return Finding("durability", "warn", advice)
    return Finding("durability", "ok", "acknowledged commits are synced")


async def _schema(connection: Connection) -> Finding:
    mine = migration.stored()[-1].version
    if not await connection.fetchval("SELECT to_regclass($1)", f"{SCHEMA}.migration"):
        return Finding("schema", "ok", "none in this database: made at the first start")
    newest = await connection.fetchrow(
        "SELECT version, needs FROM migration ORDER BY version DESC LIMIT 1"
    )
    version, needs = newest or (0, 0)
    if needs > mine:
        text = f"version {version} needs code of {needs} or later, this is {mine}: update Eventmill"
        return Finding("schema", "fail", text)
    later = f", brought to {mine} at the next start" if version < mine else ""
    return Finding("schema", "ok", f"version {version}{later}")


async def _permissions(connection: Connection) -> Finding:
    """Whether this user may do what a start does: make the schema, or change what is in it."""
    ((role, database, exists, may_create, may_change),) = await connection.fetch(_MAY, SCHEMA)
    user, missing = quoted(role), []
    if not exists and not may_create:
        missing.append(f"GRANT CREATE ON DATABASE {quoted(database)} TO {user}")
    if exists and not may_change:
        missing.append(f"GRANT USAGE, CREATE ON SCHEMA {SCHEMA} TO {user}")
    owners = await connection.fetch(_STRANGERS, SCHEMA)
    missing += [f"GRANT {quoted(owner)} TO {user}" for (owner,) in owners]
    if missing:
        text = f"{role!r} may not make or change tables here: {'; '.join(missing)}"
        return Finding("permissions", "fail", text)
    return Finding("permissions", "ok", f"{role!r} may make and change tables")


async def _view_role(connection: Connection) -> Finding:
    name = await role_name(connection)
    ((exists, may_create),) = await fetch(connection, "reader", role=name)
    may_use = exists and await connection.fetchval("SELECT pg_has_role($1, 'MEMBER')", name)
    if may_use or (may_create and not exists):
        text = f"queries run as {name}" if exists else f"{name} is made at the first start"
        return Finding("view role", "ok", text)
    user = quoted(await connection.fetchval("SELECT current_user"))
    make = "" if exists else f"CREATE ROLE {quoted(name)}; "
    advice = f"view queries run as the node's own user: {make}GRANT {quoted(name)} TO {user}"
    return Finding("view role", "warn", advice)
