"""Connections to the one file, and where SQLite's errors become ours.

The writer runs WAL with `synchronous=FULL`: a commit is on the disk before it is acknowledged.
No memory mapping (SQLite's WAL-reset bug was made worse by it), no trusted schema. apsw brings a
SQLite of 3.51.3 or later, which has that bug fixed; older ones are refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from eventmill.errors import ConfigurationError, Conflict, StoreFull, StoreUnavailable

FILE = "eventmill.db"

WAL_PAGES_MAX = 4_000
"""Pages in the write-ahead log before a checkpoint: 16 MB, about 50,000 small events."""

CACHE_KIBIBYTES = 64 << 10
BUSY_MILLISECONDS = 2_000
SQLITE_NEEDED = (3, 51, 3)

# Each connection is used by one thread at a time: nobody writes until a COMMIT on the writer's thread
# has returned, and queries have connections of their own. So SQLite need not lock one for every value.
_WRITING = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_NOMUTEX
_READING = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_NOMUTEX


def open_writer(
    path: Path,
    *,
    synchronous: str,
    vfs: str | None = None,
    checkpoint_pages: int = WAL_PAGES_MAX,
) -> apsw.Connection:
    """Open the only writing connection.

    Raises `ConfigurationError` if the file cannot be used, `StoreUnavailable` on I/O errors.
    """
    if tuple(map(int, apsw.sqlite_lib_version().split("."))) < SQLITE_NEEDED:
        raise ConfigurationError(
            f"SQLite {apsw.sqlite_lib_version()} can corrupt a write-ahead log; install apsw "
            "3.51.3 or later"
        )
    with errors():
        db = apsw.Connection(str(path), flags=_WRITING, vfs=vfs)
        db.set_busy_timeout(BUSY_MILLISECONDS)
        # The row must be read: an I/O error while switching can otherwise pass unnoticed.
        (mode,) = next(db.execute("PRAGMA journal_mode = wal"))
        if mode != "wal":
            raise ConfigurationError(f"{path}: SQLite stays in journal mode {mode!r}, not 'wal'")
        db.execute(f"PRAGMA synchronous = {synchronous}")
        db.execute(f"PRAGMA wal_autocheckpoint = {checkpoint_pages}")
        db.execute(f"PRAGMA cache_size = -{CACHE_KIBIBYTES}")
        db.execute("PRAGMA mmap_size = 0")
        db.execute("PRAGMA trusted_schema = OFF")
        db.execute("PRAGMA foreign_keys = OFF")
    return db


def open_reader(path: Path, vfs: str | None = None) -> apsw.Connection:
    """Open a connection that cannot write. It reads whatever the writer wrote: only queries of
    views are held to sizes (`view_query.restrict`)."""
    with errors():
        db = apsw.Connection(str(path), flags=_READING, vfs=vfs)
        db.set_busy_timeout(BUSY_MILLISECONDS)
        db.execute(f"PRAGMA cache_size = -{CACHE_KIBIBYTES}")
        db.execute("PRAGMA query_only = ON")
        db.execute("PRAGMA trusted_schema = OFF")
        # As in PostgreSQL; besides, LIKE 'prefix%' can then use an index.
        db.execute("PRAGMA case_sensitive_like = ON")
    return db


@contextmanager
def errors() -> Iterator[None]:
    """Turn the driver's errors into the store's."""
    try:
        yield
    except apsw.FullError as error:
        raise StoreFull(
            "the data directory's disk is full; free some space, work resumes by itself"
        ) from error
    except apsw.ConstraintError as error:
        raise Conflict(f"somebody else wrote first: {error}") from error
    except (apsw.NotADBError, apsw.CorruptError) as error:
        raise ConfigurationError(
            f"the data file is damaged or is no Eventmill store ({error}); restore a backup"
        ) from error
    except apsw.Error as error:
        raise StoreUnavailable(f"the data file cannot be used now: {error}") from error
