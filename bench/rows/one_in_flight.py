"""A durable command in process, one in flight: the next is sent when the last is answered."""

from __future__ import annotations

from pathlib import Path

from bench import carts, ours
from bench.figures import OURS, Contestant, Row, Sample, ratio
from bench.peers import eventsourcing
from bench.processes import isolated


def measure_ours(folder: Path, seconds: float) -> Sample:
    """One command after the other, in a fresh process."""
    where = {"folder": str(folder), "seconds": seconds, "cart_count": carts.CARTS}
    return isolated("bench.ours:calls_for", **where)


ROW = Row(
    id="one-in-flight",
    work="durable command in process, one in flight",
    unit="commands/s",
    contestants=(
        eventsourcing.DEFAULT,
        eventsourcing.CACHED,
        Contestant(
            system=OURS,
            conditions=f"runtime in process, uvloop, {carts.CARTS:,} carts; {ours.DURABLE}",
            measure=measure_ours,
        ),
    ),
    targets=(
        ratio(OURS, eventsourcing.DEFAULT.system, at_least=1.0),
        ratio(OURS, eventsourcing.CACHED.system, at_least=1.0),
    ),
)
