"""`eventmill export`: write a store to a file."""

from __future__ import annotations

import contextlib
import gzip
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import click

from eventmill.cli.surface import options
from eventmill.cli.surface.exits import Failure
from eventmill.cli.surface.output import counted
from eventmill.cli.surface.progress import bar
from eventmill.node import offline


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@options.data
@options.store
@click.option("--force", is_flag=True, help="Replace FILE.")
def command(file: Path, data: Path, store: str, force: bool) -> None:
    """Write everything a store holds to FILE, one JSON object a line.

    The journal, snapshots, outcomes of keyed requests, timers, offsets, letters, facts and views'
    rows. `-` is standard output; a name ending in .gz is compressed. The export is one moment's state:
    of a data directory also beside its running node, of PostgreSQL when no node runs.
    """
    if str(file) != "-" and file.exists() and not force:
        raise Failure(f"{file} exists: give --force to replace it")
    with _opened(file) as out, bar("Exporting") as progress:
        end = offline.export(data, store, out, progress)
    click.echo(
        f"Exported {counted(end.lines, 'line')} of {'PostgreSQL' if store else data} to {file}.",
        err=True,
    )
    click.echo(f"sha256 {end.digest}", err=True)


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[IO[bytes]]:
    """Open FILE; a name is given to what was written only when all of it is there."""
    if str(file) == "-":
        yield sys.stdout.buffer
        return
    unfinished = file.with_name(file.name + ".unfinished")
    try:
        with unfinished.open("wb") as raw:
            if file.suffix == ".gz":
                with gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as packed:
                    yield packed  # type: ignore[misc]  # a GzipFile is written to like any file
            else:
                yield raw
        unfinished.replace(file)
    except OSError as error:
        raise Failure(f"{file} cannot be written: {error.strerror or error}") from error
    finally:
        unfinished.unlink(missing_ok=True)
