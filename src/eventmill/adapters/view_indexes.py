"""The indexes of a view's table, which every engine makes and drops alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from eventmill.model.table import PhysicalTable


def changes(
    table: PhysicalTable,
    found: Iterable[tuple[str, str]],
    quoted: Callable[[str], str],
    stored: Callable[[str], str] = str,
) -> Iterator[str]:
    """Return what gives a table the indexes that it shall have, and no others.

    Parameters: `found` are name and table of the indexes there are; `quoted` makes an identifier of
    a name, `stored` what is kept of it.
    """
    wanted = {stored(index.name) for index in table.indexes}
    present = {name for name, owner in found if owner == stored(table.name)}
    for name in sorted(present - wanted):
        yield f"DROP INDEX IF EXISTS {quoted(name)}"
    for index in table.indexes:
        listed = ", ".join(quoted(column) for column in index.columns)
        yield f"CREATE INDEX IF NOT EXISTS {quoted(index.name)} ON {quoted(table.name)} ({listed})"
