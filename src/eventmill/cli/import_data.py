"""`eventmill import`: make a store from an exported file."""

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
from eventmill.model import limits
from eventmill.node import offline


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@options.data
@options.store
@click.option(
    "--shards",
    type=click.IntRange(1, limits.SLICES),
    help="Home shards of a store in PostgreSQL, fixed for ever; 16 by default.",
)
def command(file: Path, data: Path, store: str, shards: int | None) -> None:
    """Make a store from FILE, which `eventmill export` wrote: in --data, or at --store.

    `-` is standard input; a name ending in .gz is decompressed. There must not be a store yet. All
    of it or nothing: a torn or changed file is refused.
    """
    with _opened(file) as lines, bar("Importing") as progress:
        end = offline.restore(data, store, shards, lines, progress)
    where = "PostgreSQL" if store else data
    click.echo(f"Imported {counted(end.lines, 'line')} from {file} into {where}.", err=True)


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
