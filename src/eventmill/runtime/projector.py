"""The projector: a view's reaction. Events and current rows in, changed rows out.

Place on the road: the end of dispatch. Rows of a batch are read once, folded in memory, encoded
once per key, and written in the same commit as the offset.

Invariants: handlers are pure, so a key's events may be folded again; the cache holds only rows that
are committed or belong to the batch under way, and is emptied when that batch was not committed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from eventmill.engine.views.schema import RowCodec, Table
from eventmill.errors import HandlerFailed
from eventmill.model import limits
from eventmill.model.commit import Commit, Rows
from eventmill.model.definition import ViewDefinition, ViewHandler
from eventmill.model.entry import DELETED, STATE, Entry
from eventmill.model.events import EntityDeleted
from eventmill.ports.store import ViewTables
from eventmill.runtime.consumer import SKIP, event_of, skipped_by
from eventmill.runtime.reaction import Queue, Reacted, queue_of
from eventmill.sdk.context import Context

_KEPT = (DELETED, STATE)


class TableRows:
    """Rows of one table of one version of a view, as far as they are in memory.

    `is_new` says that the table is empty now: then every row there is, is in memory, and none has
    to be looked for, until memory gets too small for all of them.
    """

    def __init__(
        self, table: Table, physical: str, store: ViewTables, view: str, *, is_new: bool
    ) -> None:
        self.physical = physical
        self._codec: RowCodec[Any] = RowCodec(table.row, table, view=view)
        self._store = store
        self._rows: dict[str, Any] = {}
        self._changed: set[str] = set()
        self._is_complete = is_new

    async def fetch(self, keys: Iterable[str]) -> None:
        """Read rows that are not in memory; a key without a row has None."""
        if self._is_complete:
            return
        missing = [key for key in dict.fromkeys(keys) if key not in self._rows]
        if missing:
            await self.read(missing)

    async def read(self, keys: list[str]) -> None:
        """Read rows as they are stored."""
        self._changed.difference_update(keys)
        self._rows.update(dict.fromkeys(keys))
        decode = self._codec.decode
        for key, *values in await self._store.rows(self.physical, keys):
            self._rows[key] = decode(tuple(values))

    def get(self, key: str) -> Any:
        """Return the current row; it must have been fetched."""
        return self._rows.get(key)

    def put(self, key: str, row: Any) -> None:
        """Take the row that a handler returned, or None."""
        self._rows[key] = row
        self._changed.add(key)

    def check(self, key: str) -> None:
        """Raise `HandlerFailed` if the row cannot be kept."""
        row = self._rows.get(key)
        if row is not None:
            self._codec.encode(key, row)

    def clear(self) -> None:
        """Forget everything."""
        self._rows.clear()
        self._changed.clear()
        self._is_complete = False

    def refresh(self) -> None:
        """Forget what has been read. A new table that nobody has read yet stays known as empty."""
        if self._rows:
            self.clear()

    def changes(self) -> Rows | None:
        """Return what changed since the last call; bounds the memory.

        Raises `HandlerFailed` if a row cannot be kept.
        """
        if not self._changed:
            return None
        rows = Rows(self.physical, [], [])
        # In the order of the table: neighbours are written to the same page.
        for key in sorted(self._changed):
            row = self._rows[key]
            if row is None:
                rows.deletes.append(key)
            else:
                rows.upserts.append(self._codec.encode(key, row))
        self._changed = set()
        if len(self._rows) > limits.VIEW_ROWS_CACHED:
            self._rows.clear()
            self._is_complete = False
        return rows


class Projector:
    """The reaction that keeps one version of a view."""

    batch = limits.VIEW_BATCH
    exclusive = True

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
        self._handlers: dict[str, list[ViewHandler]] = {}
        for handler in definition.handlers:
            self._handlers.setdefault(handler.source.id, []).append(handler)
        self._view = definition.cls()
        self._name = definition.id
        self._uncommitted = False
        self._changed = changed
        self._has_changes = False

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
        await self._fetch(entries)
        reacted = Reacted()
        failed: set[Queue] = set()
        done: list[Entry] = []
        for number, entry in enumerate(entries, 1):
            if number % limits.DISPATCH_BATCH == 0:
                await asyncio.sleep(0)  # a long batch lets commands pass
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
        changes = [change for table in self.tables.values() if (change := table.changes())]
        self._has_changes = bool(changes)
        reacted.fills.append(lambda commit: _write(commit, changes))
        return reacted

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
        for handler in self._handlers[entry.source]:
            route = handler.route
            table = self.tables[handler.table]
            if entry.type == DELETED and EntityDeleted not in route.types:
                if table.get(entry.subject) is not None:
                    table.put(entry.subject, None)
                continue
            event = event_of(handler.source, entry, route.types, self.definition.ignore_unknown)
            if event is SKIP:
                continue
            row = table.get(entry.subject)
            if route.takes_context:
                context = Context(entry, self._name)
                new = route.function(self._view, event, row, context)
            else:
                new = route.function(self._view, event, row)
            if new is not None or row is not None:
                table.put(entry.subject, new)

    async def _fetch(self, entries: list[Entry]) -> None:
        for source, handlers in self._handlers.items():
            keys = [entry.subject for entry in entries if entry.source == source]
            for name in {handler.table for handler in handlers}:
                await self.tables[name].fetch(keys)

    async def _undo(self, subject: str, done: list[Entry]) -> None:
        """A handler may have changed the row in place before it failed: fold the subject anew."""
        for table in self.tables.values():
            await table.read([subject])
        for entry in done:
            if entry.subject == subject:
                self._fold(entry)


def _write(commit: Commit, changes: list[Rows]) -> None:
    commit.rows += changes
