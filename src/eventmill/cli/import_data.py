"""`eventmill import`: make a data directory from an exported file."""

from __future__ import annotations

import contextlib
import gzip
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from eventmill.cli.surface import options
from eventmill.cli.surface.exits import Failure
from eventmill.cli.surface.output import counted
from eventmill.cli.surface.progress import bar
from eventmill.node import offline


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@options.data
def command(file: Path, data: Path) -> None:
    """Make the data directory --data from FILE, which `eventmill export` wrote.

    `-` is standard input; a name ending in .gz is decompressed. The directory must not hold a store
    yet. All of it or nothing: a torn or changed file is refused.
    """
    with _opened(file) as lines, bar("Importing") as progress:
        end = offline.restore(data, lines, progress)
    click.echo(f"Imported {counted(end.lines, 'line')} from {file} into {data}.", err=True)


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[Iterable[bytes]]:
    if str(file) == "-":
        yield sys.stdin.buffer
        return
    try:
        with gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb") as lines:
            yield lines
    except (FileNotFoundError, PermissionError, gzip.BadGzipFile, EOFError) as error:
        raise Failure(f"{file} cannot be read: {error}") from error
