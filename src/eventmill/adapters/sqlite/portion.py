"""How much is read in one go: rows up to the statement's LIMIT, and not much more than a bound of
bytes, because whoever reads holds up the loop."""

from __future__ import annotations

from typing import Any

import apsw

from eventmill.model import limits

Row = tuple[Any, ...]


def take(rows: apsw.Cursor, *columns: int) -> tuple[list[Row], bool]:
    """Take rows until their `columns`, which hold bytes or NULL, have `SCAN_BYTES_MAX` bytes; say
    whether that was the end."""
    taken: list[Row] = []
    left = limits.SCAN_BYTES_MAX
    for row in rows:
        taken.append(row)
        for column in columns:
            if (value := row[column]) is not None:
                left -= len(value)
        if left <= 0:
            rows.close()  # an unfinished reader holds back checkpoints
            return taken, False
    return taken, True
