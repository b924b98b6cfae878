"""The run: rows one after the other, their contestants in turn, several rounds; nobody else running.

A contestant is started for each of its rounds in an empty folder on the disk of this repository and
stopped afterwards, so that none measures beside an idle rival. One that cannot be measured is
reported with the reason; the run goes on and fails at its end.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from bench.environments import HOME, CannotMeasure
from bench.figures import Contestant, Figure, Row, Sample, Target
from bench.machine import effort, others_percent

Progress = Callable[[str], None]

OTHERS_PERCENT_QUIET = 5
"""Above this share of the machine in other hands a round is reported as disturbed."""


@dataclass(frozen=True)
class Verdict:
    """A target and what was reached; no value if a contestant is missing."""

    target: Target
    value: float | None

    @property
    def met(self) -> bool:
        return self.value is not None and self.target.met(self.value)


@dataclass
class Result:
    """A row with its figures by system, and the reasons for those that are missing."""

    row: Row
    figures: dict[str, Figure] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def verdicts(self) -> list[Verdict]:
        return [
            Verdict(target, target.value(self.figures))
            if all(system in self.figures for system in target.systems)
            else Verdict(target, None)
            for target in self.row.targets
        ]


def measure(
    rows: Sequence[Row], *, rounds: int, seconds: float, progress: Progress
) -> list[Result]:
    """Measure all rows; `progress` is called with a line before and after each round."""
    return [measure_row(row, rounds, seconds, progress) for row in rows]


def measure_row(row: Row, rounds: int, seconds: float, progress: Progress) -> Result:
    """Let the contestants take turns, round by round."""
    result = Result(row)
    samples: dict[str, list[Sample]] = {}
    for turn in range(1, rounds + 1):
        for contestant in row.contestants:
            if contestant.system in result.missing:
                continue
            progress(f"{row.id}  round {turn}/{rounds}  {contestant.system} …")
            try:
                sample = one_round(contestant, seconds)
            except CannotMeasure as reason:
                result.missing[contestant.system] = str(reason)
                progress(f"{row.id}  {contestant.system}: {reason}")
                continue
            samples.setdefault(contestant.system, []).append(sample)
            said = f"{sample.per_second:,.0f} {row.unit}"
            others = f", others took {sample.others_percent} % of the machine"
            disturbed = sample.others_percent > OTHERS_PERCENT_QUIET
            progress(f"{row.id}  {contestant.system}: {said}{others if disturbed else ''}")
    for contestant in row.contestants:
        if contestant.system not in result.missing:
            rounds_of = tuple(samples[contestant.system])
            result.figures[contestant.system] = Figure(contestant, rounds_of)
    return result


def one_round(contestant: Contestant, seconds: float) -> Sample:
    """Measure in an empty folder of its own, removed afterwards."""
    HOME.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="data-", dir=HOME))
    before = effort()
    try:
        sample = contestant.measure(folder, seconds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    disturbed = others_percent(before, effort())
    return msgspec.structs.replace(sample, others_percent=disturbed)
