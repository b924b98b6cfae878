"""Working on a store without starting a node: export, import, census, health.

The engine is chosen here as it is for a running node; the CLI knows none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from eventmill.adapters.lines import Progress
from eventmill.adapters.sqlite import archive, census
from eventmill.adapters.sqlite.census import Health
from eventmill.adapters.sqlite.connection import SQLITE_NEEDED
from eventmill.adapters.sqlite.store import SCHEMA_VERSION
from eventmill.model.archive import End
from eventmill.model.census import StoredType, Subscriber
from eventmill.model.commit import Letter
from eventmill.model.entry import Entry
from eventmill.node.engine import postgres
from eventmill.runtime.dispatch.courier import NAME as COURIER
from eventmill.runtime.replicated.log import NAME as COMPACTOR

__all__ = [
    "SCHEMA_VERSION",
    "SQLITE_NEEDED",
    "Health",
    "StoredType",
    "Subscriber",
    "export",
    "health",
    "letters",
    "payloads",
    "progresses",
    "restore",
    "rows",
    "stored_types",
    "subscribers",
    "waiting_commands",
    "waiting_deltas",
]


def export(data: Path, store: str, file: IO[bytes], progress: Progress) -> End:
    """Write everything a store holds as lines: a data directory's, also beside a running node, or
    that of the URL `store`, while no node runs.

    Raises `ConfigurationError` if there is no store of this version.
    """
    if not store:
        return archive.export(data, file, progress)
    end: End = asyncio.run(postgres("archive", store).export(store, file, progress))
    return end


def restore(
    data: Path, store: str, shards: int | None, file: Iterable[bytes], progress: Progress
) -> End:
    """Make a store from exported lines, all of it or nothing: in a data directory, or at the URL
    `store`.

    Raises `ConfigurationError` if there is a store already, `InvalidPayload` for a bad file.
    """
    if not store:
        return archive.restore(data, file, progress)
    end: End = asyncio.run(postgres("restoring", store).restore(store, shards, file, progress))
    return end


def stored_types(data: Path, store: str, progress: Progress) -> list[StoredType]:
    """Count and sample what the journal holds: of a data directory, or of the URL `store`.

    Raises `ConfigurationError` if there is no store.
    """
    if not store:
        return census.stored_types(data, progress)
    found: list[StoredType] = asyncio.run(postgres("census", store).stored_types(store))
    return found


def payloads(data: Path, store: str, kind: StoredType) -> Iterable[tuple[int, bytes]]:
    """Return position and payload of all entries of a stored type, in order."""
    if not store:
        return census.payloads(data, kind)
    found: list[tuple[int, bytes]] = asyncio.run(postgres("census", store).payloads(store, kind))
    return found


def progresses(data: Path, store: str, workflow: str) -> Iterable[tuple[str, bytes]]:
    """Return id and newest progress of the workflows of a component that are not deleted."""
    if not store:
        return census.progresses(data, workflow)
    found: list[tuple[str, bytes]] = asyncio.run(
        postgres("census", store).progresses(store, workflow)
    )
    return found


def rows(data: Path, store: str, table: str) -> Iterable[tuple[Any, ...]]:
    """Return the rows of a table of a view or transform; none if there is no such table."""
    if not store:
        return census.rows(data, table)
    found: list[tuple[Any, ...]] = asyncio.run(postgres("census", store).rows(store, table))
    return found


def waiting_commands(data: Path, store: str) -> list[tuple[str, Entry]]:
    """Return commands still to be delivered, and where each waits.

    Raises `ConfigurationError` if there is no store.
    """
    if not store:
        return census.waiting_commands(data, COURIER)
    found: list[tuple[str, Entry]] = asyncio.run(
        postgres("census", store).waiting_commands(store, COURIER)
    )
    return found


def waiting_deltas(data: Path, store: str) -> list[Entry]:
    """Return changes of replicated entities that are not in their stored states yet."""
    if not store:
        return census.waiting_deltas(data, COMPACTOR)
    found: list[Entry] = asyncio.run(postgres("census", store).waiting_deltas(store, COMPACTOR))
    return found


def letters(data: Path, store: str) -> list[Letter]:
    """Return the letters that are parked, also refused ones."""
    if not store:
        return census.letters(data)
    found: list[Letter] = asyncio.run(postgres("census", store).letters(store))
    return found


def subscribers(data: Path, store: str) -> list[Subscriber]:
    """Return every subscription that has offsets or letters in a store.

    Raises `ConfigurationError` if there is no store.
    """
    if not store:
        return census.subscribers(data)
    found: list[Subscriber] = asyncio.run(postgres("census", store).subscribers(store))
    return found


def health(directory: Path, *, thorough: bool) -> Health:
    """Examine a data directory's file.

    Raises `ConfigurationError` if it cannot be read as a store at all.
    """
    return census.health(directory, thorough=thorough)
