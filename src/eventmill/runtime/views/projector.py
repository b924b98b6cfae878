"""The projector: a view's reaction. Events and current rows in, changed rows out.

Place on the road: the end of dispatch. Rows of a portion are read once, folded in memory, encoded
once per key; those of a batch are written in the same commit as the offset. A batch ends early when
its rows bring as many bytes as one commit may have, a portion when those that are stored do.

Invariants: handlers are pure, so a key's events may be folded again; the cache holds only rows that
are committed or belong to the batch under way, and is emptied when that batch was not committed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from itertools import takewhile
from typing import Any

from eventmill.engine.views.schema import RowCodec, Table
from eventmill.errors import HandlerFailed
from eventmill.model import limits
from eventmill.model.commit import Commit, Rows
from eventmill.model.definition import ViewDefinition, ViewHandler
from eventmill.model.entry import DELETED, STATE, Entry
from eventmill.model.events import EntityDeleted
from eventmill.ports.store import ViewTables
from eventmill.runtime.dispatch.consumer import SKIP, event_of, skipped_by
from eventmill.runtime.dispatch.reaction import Queue, Reacted, queue_of
from eventmill.sdk.context import Context

_KEPT = (DELETED, STATE)


class TableRows:
    """Rows of one table of one version of a view, as far as they are in memory.

    `is_new` says that the table is empty now: then every row there is, is in memory, and none has
    to be looked for, until memory gets too small for all of them.
    """

    bytes = 0
    """Came into memory since it was empty, what has been replaced meanwhile included."""

    def __init__(
        self, table: Table, physical: str, store: ViewTables, view: str, *, is_new: bool
    ) -> None:
        self.physical = physical
        self._codec: RowCodec[Any] = RowCodec(table.row, table, view=view)
        self._store = store
        self.rows: dict[str, Any] = {}
        """The current ones by key, as far as they have been fetched; None is no row."""
        self._changed: set[str] = set()
        """Keys whose rows are not encoded yet."""
        self._encoded: dict[str, tuple[Any, ...] | None] = {}
        """What the batch changed."""
        self._is_complete = is_new

    async def fetch(self, keys: Iterable[str]) -> bool:
        """Read rows that are not in memory; a key without a row has None. Say whether that were all:
        it reads as many as the store does in one go."""
        if self._is_complete:
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
        return self._is_complete or key in self.rows

    def put(self, key: str, row: Any) -> None:
        """Take the row that a handler returned, or None."""
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
        self._is_complete = False


class _Step:
    """How the entries of one source change one table."""

    __slots__ = ("function", "kinds", "source", "table", "takes_context", "types")

    def __init__(self, handler: ViewHandler, table: TableRows) -> None:
        route, self.source = handler.route, handler.source
        self.function, self.types = route.function, route.types
        self.takes_context = route.takes_context
        self.table = table
        self.kinds = {
            name: kind
            for name, kind in self.source.event_types.items()
            if not route.types or kind.cls in route.types
        }
        """By stored name, the events that it takes."""


class Projector:
    """The reaction that keeps one version of a view."""

    batch = limits.VIEW_BATCH
    exclusive = True
    whole = True
    waits = False
    quiet = 0.0

    def __init__(
        self,
        definition: ViewDefinition,
        tables: dict[str, TableRows],
        changed: Callable[[], None],
    ) -> None:
        self.definition = definition
        self.retry = definition.retry
        self.tables = tables
        self.sources = frozenset(handler.source.id for handler in definition.handlers)
        # Rows of a deleted entity go whatever the handlers take, so that type is never skipped.
        skips = [skipped_by(h.source, h.route.types) for h in definition.handlers]
        takes = {
            (h.source.id, name)
            for h, skip in zip(definition.handlers, skips, strict=True)
            for name in h.source.event_types
            if (h.source.id, name) not in skip
        }
        self.skipped = frozenset(
            pair for skip in skips for pair in skip if pair not in takes and pair[1] not in _KEPT
        )
        self._steps: dict[str, list[_Step]] = {}
        for handler in definition.handlers:
            step = _Step(handler, tables[handler.table])
            self._steps.setdefault(handler.source.id, []).append(step)
        self._view = definition.cls()
        self._name = definition.id
        self._uncommitted = False
        self._changed = changed
        self._has_changes = False
        self._portion = limits.VIEW_PORTION_FIRST
        """Entries whose rows are held in memory before their bytes are counted."""

    async def react(self, entries: list[Entry], attempt: int) -> Reacted:
        if self._uncommitted:
            self._clear()
        self._uncommitted = True
        try:
            return await self._react(entries, is_careful=False)
        except HandlerFailed:
            # Rows are encoded once per key and batch; to find whose row cannot be kept, again.
            self._clear()
            return await self._react(entries, is_careful=True)

    async def _react(self, entries: list[Entry], *, is_careful: bool) -> Reacted:
        reacted = Reacted()
        failed: set[Queue] = set()
        done: list[Entry] = []
        size = start = 0
        while start < len(entries) and size < limits.COMMIT_BYTES_MAX:
            if start:
                await asyncio.sleep(0)  # a long batch lets commands pass
            before = self._bytes
            portion = await self._fetch(entries[start : start + self._portion])
            start += len(portion)
            await self._fold_all(portion, reacted, failed, done, is_careful=is_careful)
            self._encode()
            size += self._bytes - before
            self._resize(len(portion), self._bytes - before)
        reacted.left = entries[start:]
        changes = [change for table in self.tables.values() if (change := table.changes())]
        self._has_changes = bool(changes)
        reacted.fills.append(lambda commit: _write(commit, changes, size))
        return reacted

    async def _fold_all(
        self,
        entries: list[Entry],
        reacted: Reacted,
        failed: set[Queue],
        done: list[Entry],
        *,
        is_careful: bool,
    ) -> None:
        for entry in entries:
            if failed and queue_of(entry) in failed:
                reacted.behind.append(entry)
                continue
            try:
                self._fold(entry)
                if is_careful:
                    self._check(entry)
                done.append(entry)
            except Exception as error:  # user code may raise anything; the entry is parked
                failed.add(queue_of(entry))
                reacted.failed.append((entry, error))
                await self._undo(entry.subject, done)

    @property
    def _bytes(self) -> int:
        return sum(table.bytes for table in self.tables.values())

    def _encode(self) -> None:
        for table in self.tables.values():
            table.encode()

    def _resize(self, entries: int, size: int) -> None:
        """Let the next portion bring as many bytes as one commit may, if its rows are like these;
        it grows slowly, in case they are not."""
        fitting = limits.COMMIT_BYTES_MAX * entries // max(1, size)
        self._portion = max(1, min(fitting, 2 * self._portion, limits.DISPATCH_BATCH))

    def _clear(self) -> None:
        for rows in self.tables.values():
            rows.clear()

    def _check(self, entry: Entry) -> None:
        for rows in self.tables.values():
            rows.check(entry.subject)

    def committed(self) -> None:
        """The last batch is durable."""
        self._uncommitted = False
        if self._has_changes:
            self._changed()

    def taken(self, ends: Mapping[int, int]) -> None:
        """Rows of these shards may have changed elsewhere."""
        for rows in self.tables.values():
            rows.refresh()

    def _fold(self, entry: Entry) -> None:
        subject = entry.subject
        for step in self._steps[entry.source]:
            kind = step.kinds.get(entry.type)
            if kind is not None:  # the usual case
                event = kind.decode(entry.payload, entry.version)
            elif entry.type == DELETED and EntityDeleted not in step.types:
                if step.table.rows.get(subject) is not None:
                    step.table.put(subject, None)
                continue
            else:
                ignore_unknown = self.definition.ignore_unknown
                event = event_of(step.source, entry, step.types, ignore_unknown)
                if event is SKIP:
                    continue
            row = step.table.rows.get(subject)
            if step.takes_context:
                new = step.function(self._view, event, row, Context(entry, self._name))
            else:
                new = step.function(self._view, event, row)
            if new is not None or row is not None:
                step.table.put(subject, new)

    async def _fetch(self, entries: list[Entry]) -> list[Entry]:
        """Read the rows of entries; return the first ones, whose rows are in memory now."""
        for source, steps in self._steps.items():
            keys = [entry.subject for entry in entries if entry.source == source]
            for table in {step.table for step in steps}:
                if not await table.fetch(keys):
                    entries = _before_unknown(entries, source, table)
        return entries

    async def _undo(self, subject: str, done: list[Entry]) -> None:
        """A handler may have changed the row in place before it failed: fold the subject anew."""
        for table in self.tables.values():
            await table.read([subject])
        for entry in done:
            if entry.subject == subject:
                self._fold(entry)


def _before_unknown(entries: list[Entry], source: str, table: TableRows) -> list[Entry]:
    known = (e.source != source or table.has(e.subject) for e in entries)
    return entries[: sum(1 for _ in takewhile(bool, known))]


def _write(commit: Commit, changes: list[Rows], size: int) -> None:
    commit.rows += changes
    commit.bytes += size
