"""The `eventsourcing` package on SQLite: the usual choice for event sourcing in one Python process.

Its defaults are WAL and SQLite's built-in `synchronous=FULL`; FULL is set on every connection all the
same and read back, so both sides wait for the disk at each command. Measured as it comes, and with
its aggregate cache on, which spares it reading the events back for every command.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from bench import carts
from bench.environments import python_environment, run, versions
from bench.figures import Contestant, Sample
from bench.processes import sample_of

if TYPE_CHECKING:
    from pathlib import Path

REQUIREMENTS = ("eventsourcing==9.5.6",)
PROGRAM = "bench/peers/programs/eventsourcing_cart.py"


def contestant(system: str, cache: int) -> Contestant:
    """The package with that many aggregates in its cache, 0 for none."""

    def measure(folder: Path, seconds: float) -> Sample:
        python = python_environment("eventsourcing", *REQUIREMENTS)
        task = {"folder": str(folder), "seconds": seconds, "carts": carts.CARTS, "cache": cache}
        sample = sample_of(run([str(python), PROGRAM, msgspec.json.encode(task).decode()]))
        notes = {**sample.notes, "versions": versions(python, "eventsourcing")}
        return Sample(sample.per_second, sample.latency, notes)

    kept = f"aggregate cache of {cache:,}" if cache else "no aggregate cache, its default"
    return Contestant(
        system=system,
        conditions=f"SQLite, WAL, synchronous=FULL, {carts.CARTS:,} carts, {kept}",
        measure=measure,
    )


DEFAULT = contestant("eventsourcing", 0)
CACHED = contestant("eventsourcing, cached", carts.CARTS)
