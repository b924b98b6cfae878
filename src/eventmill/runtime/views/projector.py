"""The projector: a view's reaction. Events and current rows in, changed rows out.

Place on the road: the end of dispatch; how rows are read, kept and written is `runtime.folding`'s.
"""

from __future__ import annotations

from collections.abc import Callable

from eventmill.model.definition import SKIP, ViewDefinition, ViewHandler
from eventmill.model.entry import DELETED, STATE, Entry
from eventmill.model.events import EntityDeleted
from eventmill.runtime.dispatch.consumer import event_of, skipped_by
from eventmill.runtime.folding.folding import Folding, fetched
from eventmill.runtime.folding.rows import TableRows
from eventmill.sdk.context import Context

_KEPT = (DELETED, STATE)


class Projector(Folding):
    """The reaction that keeps one version of a view."""

    def __init__(
        self,
        definition: ViewDefinition,
        tables: dict[str, TableRows],
        changed: Callable[[], None],
    ) -> None:
        super().__init__(tables)
        self.definition = definition
        self.retry = definition.retry
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
        self._changed = changed

    def committed(self) -> None:
        super().committed()
        if self._has_changes:
            self._changed()

    async def fetch(self, entries: list[Entry]) -> list[Entry]:
        for source, handlers in self._handlers.items():
            for name in {handler.table for handler in handlers}:
                keys = [entry.subject if entry.source == source else None for entry in entries]
                entries = await fetched(self.tables[name], entries, keys)
        return entries

    def fold(self, entry: Entry) -> None:
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
