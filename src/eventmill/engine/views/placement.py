"""Placement: the physical tables of one version of a view. Pure.

A version's tables have names of their own, so two versions stand beside each other, and the names
say to people what they hold.
"""

from __future__ import annotations

from collections.abc import Iterable

from eventmill.engine.views.definition import CompiledView
from eventmill.engine.views.kinds import Kind
from eventmill.model.table import Affinity, PhysicalTable, TableIndex

_AFFINITIES = {
    Kind.INTEGER: Affinity.INTEGER,
    Kind.BOOLEAN: Affinity.INTEGER,
    Kind.DURATION: Affinity.INTEGER,
    Kind.FLOAT: Affinity.REAL,
}


def names_on(view: CompiledView, version: int) -> dict[str, str]:
    """Return the physical name of each logical table."""
    return names_of(view.id, view.tables, version)


def names_of(view: str, tables: Iterable[str], version: int) -> dict[str, str]:
    """The same, for a version whose definition may be gone."""
    # '@' and ':' are in no id and no table's name, so that 'a.b' and 'a-b' stay apart.
    return {name: f"v_{view}@{version}:{name}" for name in tables}


def tables_on(view: CompiledView, version: int) -> list[PhysicalTable]:
    """Return the tables of a version with the indexes that the view's queries want."""
    names = names_on(view, version)
    return [
        PhysicalTable(
            names[table.name],
            tuple((c.name, _AFFINITIES.get(c.kind, Affinity.TEXT)) for c in table.columns),
            tuple(
                TableIndex(index.name_on(names[table.name]), index.columns)
                for index in view.indexes
                if index.table == table.name
            ),
        )
        for table in view.tables.values()
    ]
