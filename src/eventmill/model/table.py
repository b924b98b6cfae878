"""Physical tables of views, as plain data: what a store is asked to make."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Affinity(StrEnum):
    """What a column stores; names that SQLite and PostgreSQL translate to their own."""

    INTEGER = "integer"
    REAL = "real"
    TEXT = "text"


class TableIndex(msgspec.Struct, frozen=True):
    """An index; its name is unique in the store and says what it is on."""

    name: str
    columns: tuple[str, ...]


class PhysicalTable(msgspec.Struct, frozen=True):
    """A table whose first column `_key` holds the row's subject and is the primary key."""

    name: str
    columns: tuple[tuple[str, Affinity], ...]
    """Name and affinity, without `_key`, in the order of a row's values."""
    indexes: tuple[TableIndex, ...] = ()
