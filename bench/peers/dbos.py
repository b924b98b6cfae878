"""DBOS on SQLite: durable workflows in one Python process, the usual choice without a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from bench.environments import python_environment, run, versions
from bench.figures import Contestant, Sample
from bench.processes import sample_of

if TYPE_CHECKING:
    from pathlib import Path

SYSTEM = "dbos"
REQUIREMENTS = ("dbos==3.4.0",)
PROGRAM = "bench/peers/programs/dbos_two_steps.py"


def contestant(in_flight: int) -> Contestant:
    """So many workflows under way at any time."""

    def measure(folder: Path, seconds: float) -> Sample:
        python = python_environment("dbos", *REQUIREMENTS)
        task = {"folder": str(folder), "seconds": seconds, "in_flight": in_flight}
        sample = sample_of(run([str(python), PROGRAM, msgspec.json.encode(task).decode()]))
        notes = {**sample.notes, "versions": versions(python, "dbos")}
        return Sample(sample.per_second, sample.latency, notes)

    return Contestant(
        SYSTEM,
        f"SQLite as it comes, asynchronous workflows and steps, {in_flight} in flight",
        measure,
    )
