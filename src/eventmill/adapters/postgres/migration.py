"""The schema's versions: applied when a node opens the store, in a transaction, one node at a time.

Rules (docs/adr/0013): a migration only adds, so code of the version before goes on working on the
schema while a cluster is updated node by node; what nobody uses any more is removed one version
later, with `-- needs:` naming the oldest code that does without it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.resources import files
from typing import NamedTuple

import asyncpg

from eventmill.adapters.postgres.connection import SCHEMA, Connection
from eventmill.errors import ConfigurationError

_NEEDS = re.compile(r"^-- needs: (\d+)$", re.MULTILINE)

_FIRST = """
CREATE SCHEMA IF NOT EXISTS eventmill;
CREATE TABLE IF NOT EXISTS eventmill.migration (
    version integer PRIMARY KEY,
    needs   integer NOT NULL,
    applied timestamptz NOT NULL DEFAULT statement_timestamp()
);
INSERT INTO eventmill.migration (version, needs) VALUES (0, 0) ON CONFLICT DO NOTHING;
"""
"""Row 0 is the lock: whoever has it migrates."""


class Migration(NamedTuple):
    """One step of the schema."""

    version: int
    needs: int
    """Version of the oldest code that can work on the schema afterwards."""
    sql: str


def stored() -> list[Migration]:
    """Return the steps that this code brings, in order."""
    found = []
    folder = files(__package__).joinpath("schema")
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        text = file.read_text()
        needs = _NEEDS.search(text)
        assert needs is not None, f"{file.name} says no '-- needs: N'"
        found.append(Migration(int(file.name[:4]), int(needs[1]), text))
    return found


async def migrate(connection: Connection, steps: Sequence[Migration] | None = None) -> None:
    """Bring the schema to this code's version, unless it is newer.

    Raises `ConfigurationError` if a newer schema cannot be used by this code.
    """
    steps = stored() if steps is None else steps
    mine = steps[-1].version
    await prepare(connection)
    async with connection.transaction():
        await connection.execute("SELECT FROM migration WHERE version = 0 FOR UPDATE")
        rows = await connection.fetch("SELECT version, needs FROM migration ORDER BY version")
        newest = rows[-1]
        if newest["needs"] > mine:
            raise ConfigurationError(
                f"the store has schema {newest['version']}, which needs code of schema "
                f"{newest['needs']} or later; this is code of schema {mine}: update Eventmill"
            )
        for step in steps:
            if step.version > newest["version"]:
                await connection.execute(step.sql)
                await connection.execute(
                    "INSERT INTO migration (version, needs) VALUES ($1, $2)",
                    step.version,
                    step.needs,
                )


async def prepare(connection: Connection) -> None:
    """Make the table of what was applied, whose first row is the lock; not inside a transaction."""
    if await connection.fetchval("SELECT to_regclass($1)", f"{SCHEMA}.migration"):
        return
    try:
        await connection.execute(_FIRST)
    except (asyncpg.UniqueViolationError, asyncpg.DuplicateObjectError):
        await connection.execute(_FIRST)  # another node was faster by a moment
