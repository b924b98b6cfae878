"""Unit kit of a view: feed it events, read its rows. No store, no SQL; queries need a `Host`.

    kit = ViewKit(OpenCarts)
    kit.feed(ItemAdded(sku="x", quantity=2), subject="c1")
    assert kit.rows() == [OpenCarts.Row(cart_id="c1", items=2)]

Events and rows go through the view's own projector and codec: what cannot be stored fails here.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any, cast

from eventmill.engine.views.schema import RowCodec, table_of
from eventmill.errors import ConfigurationError
from eventmill.model.commit import Commit
from eventmill.model.definition import ViewDefinition
from eventmill.model.topic import Topic
from eventmill.ports.store import Found, ViewTables
from eventmill.runtime.folding.rows import TableRows
from eventmill.runtime.views.projector import Projector
from eventmill.sdk.component import id_of
from eventmill.sdk.handlers import ON
from eventmill.sdk.view import View, define_view
from eventmill.testing.clock import VirtualClock
from eventmill.testing.fitting import check_fit
from eventmill.testing.incoming import entry_of


class ViewKit:
    """One view with its rows in memory.

    Raises `ConfigurationError` for a view that no service would take.
    """

    def __init__(self, view: type[View]) -> None:
        check_fit("ViewKit", view)
        self.definition: ViewDefinition = define_view(view)
        self.clock = VirtualClock()
        self._sources = {_id(source): source for source in _sources_of(view)}
        self._stored = StoredRows()
        tables = {t.name: table_of(t.row, t.name, view=view.__qualname__) for t in self._tables}
        self._codecs: dict[str, RowCodec[Any]] = {
            name: RowCodec(table.row, table, view=view.__qualname__)
            for name, table in tables.items()
        }
        rows = {
            name: TableRows(name, codec, cast(ViewTables, self._stored), is_new=False)
            for name, codec in self._codecs.items()
        }
        self._projector = Projector(self.definition, rows, lambda: None)
        self._position = 0

    def __repr__(self) -> str:
        return f"<ViewKit {self.definition.id}>"

    def feed(
        self,
        *events: Any,
        subject: str = "test",
        source: Any = None,
        metadata: dict[str, Any] | None = None,
    ) -> ViewKit:
        """Let the view handle events of one subject.

        Parameters: `source` is the entity class or topic they come from, needed if the view has
        several. Raises what the view's handler raises.
        """
        origin = self._source(source)
        entries = []
        for event in events:
            self._position += 1
            now = self.clock.now()
            entries.append(
                entry_of(origin, event, subject, self._position, now=now, metadata=metadata)
            )
        while entries:
            reacted = finished(self._projector.react(entries, 1))
            for _, error in reacted.failed:
                raise error
            commit = Commit()
            for fill in reacted.fills:
                fill(commit)
            self._stored.write(commit)
            self._projector.committed()
            entries = reacted.left
        return self

    def rows(self, table: str = "") -> list[Any]:
        """Return a table's rows in order of subject; name the table if there are several."""
        name = self._table(table)
        stored = self._stored.tables.get(name, {})
        return [self._codecs[name].decode(stored[key]) for key in sorted(stored)]

    def row(self, subject: str, table: str = "") -> Any:
        """Return the row of a subject, or None."""
        name = self._table(table)
        values = self._stored.tables.get(name, {}).get(subject)
        return None if values is None else self._codecs[name].decode(values)

    @property
    def _tables(self) -> list[Any]:
        return list(self.definition.tables.values())

    def _table(self, name: str) -> str:
        names = list(self.definition.tables)
        if not name and len(names) == 1:
            return names[0]
        if name not in names:
            raise ConfigurationError(f"name one of the view's tables: {', '.join(names)}")
        return name

    def _source(self, source: Any) -> Any:
        if source is None and len(self._sources) == 1:
            return next(iter(self._sources.values()))
        if source not in self._sources.values():
            raise ConfigurationError(f"name one of the sources: {', '.join(self._sources)}")
        return source


class StoredRows:
    """Encoded rows by table and key: the only part of a store that a folding reaction reads."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[str, tuple[Any, ...]]] = {}

    async def rows(self, table: str, keys: Sequence[str]) -> Found:
        stored = self.tables.get(table, {})
        return Found([(key, *stored[key]) for key in keys if key in stored], len(keys))

    def write(self, commit: Commit) -> None:
        for rows in commit.rows:
            table = self.tables.setdefault(rows.table, {})
            table.update({key: tuple(values) for key, *values in rows.upserts})
            for key in rows.deletes:
                table.pop(key, None)


def _sources_of(view: type[View]) -> list[Any]:
    return [getattr(f, ON)[0][0] for f in vars(view).values() if hasattr(f, ON)]


def _id(source: Any) -> str:
    return source.id if isinstance(source, Topic) else id_of(source)


def finished(running: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that lets others pass, but never waits: there is no input or output."""
    try:
        while running.send(None) is None:
            pass
    except StopIteration as end:
        return end.value
    raise AssertionError("a view's handlers do not wait")
