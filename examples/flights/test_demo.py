"""The demo as `make demo` runs it: a process of its own, met over HTTP; every figure compared."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from eventmill.testing.postgres import Server
from examples.flights import demo, figures


async def compared(folder: Path, first: int, *options: str) -> int:
    comparison = await demo.run(folder, first, Console(quiet=True), *options)
    assert comparison.differences == []
    return comparison.figures


async def test_the_first_flights_give_the_figures_of_the_data(tmp_path: Path) -> None:
    assert await compared(tmp_path, 25_000) > 10_000


async def test_they_give_the_same_on_postgresql(tmp_path: Path, postgres: Server) -> None:
    assert await compared(tmp_path, 5_000, "--store", await postgres.fresh(16)) > 5_000


@pytest.mark.soak
async def test_the_year_gives_the_figures_of_the_data(tmp_path: Path) -> None:
    assert await compared(tmp_path, demo.FLIGHTS) > 10_000


def test_a_wrong_figure_is_told() -> None:
    comparison = figures.Comparison()
    comparison.expect("same", 1, 1)
    comparison.expect("rounded", 0.1 + 0.2, 0.3)
    assert comparison.differences == []
    comparison.expect("flights", 1, 2)
    comparison.expect("delay", 1.0, None)
    comparison.expect("delay", 1.0, 1.001)
    assert len(comparison.differences) == 3
    assert comparison.figures == 5
