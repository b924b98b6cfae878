"""SQLite's own limit: a loop of batched inserts, each group one durable transaction.

What a store of events written by hand can reach at best: the same rows and settings, a unique index
to find an entity's events by, and nothing else. Groups of 64 and 1,024 stand for as many commands
in flight. The last one leaves the index out: a log that cannot tell what an entity is.
"""

from __future__ import annotations

import time
from pathlib import Path

from bench import carts
from bench.figures import Contestant, Latency, Sample
from bench.processes import isolated


def contestant(group: int, *, indexed: bool = True) -> Contestant:
    """The loop with that many rows to a transaction."""

    def measure(folder: Path, seconds: float) -> Sample:
        return isolated(f"{__name__}:loop", folder=str(folder), group=group, indexed=indexed)

    index = "unique index (source, subject, sequence)" if indexed else "no index by entity"
    return Contestant(
        system=system(group, indexed=indexed),
        conditions=(
            f"apsw, WAL, synchronous=FULL, the adapter's table and settings, {index}, "
            f"{carts.CARTS:,} carts, {carts.COMMANDS:,} rows into an empty journal; latency of a "
            "whole group"
        ),
        measure=measure,
    )


def system(group: int, *, indexed: bool = True) -> str:
    """Name of the contestant."""
    return f"SQLite's limit, groups of {group:,}{'' if indexed else ', without index'}"


def loop(folder: str, group: int, indexed: bool) -> Sample:
    """Insert the rows; each group is one transaction."""
    db = carts.new_journal(Path(folder))
    if indexed:
        db.execute(carts.UNIQUE)
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
