"""A view built from the beginning of the journal, beside a bare loop over the same file.

The loop reads the journal in order, decodes each event into its struct, folds the rows in a dict and
upserts what changed in batches of 5,000 events, each batch one durable transaction.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import uvloop

from bench import carts, ours, services
from bench.figures import OURS, Contestant, Row, Sample, ratio
from bench.processes import isolated, resident_mb
from eventmill.adapters.sqlite.connection import open_reader, open_writer
from eventmill.errors import Unavailable

if TYPE_CHECKING:
    import apsw

EVENTS: Final = 1_000_000
CARTS: Final = 100_000
BATCH: Final = 5_000
BARE: Final = "bare loop"
LOOK_SECONDS: Final = 0.01
TABLE = "CREATE TABLE bare_view (cart_id TEXT PRIMARY KEY, items INTEGER NOT NULL) WITHOUT ROWID"
UPSERT = "INSERT INTO bare_view VALUES (?, ?) ON CONFLICT DO UPDATE SET items = excluded.items"
SCAN = "SELECT position, source, subject, sequence, type, payload FROM entry ORDER BY position"


class ItemAdded(msgspec.Struct, frozen=True):
    """The stored event."""

    sku: str
    quantity: int


def measure_loop(folder: Path, seconds: float) -> Sample:
    """Fill a journal and fold it once, in a fresh process."""
    carts.fill(folder, events=EVENTS, carts=CARTS)
    return isolated(f"{__name__}:loop", folder=str(folder))


def loop(folder: str) -> Sample:
    """Fold the whole journal and check the rows."""
    path = Path(folder) / carts.FILE
    reader, writer = open_reader(path), open_writer(path, synchronous="FULL")
    writer.execute(TABLE)
    begin = time.perf_counter()
    folded = fold(reader, writer)
    elapsed = time.perf_counter() - begin
    (total,) = next(writer.execute("SELECT sum(items) FROM bare_view"))
    if (folded, total) != (EVENTS, EVENTS):
        raise AssertionError(f"folded {folded} events to {total} items, not {EVENTS}")
    reader.close()
    writer.close()
    return Sample(folded / elapsed, notes={"events": folded})


def fold(reader: apsw.Connection, writer: apsw.Connection) -> int:
    """Read, decode, fold, upsert; return how many events there were."""
    decode = msgspec.json.Decoder(ItemAdded).decode
    items: dict[str, int] = {}
    changed: set[str] = set()
    count = 0
    for _, _, subject, _, _, payload in reader.execute(SCAN):
        event = decode(payload)
        items[subject] = items.get(subject, 0) + event.quantity
        changed.add(subject)
        count += 1
        if count % BATCH == 0:
            upsert(writer, items, changed)
    upsert(writer, items, changed)
    return count


def upsert(writer: apsw.Connection, items: dict[str, int], changed: set[str]) -> None:
    """Write the changed rows in one transaction and forget which they were."""
    writer.execute("BEGIN IMMEDIATE")
    writer.executemany(UPSERT, [(cart, items[cart]) for cart in changed])
    writer.execute("COMMIT")
    changed.clear()


def measure_ours(folder: Path, seconds: float) -> Sample:
    """Fill the same journal and let a node build the view from it, in a fresh process."""
    carts.fill(folder / "data", events=EVENTS, carts=CARTS)
    return isolated(f"{__name__}:build", folder=str(folder))


def build(folder: str) -> Sample:
    """Start a runtime whose view has seen nothing; stop the clock when it has caught up."""
    return uvloop.run(_build(Path(folder)))


async def _build(folder: Path) -> Sample:
    begin = time.perf_counter()
    async with ours.runtime(folder, services.views) as here:
        total = None
        while total is None:
            with contextlib.suppress(Unavailable):  # what a view answers while it is being built
                (total,) = await here.query(services.CartCounts.total, ())
            await asyncio.sleep(LOOK_SECONDS)
        elapsed = time.perf_counter() - begin
    each = EVENTS // CARTS
    if total != services.Total(carts=CARTS, items=EVENTS, fewest=each, most=each):
        raise AssertionError(f"the view holds {total}")
    return Sample(
        EVENTS / elapsed, notes={"events": EVENTS, "resident_mb": resident_mb(os.getpid())}
    )


ROW = Row(
    id="rebuild",
    work=f"view rebuild from a journal of {EVENTS:,} events of {CARTS:,} carts",
    unit="events/s",
    contestants=(
        Contestant(
            system=BARE,
            conditions=f"read, decode, fold in a dict, upsert in batches of {BATCH:,}, each durable",
            measure=measure_loop,
        ),
        Contestant(
            system=OURS,
            conditions=f"from the start of the runtime until the view answers; {ours.DURABLE}",
            measure=measure_ours,
        ),
    ),
    targets=(ratio(OURS, BARE, at_least=0.4),),
)
