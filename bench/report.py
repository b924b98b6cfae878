"""The results as tables: on the terminal, as `docs/benchmarks.md` and as `docs/benchmarks.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from rich.table import Table

from bench.figures import Figure
from bench.run import Result, Verdict

HEAD = """\
# Benchmarks

Measured by `{command}` on {date}. All systems ran on this one machine in this one run, one at a time, in turn;
each figure is the median of {rounds} rounds, each ratio that of the rounds' ratios. Load generator and server share the cores. "Others" is the share of the
machine that processes outside the run took meanwhile: above a few per cent the figure is disturbed. Figures from
other machines do not compare; the ratios are the point.

"""


def tables(results: list[Result]) -> tuple[Table, Table]:
    """Return the figures and the verdicts for a terminal."""
    figures = Table("row", "system", "per second", "p50 ms", "p95 ms", "p99 ms", "rounds", "others")
    verdicts = Table("row", "must reach", "reached", "")
    for column in (*figures.columns, *verdicts.columns):
        column.no_wrap = True
    for result in results:
        for cells in figure_cells(result):
            figures.add_row(result.row.id, *cells)
        for verdict in result.verdicts:
            colour = "green" if verdict.met else "red"
            must, reached, mark = verdict_cells(verdict)
            verdicts.add_row(result.row.id, must, reached, f"[{colour}]{mark}[/]")
    return figures, verdicts


def write(
    folder: Path, results: list[Result], machine: dict[str, str], run: dict[str, Any]
) -> None:
    """Write both files."""
    (folder / "benchmarks.md").write_text(markdown(results, machine, run))
    encoded = msgspec.json.encode(as_data(results, machine, run))
    (folder / "benchmarks.json").write_bytes(msgspec.json.format(encoded, indent=1) + b"\n")


def markdown(results: list[Result], machine: dict[str, str], run: dict[str, Any]) -> str:
    """Return the page."""
    parts = [HEAD.format(**run), "| | |\n|---|---|\n"]
    parts += [line(name, text) for name, text in machine.items()]
    parts.append("\n## What must be reached\n\n")
    parts.append("| Work | Must reach | Reached | |\n|---|---|--:|---|\n")
    for result in results:
        for verdict in result.verdicts:
            parts.append(line(result.row.work, *verdict_cells(verdict)))
    parts.append("\n## Figures\n\n")
    parts.append("| Work | System | Per second | p50 ms | p95 ms | p99 ms | Rounds | Others |\n")
    parts.append("|---|---|--:|--:|--:|--:|---|--:|\n")
    for result in results:
        for cells in figure_cells(result):
            parts.append(line(result.row.work, *cells))
    parts.append("\n## Conditions\n\n| System | Conditions | Observed |\n|---|---|---|\n")
    seen: set[str] = set()
    for figure in (f for result in results for f in result.figures.values()):
        if figure.contestant.system not in seen:
            seen.add(figure.contestant.system)
            parts.append(
                line(figure.contestant.system, figure.contestant.conditions, notes(figure))
            )
    return "".join(parts)


def as_data(results: list[Result], machine: dict[str, str], run: dict[str, Any]) -> dict[str, Any]:
    """Return everything that was measured, every round of it."""
    return {
        **run,
        "machine": machine,
        "rows": [
            {
                "row": result.row.id,
                "work": result.row.work,
                "unit": result.row.unit,
                "systems": [
                    {
                        "system": figure.contestant.system,
                        "conditions": figure.contestant.conditions,
                        "median": figure.median,
                        "rounds": figure.samples,
                    }
                    for figure in result.figures.values()
                ],
                "missing": result.missing,
                "targets": [
                    {"text": v.target.text, "bound": v.target.bound, "value": v.value, "met": v.met}
                    for v in result.verdicts
                ],
            }
            for result in results
        ],
    }


def figure_cells(result: Result) -> list[tuple[str, ...]]:
    """System, rate, percentiles and spread of each contestant; the reason if there is no figure."""
    rows: list[tuple[str, ...]] = []
    for contestant in result.row.contestants:
        figure = result.figures.get(contestant.system)
        if figure is None:
            rows.append((contestant.system, "not measured", "", "", "", "", ""))
            continue
        median, (low, high) = figure.median, figure.spread
        latency = median.latency
        percentiles = (
            [f"{value:.2f}" for value in (latency.p50, latency.p95, latency.p99)]
            if latency
            else ["", "", ""]
        )
        spread = f"{low:,.0f} to {high:,.0f}"
        others = f"{median.others_percent} %"
        rows.append((contestant.system, f"{median.per_second:,.0f}", *percentiles, spread, others))
    return rows


def verdict_cells(verdict: Verdict) -> tuple[str, str, str]:
    """What must be reached, what was, and the word for it."""
    if verdict.value is None:
        return verdict.target.text, "", "not measured"
    reached = f"{verdict.value:,.0f}" if verdict.value >= 1_000 else f"{verdict.value:.3g}"
    return verdict.target.text, reached, "met" if verdict.met else "missed"


def notes(figure: Figure) -> str:
    """What was observed beside the figure, in words."""
    return "; ".join(
        f"{name.replace('_', ' ')} {value}" for name, value in figure.median.notes.items()
    )


def line(*cells: str) -> str:
    """Return one line of a markdown table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"
