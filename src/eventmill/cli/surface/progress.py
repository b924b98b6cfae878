"""A progress bar for long work: on a terminal, on stderr; silent otherwise."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from eventmill.cli.surface.output import console


@contextmanager
def bar(text: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar while the block runs; it gets a function to be told (done, in all)."""
    columns = (TextColumn(text), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    terminal = console(stderr=True)
    with Progress(*columns, console=terminal, disable=not sys.stderr.isatty(), transient=True) as p:
        task = p.add_task(text, total=None)
        yield lambda done, total: p.update(task, completed=done, total=total)
