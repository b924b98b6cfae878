"""Versions: which versions a view has, which one answers, which one is being built. Pure.

`Versions` is the durable fact `view/<id>` of a node's registry. Every change makes a new value, which
comes true when it is stored. A version's number is never used again.

A version was filled by one definition, known by its fingerprint. When the definition changes, the
version that answers stays where it is: as long as the next one is being built, it answers the new
definition's queries if its columns are theirs (`misfit`), and if the definition is changed back it
goes on.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from eventmill.engine.views.definition import CompiledView
from eventmill.engine.views.placement import names_of
from eventmill.engine.views.shapes import shape_of


class Version(msgspec.Struct, frozen=True):
    """One version's tables and what they were filled by."""

    fingerprint: str
    tables: dict[str, dict[str, str]]
    """Logical table → column → shape of its values."""

    def names(self, view: str, number: int) -> list[str]:
        """Return its physical tables."""
        return list(names_of(view, self.tables, number).values())


class Versions(msgspec.Struct, frozen=True):
    """What is durable about a view besides its rows."""

    last: int = 0
    serving: int | None = None
    building: int | None = None
    known: dict[int, Version] = {}
    """Every version that may have tables, by number."""

    def taken_up(self, view: CompiledView) -> Versions:
        """Return them as a node with this definition goes on from them."""
        if self._is_of(self.building, view):
            return self
        rest = self.given_up()
        return rest if self._is_of(self.serving, view) else rest.begun(view)

    def begun(self, view: CompiledView) -> Versions:
        """Return them with a new version that is being built."""
        number = self.last + 1
        known = self.known | {number: _version_of(view)}
        return Versions(number, self.serving, number, known)

    def given_up(self) -> Versions:
        """Return them without a version that is being built."""
        return msgspec.structs.replace(self, building=None)

    def swapped(self) -> Versions:
        """Return them with the version that was being built as the one that answers."""
        return msgspec.structs.replace(self, serving=self.building, building=None)

    def unused(self) -> list[int]:
        """Versions whose tables may go."""
        return [number for number in self.known if number not in (self.serving, self.building)]

    def without(self, numbers: Iterable[int]) -> Versions:
        """Return them without versions whose tables are gone."""
        gone = set(numbers)
        known = {number: version for number, version in self.known.items() if number not in gone}
        return msgspec.structs.replace(self, known=known)

    def is_outdated(self, view: CompiledView) -> bool:
        """Whether the version that answers was filled by another definition."""
        return self.serving is not None and not self._is_of(self.serving, view)

    def _is_of(self, number: int | None, view: CompiledView) -> bool:
        version = self.known.get(number) if number is not None else None
        return version is not None and version.fingerprint == view.fingerprint


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
