"""The demo as `make demo` runs it: a process of its own, met over HTTP; every figure compared."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from eventmill.testing.postgres import Server
from examples.flights import demo, figures


async def compared(folder: Path, first: int, *options: str, told: StringIO | None = None) -> int:
    console = Console(file=told or StringIO(), width=300)
    comparison = await demo.run(folder, first, console, *options)
    assert comparison.differences == []
    return comparison.figures


async def test_the_first_flights_give_the_figures_of_the_data(tmp_path: Path) -> None:
    told = StringIO()
    assert await compared(tmp_path, 25_000, told=told) > 10_000
    # The story in its order: each step stands below the one before.
    at = -1
    for text in [
        "It gets 25,000 flights, some of them malformed on purpose. The whole year takes a few",
        "flights sent",
        "journal handled",
        "2 malformed events are dead letters now. Behind them 18 later flights",
        "journal handled",
        "2 malformed events were discarded:",
        "The 18 flights behind them were released and handled.",
        "25,002 events were published",
        "figures agree",
    ]:
        assert text in told.getvalue()[at + 1 :], told.getvalue()
        at = told.getvalue().index(text, at + 1)


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
