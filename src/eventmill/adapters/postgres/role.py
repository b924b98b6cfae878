"""The role that view queries run as: it may select from the tables of views and nothing else.

Roles are the server's, so each database has one of its own. Who may not create it can be given it;
without it queries run as the node's user, in transactions that cannot write.
"""

from __future__ import annotations

import asyncpg
import structlog

from eventmill.adapters.postgres import view_sql
from eventmill.adapters.postgres.connection import SCHEMA, Connection
from eventmill.adapters.postgres.writer import fetch
from eventmill.engine.views.postgres import identifier

log = structlog.get_logger("eventmill.store")

PREFIX = "eventmill_reader_"


async def reader_role(connection: Connection) -> str | None:
    """Return the role, made if it is missing and this user may make it; None if it may not be used.

    Called under the store's lock, in a transaction.
    """
    name = await role_name(connection)
    quoted = view_sql.quoted(name)
    ((exists, may_create),) = await fetch(connection, "reader", role=name)
    statements = [f"GRANT USAGE ON SCHEMA {SCHEMA} TO {quoted}", f"SET LOCAL ROLE {quoted}"]
    if not exists:
        if not may_create:
            log.info("view queries run as the node's own user: it may not create a role", role=name)
            return None
        statements = [f"CREATE ROLE {quoted}", f"GRANT {quoted} TO CURRENT_USER", *statements]
    try:
        async with connection.transaction():
            for statement in statements:
                await connection.execute(statement)
        await connection.execute("RESET ROLE")
    except asyncpg.InsufficientPrivilegeError as error:
        log.warning("view queries run as the node's own user", role=name, error=str(error))
        return None
    return name


async def role_name(connection: Connection) -> str:
    """Return the name of the database's role, whether there is one or not."""
    return identifier(PREFIX + await connection.fetchval("SELECT current_database()"))
