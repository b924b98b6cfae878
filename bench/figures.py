"""What is measured and what it must reach: samples, contestants, rows and targets.

A `Row` is one piece of work done by several `Contestant`s in turn, several rounds; the median round
counts. Its `Target`s say what the issue asks for and are judged from the medians. A ratio is taken in
each round, of what ran right after each other, because the same machine is faster and slower by the
minute; the median of these ratios counts.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

OURS: Final = "eventmill"


class Latency(msgspec.Struct, frozen=True):
    """Percentiles in milliseconds."""

    p50: float
    p95: float
    p99: float

    @classmethod
    def of_seconds(cls, values: Sequence[float]) -> Latency:
        """Percentiles of measured durations in seconds; at least one."""
        ordered = sorted(values)
        at = [ordered[min(len(ordered) - 1, int(len(ordered) * q))] for q in (0.5, 0.95, 0.99)]
        return cls(*(round(value * 1000, 3) for value in at))


class Sample(msgspec.Struct, frozen=True):
    """One round of one contestant."""

    per_second: float
    latency: Latency | None = None
    notes: Mapping[str, str | int | float | bool] = {}
    """What was checked or observed beside the figure: settings read back, memory, counts."""
    others_percent: int = 0
    """Share of the machine that processes outside the run took meanwhile; filled in by the run."""


@dataclass(frozen=True)
class Contestant:
    """A system that does the row's work."""

    system: str
    conditions: str
    measure: Callable[[Path, float], Sample]
    """Start in an empty folder, warm up, measure for that many seconds, stop."""


@dataclass(frozen=True)
class Figure:
    """A contestant's rounds, and the median one that stands for them."""

    contestant: Contestant
    samples: tuple[Sample, ...]

    @property
    def median(self) -> Sample:
        middle = statistics.median_low(sample.per_second for sample in self.samples)
        return next(sample for sample in self.samples if sample.per_second == middle)

    @property
    def spread(self) -> tuple[float, float]:
        rates = [sample.per_second for sample in self.samples]
        return min(rates), max(rates)


@dataclass(frozen=True)
class Target:
    """What a row must reach."""

    text: str
    systems: tuple[str, ...]
    value: Callable[[Mapping[str, Figure]], float]
    bound: float
    at_most: bool = False

    def met(self, value: float) -> bool:
        return value <= self.bound if self.at_most else value >= self.bound


@dataclass(frozen=True)
class Row:
    """One line of the issue's table."""

    id: str
    work: str
    unit: str
    contestants: tuple[Contestant, ...]
    targets: tuple[Target, ...] = ()


def ratio(system: str, beside: str, at_least: float) -> Target:
    """The first system's rate over the second's of the same round."""

    def value(figures: Mapping[str, Figure]) -> float:
        pairs = zip(figures[system].samples, figures[beside].samples, strict=True)
        return statistics.median(ours.per_second / other.per_second for ours, other in pairs)

    return Target(
        text=f"{system} ≥ {at_least:g} × {beside}",
        systems=(system, beside),
        value=value,
        bound=at_least,
    )


def rate(system: str, at_least: float) -> Target:
    """An absolute rate per second."""
    return Target(
        text=f"{system} ≥ {at_least:,.0f}/s",
        systems=(system,),
        value=lambda f: f[system].median.per_second,
        bound=at_least,
    )


def note(system: str, name: str, at_most: float, text: str) -> Target:
    """A number that was noted beside the figure."""
    return Target(
        text=text,
        systems=(system,),
        value=lambda f: float(f[system].median.notes[name]),
        bound=at_most,
        at_most=True,
    )


def noted(system: str, name: str, at_least: float, text: str) -> Target:
    """The same, where more is better."""
    return Target(
        text=text,
        systems=(system,),
        value=lambda f: float(f[system].median.notes[name]),
        bound=at_least,
    )


def lag_p99(system: str, below_ms: float) -> Target:
    """The 99th percentile of the latency, in milliseconds."""

    def value(figures: Mapping[str, Figure]) -> float:
        latency = figures[system].median.latency
        return latency.p99 if latency else float("inf")

    return Target(
        text=f"{system} p99 < {below_ms:g} ms",
        systems=(system,),
        value=value,
        bound=below_ms,
        at_most=True,
    )
