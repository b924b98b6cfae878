"""What a database holds, seen from outside: which types are stored, what is not delivered yet.
Read-only, also beside running nodes.

All is read in one transaction, which sees one moment.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from eventmill.adapters.postgres import view_sql
from eventmill.adapters.postgres.connection import SCHEMA, Connection, connect_patiently, errors
from eventmill.adapters.postgres.journal import entries_of
from eventmill.adapters.postgres.parking import letter_of
from eventmill.adapters.postgres.text import loaded
from eventmill.adapters.postgres.writer import fetch
from eventmill.errors import ConfigurationError
from eventmill.model.census import StoredType, Subscriber
from eventmill.model.commit import Letter
from eventmill.model.entry import COMMANDS, DELETED, DELTAS, STEP, Entry

SAMPLES = 20
"""Of each type, from either end of the journal."""
COMMANDS_MAX = 10_000
"""Undelivered commands, timers and deltas looked at."""
LETTERS_MAX = 10_000

_decode_entry = msgspec.msgpack.Decoder(Entry).decode


async def stored_types(dsn: str) -> list[StoredType]:
    """Count and sample what the journal holds, without sent commands and deltas.

    Raises `ConfigurationError` if there is no store.
    """
    async with _reading(dsn) as connection:
        kinds = [
            StoredType(source, type, version, outside, count, first, last, [], sequence > 0)
            for source, type, version, outside, count, first, last, sequence in await fetch(
                connection, "stored_types", hidden=[COMMANDS, DELTAS]
            )
        ]
        for kind in kinds:
            key = _key_of(kind)
            ends = [
                await fetch(connection, name, limit=SAMPLES, **key)
                for name in ("alike", "alike_last")
            ]
            kind.samples = [(position, payload) for rows in ends for position, payload in rows]
        return kinds


async def payloads(dsn: str, kind: StoredType) -> list[tuple[int, bytes]]:
    """Return position and payload of all entries of a type, shard by shard."""
    async with _reading(dsn) as connection:
        rows = await fetch(connection, "alike", limit=kind.count, **_key_of(kind))
        return [(position, payload) for position, payload in rows]


async def progresses(dsn: str, workflow: str) -> list[tuple[str, bytes]]:
    """Return id and newest progress of the workflows of a component that are not deleted."""
    async with _reading(dsn) as connection:
        rows = await fetch(connection, "newest", source=workflow, types=[STEP, DELETED])
        return [(loaded(id), payload) for id, type, payload in rows if type == STEP]


async def rows(dsn: str, table: str) -> list[tuple[Any, ...]]:
    """Return the rows of a table of a view or transform; none if there is no such table."""
    async with _reading(dsn) as connection:
        if not await connection.fetch(view_sql.COLUMNS, view_sql.quoted(table)):
            return []
        found = await connection.fetch(f"SELECT * FROM {view_sql.quoted(table)}")  # noqa: S608
        return [tuple(loaded(v) if isinstance(v, str) else v for v in row) for row in found]


async def waiting_commands(dsn: str, courier: str) -> list[tuple[str, Entry]]:
    """Return commands that timers or the courier have still to deliver, and where each waits."""
    async with _reading(dsn) as connection:
        sent = await _behind(connection, courier, COMMANDS)
        waiting = [(f"sent command {entry.id}", entry) for entry in sent]
        timers = await fetch(connection, "all_timers", after="", limit=COMMANDS_MAX, bytes=1 << 40)
        return waiting + [
            (f"timer {loaded(name)!r}", _decode_entry(command)) for name, _, command in timers
        ]


async def waiting_deltas(dsn: str, compactor: str) -> list[Entry]:
    """Return changes of replicated entities that are not in their stored states yet."""
    async with _reading(dsn) as connection:
        return await _behind(connection, compactor, DELTAS)


async def letters(dsn: str) -> list[Letter]:
    """Return the letters that are parked, also refused ones."""
    async with _reading(dsn) as connection:
        rows = await fetch(connection, "first_letters", limit=LETTERS_MAX)
        return [letter_of(row) for row in rows]


async def subscribers(dsn: str) -> list[Subscriber]:
    """Return every subscription that has left something, by name."""
    async with _reading(dsn) as connection:
        return [Subscriber(*row) for row in await fetch(connection, "subscribers")]


async def _behind(connection: Connection, subscription: str, source: str) -> list[Entry]:
    """Return the entries of a source that a subscription has not come to yet."""
    rows = await fetch(
        connection, "behind", source=source, subscription=subscription, limit=COMMANDS_MAX
    )
    return entries_of(rows)


def _key_of(kind: StoredType) -> dict[str, Any]:
    return {
        "source": kind.source,
        "type": kind.type,
        "version": kind.version,
        "outside": kind.is_outside,
    }


@asynccontextmanager
async def _reading(dsn: str) -> AsyncIterator[Connection]:
    connection = await connect_patiently(dsn)
    try:
        with errors():
            if not await connection.fetchval("SELECT to_regclass($1)", f"{SCHEMA}.shard"):
                raise ConfigurationError(f"the database holds no store: no schema {SCHEMA!r}")
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                yield connection
    finally:
        connection.terminate()
