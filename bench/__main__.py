"""`python -m bench`: measure the rows, print the tables, write them to `docs/`."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path

import click
from rich.console import Console

from bench import machine, report
from bench.environments import HOME
from bench.rows import ROWS
from bench.run import measure

WIDTH = 140
"""Columns of the tables when nobody watches."""

DOCS = Path(__file__).parents[1] / "docs"


@click.command()
@click.option(
    "--rows", "chosen", help="Only these rows, separated by commas; docs stay as they are."
)
@click.option("--rounds", default=3, show_default=True, help="Rounds; the median counts.")
@click.option("--seconds", default=8.0, show_default=True, help="Length of a timed round.")
@click.option("--list", "listing", is_flag=True, help="Show the rows and stop.")
def main(chosen: str | None, rounds: int, seconds: float, listing: bool) -> None:
    """Measure Eventmill beside its peers on this machine, in this run."""
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    if listing:
        for row in ROWS:
            console.print(f"{row.id:20} {row.work}", highlight=False)
        return
    names = chosen.split(",") if chosen else [row.id for row in ROWS]
    if unknown := set(names) - {row.id for row in ROWS}:
        raise click.BadParameter(f"no such row: {', '.join(sorted(unknown))}; see --list")
    HOME.mkdir(exist_ok=True)
    about = machine.describe(HOME)
    began = time.monotonic()

    def progress(text: str) -> None:
        console.print(f"[dim]{time.monotonic() - began:6.0f} s[/]  {text}", highlight=False)

    rows = [row for row in ROWS if row.id in names]
    results = measure(rows, rounds=rounds, seconds=seconds, progress=progress)
    for table in report.tables(results):
        console.print(table)
    run = {
        "command": shlex.join(["python", "-m", "bench", *sys.argv[1:]]),
        "date": time.strftime("%Y-%m-%d"),
        "rounds": rounds,
        "seconds": seconds,
    }
    folder = HOME if chosen else DOCS
    report.write(folder, results, about, run)
    console.print(f"written: {folder / 'benchmarks.md'} and .json", highlight=False)
    if any(result.missing for result in results):
        sys.exit("some figures are missing: the reasons stand above")


if __name__ == "__main__":
    main()
