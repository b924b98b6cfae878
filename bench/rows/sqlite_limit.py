"""SQLite's own limit: a loop of batched inserts, each group one durable transaction.

The floor under every durable command in process: the same rows, schema and settings, and nothing
else. Groups of 64 and 1,024 stand for as many commands in flight.
"""

from __future__ import annotations

import time
from pathlib import Path

from bench import carts
from bench.figures import Contestant, Latency, Sample
from bench.processes import isolated


def contestant(group: int) -> Contestant:
    """The loop with that many rows to a transaction."""

    def measure(folder: Path, seconds: float) -> Sample:
        return isolated(f"{__name__}:loop", folder=str(folder), group=group)

    return Contestant(
        system=system(group),
        conditions=(
            f"apsw, WAL, synchronous=FULL, the adapter's schema and settings, {carts.CARTS:,} carts, "
            f"{carts.COMMANDS:,} rows into an empty journal; latency of a whole group"
        ),
        measure=measure,
    )


def system(group: int) -> str:
    """Name of the contestant."""
    return f"SQLite's limit, groups of {group:,}"


def loop(folder: str, group: int) -> Sample:
    """Insert the rows; each group is one transaction."""
    db = carts.new_journal(Path(folder))
    (synchronous,) = next(db.execute("PRAGMA synchronous"))
    (journal_mode,) = next(db.execute("PRAGMA journal_mode"))
    durations: list[float] = []
    begin = now = time.perf_counter()
    for position in range(0, carts.COMMANDS, group):
        count = min(group, carts.COMMANDS - position)
        db.execute("BEGIN IMMEDIATE")
        db.executemany(carts.INSERT, carts.rows(position, count, carts.CARTS))
        db.execute("COMMIT")
        end = time.perf_counter()
        durations.append(end - now)
        now = end
    notes = {"synchronous": synchronous, "journal_mode": journal_mode, "rows": carts.COMMANDS}
    db.close()
    return Sample(carts.COMMANDS / (now - begin), Latency.of_seconds(durations), notes)
