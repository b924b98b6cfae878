"""Fingerprint: tells whether stored rows were made by this definition of a view.

It covers what makes the rows: the tables' columns, the sources, which event types of them are
handled, and the `version` that a user raises when a handler's code changes its meaning. It leaves
out queries, which change indexes alone, and the handlers' code, whose every edit would rebuild.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b

import msgspec

from eventmill.engine.views.schema import Table
from eventmill.engine.views.shapes import shape_of


@dataclass(frozen=True, order=True, slots=True)
class Feed:
    """What one source changes in one table."""

    source: str
    """Component or topic id."""
    table: str
    event_types: tuple[str, ...]
    """Stored names of the handled types; empty: every one."""


def view_fingerprint(tables: Iterable[Table], feeds: Iterable[Feed], version: int) -> str:
    """Return 32 hexadecimal digits; others mean that the view has to be built anew."""
    definition = {
        "form": 1,
        "version": version,
        "tables": sorted(
            (
                table.name,
                [(column.name, shape_of(column.type.annotation)) for column in table.columns],
            )
            for table in tables
        ),
        "feeds": sorted((f.source, f.table, sorted(set(f.event_types))) for f in feeds),
    }
    encoded = msgspec.json.encode(definition, order="sorted")
    return blake2b(encoded, digest_size=16).hexdigest()
