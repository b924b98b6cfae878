"""The rows that carts leave in the journal: the same bytes for the bare loops as for the runtime.

Everything about the file comes from the SQLite adapter itself: its connection, schema and insert
statement. So a journal filled here is one that a node opens.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import apsw

from eventmill.adapters.sqlite.connection import open_writer
from eventmill.adapters.sqlite.statements import SCHEMA, SQL
from eventmill.adapters.sqlite.store import SCHEMA_VERSION
from eventmill.runtime.dispatch.courier import NAME as COURIER

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CARTS: Final = 1_000
COMMANDS: Final = 200_000
"""How many commands the in-process rows send: the index grows with the journal and inserts get
dearer, so rates compare only at the same length."""
SOURCE: Final = "cart"
TYPE: Final = "ItemAdded"
PAYLOAD: Final = b'{"sku":"sku-3","quantity":1}'
INSERT: Final = SQL["insert_entry"]
BEGAN_MICROSECONDS: Final = 1_795_000_000_000_000
UNIQUE: Final = "CREATE UNIQUE INDEX by_hand ON entry (source, subject, sequence)"
"""What a store of events written by hand has, to find an entity's events and to refuse a second
one of the same number. Ours does both without it at the time of the commit (docs/adr/0017)."""
FILE: Final = "eventmill.db"
FILL_GROUP: Final = 50_000
SCATTER: Final = 48_271
"""A prime: each pass visits every cart once, neighbours far apart, as callers would."""


def new_journal(folder: Path, synchronous: str = "FULL") -> apsw.Connection:
    """Create an empty journal as a node would, with the names that carts need."""
    folder.mkdir(parents=True, exist_ok=True)
    db = open_writer(folder / FILE, synchronous=synchronous)
    db.execute(f"BEGIN IMMEDIATE; {SCHEMA}; PRAGMA user_version = {SCHEMA_VERSION}; COMMIT")
    db.executemany(SQL["insert_name"], [(1, SOURCE), (2, TYPE)])
    return db


def rows(after: int, count: int, carts: int) -> Iterator[tuple[object, ...]]:
    """Yield the rows at positions above `after`: carts in scattered order, sequences gap-free."""
    for index in range(after, after + count):
        yield (
            index + 1,
            1,
            f"cart-{index * SCATTER % carts}",
            index // carts + 1,
            2,
            1,
            BEGAN_MICROSECONDS + index,
            PAYLOAD,
            None,
            None,
        )


def fill(folder: Path, *, events: int, carts: int) -> None:
    """Make a journal of that many events; durable once, at the end.

    The courier has seen them all, as it had when they were written one by one.
    """
    db = new_journal(folder, synchronous="OFF")
    for after in range(0, events, FILL_GROUP):
        with db:
            db.executemany(INSERT, rows(after, min(FILL_GROUP, events - after), carts))
    db.execute(SQL["file_all"])
    db.execute(SQL["all_filed"])
    courier = {"subscription": COURIER, "shard": 0, "position": events, "expected": 0}
    db.execute(SQL["move_offset"], courier)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    os.sync()
