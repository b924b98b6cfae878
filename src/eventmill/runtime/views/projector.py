"""The projector: a view's reaction. Events and current rows in, changed rows out.

Place on the road: the end of dispatch; how rows are read, kept and written is `runtime.folding`'s.
"""

from __future__ import annotations

from collections.abc import Callable

from eventmill.model.definition import SKIP, ViewDefinition, ViewHandler
from eventmill.model.entry import DELETED, STATE, Entry
from eventmill.model.events import EntityDeleted
from eventmill.runtime.dispatch.taking import event_of, skipped_by
from eventmill.runtime.folding.folding import Folding, fetched
from eventmill.runtime.folding.rows import TableRows
from eventmill.sdk.context import Context

_KEPT = (DELETED, STATE)


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
        self._steps: dict[str, list[_Step]] = {}
        for handler in definition.handlers:
            step = _Step(handler, tables[handler.table])
            self._steps.setdefault(handler.source.id, []).append(step)
        self._view = definition.cls()
        self._name = definition.id
        self._changed = changed

    def committed(self) -> None:
        super().committed()
        if self._has_changes:
            self._changed()

    async def fetch(self, entries: list[Entry]) -> list[Entry]:
        for source, steps in self._steps.items():
            for table in {step.table for step in steps}:
                keys = [entry.subject if entry.source == source else None for entry in entries]
                entries = await fetched(table, entries, keys)
        return entries

    def fold(self, entry: Entry) -> None:
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
