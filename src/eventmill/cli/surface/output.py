"""Showing answers: tables for people, JSON for programs."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from typing import Any, Literal

import click
from rich.box import SIMPLE
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

PIPE_WIDTH = 1_000
"""Columns when nobody looks: a program that reads the table gets whole lines."""

WORD_WIDTH = 32
"""A column of longer words may be folded too."""

_FRACTION = re.compile(r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.\d+Z$")

NUMBERS = (int, float)


def console(*, stderr: bool = False) -> Console:
    """Return a console as wide as the terminal or `COLUMNS`, or wide enough for a pipe."""
    stream = sys.stderr if stderr else sys.stdout
    is_bound = stream.isatty() or "COLUMNS" in os.environ
    return Console(file=stream, width=None if is_bound else PIPE_WIDTH, highlight=False)


def show(
    rows: Sequence[dict[str, Any]], columns: Sequence[str], output: str, *, empty: str
) -> None:
    """Show rows: as JSON whole, as a table the named columns; `empty` is said without rows."""
    if output == "json":
        show_json(rows)
        return
    if not rows:
        click.echo(empty)
        return
    table = Table(box=SIMPLE, header_style="bold", show_edge=False, pad_edge=False)
    for column in columns:
        numeric = all(_is_number(row.get(column)) for row in rows)
        cells = [column, *(to_second(row.get(column)) for row in rows)]
        justify: Literal["left", "right"] = "right" if numeric else "left"
        table.add_column(column, justify=justify, overflow="fold", width=_whole(cells))
    for row in rows:
        table.add_row(*[Text(to_second(row.get(column))) for column in columns])
    _print(table)


def show_facts(facts: dict[str, Any], output: str) -> None:
    """Show one thing: as JSON whole, or a line per fact."""
    if output == "json":
        show_json(facts)
        return
    grid = Table.grid(padding=(0, 3))
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")
    for name, value in facts.items():
        grid.add_row(name, Text(to_second(value)))
    _print(grid)


def show_json(value: Any) -> None:
    """Print JSON, indented."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def done(text: str, answer: Any, output: str) -> None:
    """Say what was done, or print the node's answer."""
    if output == "json":
        show_json(answer)
    else:
        click.echo(text)


def cell(value: Any) -> str:
    """Show one value in a table."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case str():
            return value
        case list() if all(isinstance(item, str) for item in value):
            return ", ".join(value) or "-"
        case _:
            return json.dumps(value, ensure_ascii=False)


def counted(number: int, one: str, many: str = "") -> str:
    """Name a number of things."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def to_second(value: Any) -> str:
    """Show a value, times to the second: exact ones are in the JSON."""
    return _FRACTION.sub(r"\1Z", value) if isinstance(value, str) else cell(value)


def _whole(cells: list[str]) -> int | None:
    """Return the width of a column of words (ids, times, numbers): sentences are folded first."""
    longest = max(map(cell_len, cells))
    return longest if longest <= WORD_WIDTH and not any(" " in text for text in cells) else None


def _print(table: Table) -> None:
    terminal = console()
    with terminal.capture() as capture:
        terminal.print(table)
    for line in capture.get().splitlines():
        click.echo(line.rstrip())


def _is_number(value: Any) -> bool:
    return isinstance(value, NUMBERS) and not isinstance(value, bool)
