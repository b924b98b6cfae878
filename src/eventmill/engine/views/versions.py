"""Versions: which versions a view has, and what a node does with each. Pure.

`Versions` is the durable fact `view/<id>`. Every change makes a new value, which comes true when it
is stored, by compare-and-set: all nodes read the same. A version's number is never used again.

A version was filled by one definition, known by its fingerprint, and a node goes by the versions of
its own: the newest that is ready answers, one that is newer still is being built. So nodes of an
older and of a newer definition stand beside each other and want nothing of each other's. As long as
none of its own is ready, the newest ready version of another definition answers if its columns are
those of the queries (`misfit`), and if a definition is changed back its version goes on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from enum import StrEnum

import msgspec

from eventmill.engine.views.definition import CompiledView
from eventmill.engine.views.placement import names_of
from eventmill.engine.views.shapes import shape_of


class Stage(StrEnum):
    """Where a version is in its life."""

    BUILDING = "building"
    """It is filled from the beginning of the journal and has not caught up yet."""
    READY = "ready"
    """It has caught up in every shard."""
    LEAVING = "leaving"
    """No node may take it up; its tables go when none has it any more."""


class Version(msgspec.Struct, frozen=True):
    """One version's tables and what they were filled by."""

    fingerprint: str
    tables: dict[str, dict[str, str]]
    """Logical table → column → shape of its values."""
    stage: Stage = Stage.BUILDING

    def names(self, view: str, number: int) -> list[str]:
        """Return its physical tables."""
        return list(names_of(view, self.tables, number).values())


class Versions(msgspec.Struct, frozen=True):
    """What is durable about a view besides its rows."""

    last: int = 0
    known: dict[int, Version] = {}
    """Every version that may have tables, by number."""

    def begun(self, view: CompiledView) -> Versions:
        """Return them with a new version that is being built."""
        number = self.last + 1
        return Versions(number, self.known | {number: _version_of(view)})

    def staged(self, numbers: Collection[int], stage: Stage) -> Versions:
        """Return them with some versions at another stage."""
        known = {
            number: msgspec.structs.replace(version, stage=stage) if number in numbers else version
            for number, version in self.known.items()
        }
        return Versions(self.last, known)

    def without(self, numbers: Iterable[int]) -> Versions:
        """Return them without versions whose tables are gone."""
        gone = set(numbers)
        return Versions(self.last, {n: v for n, v in self.known.items() if n not in gone})

    def serving(self, view: CompiledView) -> int | None:
        """Return the version of this definition that answers."""
        return max((n for n in self._of(view) if self.known[n].stage is Stage.READY), default=None)

    def building(self, view: CompiledView) -> int | None:
        """Return the version of this definition that is being built and will answer next."""
        newest = max(self._of(view), default=None)
        return newest if newest != self.serving(view) else None

    def foreign(self, view: CompiledView) -> int | None:
        """Return the newest ready version of another definition."""
        mine = self._of(view)
        ready = (n for n, v in self.known.items() if v.stage is Stage.READY and n not in mine)
        return max(ready, default=None)

    def _of(self, view: CompiledView) -> list[int]:
        return [
            number
            for number, version in self.known.items()
            if version.fingerprint == view.fingerprint and version.stage is not Stage.LEAVING
        ]


def misfit(version: Version, view: CompiledView) -> str | None:
    """Tell why a version cannot answer a definition's queries; None if it can.

    It can if it has every table with every column, each of the same type: then the queries read
    what they are declared to answer.
    """
    for name, columns in _version_of(view).tables.items():
        if name not in version.tables:
            return f"it has no table {name!r}"
        for column, shape in columns.items():
            found = version.tables[name].get(column)
            if found is None:
                return f"its table {name!r} has no column {column!r}"
            if found != shape:
                return f"its column {name}.{column} is of another type"
    return None


def _version_of(view: CompiledView) -> Version:
    tables = {
        table.name: {column.name: shape_of(column.type.annotation) for column in table.columns}
        for table in view.tables.values()
    }
    return Version(view.fingerprint, tables)
