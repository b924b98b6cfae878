"""Rows of a table in memory: read once, changed by a batch, encoded once per key, bounded.

Place on the road: beneath a reaction that keeps rows. The cache holds only rows that are committed or
belong to the batch under way; whoever folds empties it when that batch was not committed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from eventmill.model import limits
from eventmill.model.commit import Rows
from eventmill.ports.store import ViewTables


class Codec(Protocol):
    """How a row is stored."""

    def encode(self, key: str, row: Any, /) -> tuple[Any, ...]:
        """Return the key and the columns of a row.

        Raises `HandlerFailed` if the row cannot be kept.
        """
        ...

    def encode_all(self, rows: dict[str, Any], /) -> list[tuple[Any, ...]]:
        """Return what `encode` makes of each row by key.

        Raises `HandlerFailed` as that.
        """
        ...

    def decode(self, values: tuple[Any, ...], /) -> Any:
        """Return the row of columns, without the key."""
        ...

    def size_of(self, stored: Sequence[Any], /) -> int:
        """Return roughly how many bytes a key and its columns have."""
        ...

    def size_of_all(self, stored: list[tuple[Any, ...]], /) -> int:
        """Return the size of rows together."""
        ...


class TableRows:
    """Rows of one table, as far as they are in memory.

    `is_new` says that the table is empty now: then every row there is, is in memory, and none has
    to be looked for, until memory gets too small for all of them.
    """

    bytes = 0
    """Came into memory since it was empty, what has been replaced meanwhile included."""

    def __init__(self, physical: str, codec: Codec, store: ViewTables, *, is_new: bool) -> None:
        self.physical = physical
        self._codec = codec
        self._store = store
        self.rows: dict[str, Any] = {}
        """The current ones by key, as far as they have been fetched; None is no row."""
        self._changed: set[str] = set()
        """Keys whose rows are not encoded yet."""
        self._encoded: dict[str, tuple[Any, ...] | None] = {}
        """What the batch changed."""
        self.is_complete = is_new
        """Whether every row there is, is in memory."""

    async def fetch(self, keys: Iterable[str]) -> bool:
        """Read rows that are not in memory; a key without a row has None. Say whether that were all:
        it reads as many as the store does in one go."""
        if self.is_complete:
            return True
        missing = [key for key in dict.fromkeys(keys) if key not in self.rows]
        return not missing or await self.read(missing) == len(missing)

    async def read(self, keys: list[str]) -> int:
        """Read rows as they are stored; return of how many keys."""
        rows, looked = await self._store.rows(self.physical, keys)
        for key in keys[:looked]:
            self._changed.discard(key)
            self._encoded.pop(key, None)
            self.rows[key] = None
        decode, size_of = self._codec.decode, self._codec.size_of
        for stored in rows:
            self.rows[stored[0]] = decode(stored[1:])
            self.bytes += size_of(stored)
        return looked

    def has(self, key: str) -> bool:
        """Whether it is known what the row of a key is."""
        return self.is_complete or key in self.rows

    def put(self, key: str, row: Any) -> None:
        """Take the new row, or None."""
        self.rows[key] = row
        self._changed.add(key)

    def check(self, key: str) -> None:
        """Raise `HandlerFailed` if the row cannot be kept."""
        row = self.rows.get(key)
        if row is not None:
            self._codec.encode(key, row)

    def clear(self) -> None:
        """Forget everything."""
        self._changed.clear()
        self._encoded.clear()
        self._empty()

    def refresh(self) -> None:
        """Forget what has been read. A new table that nobody has read yet stays known as empty."""
        if self.rows:
            self.clear()

    def encode(self) -> None:
        """Encode what changed since the last call.

        Raises `HandlerFailed` if a row cannot be kept.
        """
        changed = {key: self.rows[key] for key in self._changed}
        kept = {key: row for key, row in changed.items() if row is not None}
        stored = self._codec.encode_all(kept)
        self._encoded.update(dict.fromkeys(changed))
        self._encoded.update(zip(kept, stored, strict=True))
        self.bytes += self._codec.size_of_all(stored)
        self._changed.clear()

    def changes(self) -> Rows | None:
        """Return what the batch changed, encoded; bounds the memory."""
        if not self._encoded:
            return None
        encoded, self._encoded = self._encoded, {}
        keys = sorted(encoded)  # as the table is: neighbours are written to the same page
        upserts = [row for key in keys if (row := encoded[key]) is not None]
        deletes = [key for key in keys if encoded[key] is None]
        rows = Rows(self.physical, upserts, deletes)
        if len(self.rows) > limits.VIEW_ROWS_CACHED or self.bytes > limits.VIEW_BYTES_CACHED:
            self._empty()
        return rows

    def _empty(self) -> None:
        self.rows.clear()
        self.bytes = 0
        self.is_complete = False
