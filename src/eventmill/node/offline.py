"""Working on a data directory without starting a node: export, import, census, health.

The engine is chosen here as it is for a running node; the CLI knows none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO

from eventmill.adapters.sqlite import archive, census
from eventmill.adapters.sqlite.census import Health, StoredType, Subscriber
from eventmill.adapters.sqlite.connection import SQLITE_NEEDED
from eventmill.adapters.sqlite.store import SCHEMA_VERSION
from eventmill.model.archive import End
from eventmill.model.entry import Entry
from eventmill.runtime.courier import NAME as COURIER

__all__ = [
    "SCHEMA_VERSION",
    "SQLITE_NEEDED",
    "Health",
    "StoredType",
    "Subscriber",
    "export",
    "health",
    "restore",
    "stored_types",
    "subscribers",
    "waiting_commands",
]

Progress = Callable[[int, int], None]
"""Told now and then: done, in all."""


def export(directory: Path, file: IO[bytes], progress: Progress) -> End:
    """Write everything a data directory holds as lines; also beside a running node.

    Raises `ConfigurationError` if there is no store of this version.
    """
    return archive.export(directory, file, progress)


def restore(directory: Path, file: Iterable[bytes], progress: Progress) -> End:
    """Make a data directory from exported lines, all of it or nothing.

    Raises `ConfigurationError` if it holds a store already, `InvalidPayload` for a bad file.
    """
    return archive.restore(directory, file, progress)


def stored_types(directory: Path, progress: Progress) -> list[StoredType]:
    """Count and sample what the journal holds.

    Raises `ConfigurationError` if there is no store.
    """
    return census.stored_types(directory, progress)


def waiting_commands(directory: Path) -> list[tuple[str, Entry]]:
    """Return commands still to be delivered, and where each waits.

    Raises `ConfigurationError` if there is no store.
    """
    return census.waiting_commands(directory, COURIER)


def subscribers(directory: Path) -> list[Subscriber]:
    """Return every subscription that has an offset or letters in a data directory.

    Raises `ConfigurationError` if there is no store.
    """
    return census.subscribers(directory)


def health(directory: Path, *, thorough: bool) -> Health:
    """Examine a data directory's file.

    Raises `ConfigurationError` if it cannot be read as a store at all.
    """
    return census.health(directory, thorough=thorough)
