"""The data: half a year of clicks in a shop, 31,106 of 600 visitors, in the order of their times.

It comes from the PyPI package `retentioneering` (Apache 2.0), whose authors made it for showing
what clickstreams tell. The file is read without importing the package, whose import needs a good
part of what there is for data science: `make setup` installs it alone.

The log names the session of each click. Nothing is made of that here but a check: the service must
find the same sessions from the times alone.
"""

from __future__ import annotations

import csv
import gzip
import importlib.util
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

CLICKS: Final = 31_106
VISITORS: Final = 600


class Click(NamedTuple):
    """A row of the log."""

    visitor: str
    session: str
    """Whom the log says it belongs to."""
    page: str
    at: datetime
    platform: str
    channel: str
    """How the visitor came to know the shop."""


def clicks(visitors: int = VISITORS) -> Iterator[Click]:
    """Yield the clicks of the first so many visitors, as the shop saw them."""
    with gzip.open(_file(), "rt") as file:
        rows = [_click(row) for row in csv.DictReader(file)]
    names = set(sorted({click.visitor for click in rows})[:visitors])
    yield from sorted((c for c in rows if c.visitor in names), key=lambda click: click.at)


def _click(row: dict[str, str]) -> Click:
    return Click(
        row["user_id"],
        row["session_id"],
        row["event"],
        datetime.fromisoformat(row["timestamp"]).replace(tzinfo=UTC),
        row["platform"],
        row["acquisition_channel"],
    )


def _file() -> Path:
    found = importlib.util.find_spec("retentioneering")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError(
            "the clicks are in the package retentioneering, of which only the data is needed: "
            "`make setup` installs it, or pip install --no-deps retentioneering==5.2.4"
        )
    return Path(found.submodule_search_locations[0]) / "datasets" / "ecom.csv.gz"
