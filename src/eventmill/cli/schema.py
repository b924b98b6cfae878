"""`eventmill schema`: keep what is stored and sent readable from one release to the next.

`eventmill check` says whether this code is a sound service. Here it is compared with the file that
the release before left, and both can look into a store.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import click
import msgspec

from eventmill.cli.surface import options
from eventmill.cli.surface.exits import REFUSED, Failure
from eventmill.cli.surface.output import counted, show, show_json
from eventmill.cli.surface.target import load
from eventmill.cli.topology import stored
from eventmill.engine.schemas import contract
from eventmill.engine.schemas.changes import Change, changes, renewed
from eventmill.engine.schemas.contract import Contract
from eventmill.errors import InvalidPayload
from eventmill.model.definition import ServiceDefinition
from eventmill.node.checking import checked

FILE = Path("schema.json")


class Compared(NamedTuple):
    """A service beside its file."""

    service: ServiceDefinition
    file: bytes
    """As it is; empty: there is none."""
    renewed: bytes
    """As it should be."""
    changes: list[Change]

    @property
    def broken(self) -> list[Change]:
        """Changes that break what the file promises."""
        return [change for change in self.changes if change.broken]

    @property
    def is_current(self) -> bool:
        """Whether the file says what the code does."""
        return self.file == self.renewed


def _file(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--file",
        type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
        default=FILE,
        show_default=True,
        help="The schemas of the release before; `-` is standard input or output.",
    )(function)


@click.group()
def command() -> None:
    """Keep what is stored and sent readable from one release to the next.

    The schemas of all that is stored or sent stand in a file that is committed with the code. Each
    says what it promises, as `compatibility`; change that there:

    \b
    backward  this code reads what was stored or sent before
    forward   the release before reads what this code writes
    full      both
    none      nothing
    """


@command.command()
@click.argument("target", metavar="TARGET")
@_file
@click.option("--force", is_flag=True, help="Write it although it breaks what the file promises.")
def export(target: str, file: Path, force: bool) -> int:
    """Write the schemas of the service TARGET to the file.

    What only the file knows is kept: promises, older versions of events, fields that were dropped.
    A change that breaks a promise is refused.
    """
    if str(file) == "-":
        code = contract.contract_of(checked(load(target)))
        click.echo(contract.write(code).decode(), nl=False)
        return 0
    found = _compared(target, file, is_new=True)
    if found.broken and not force:
        _show_broken(found)
        click.echo("Not written. Mend it, or give --force if nobody has anything of it.", err=True)
        return REFUSED
    file.write_bytes(found.renewed)
    number = len(contract.read(found.renewed).schemas)
    done = "is as it was" if found.is_current else "written"
    click.echo(f"{file} {done}: {counted(number, 'schema')}.", err=True)
    return 0


@command.command()
@click.argument("target", metavar="TARGET")
@_file
@options.output
def diff(target: str, file: Path, output: str) -> None:
    """Show what the service TARGET changes of the file.

    Each change with what it breaks, and last what to do about those that break a promise.
    """
    found = _compared(target, file)
    if output == "json":
        show_json(_document(found))
        return
    rows = [_row(change) for change in found.changes]
    columns = ["schema", "at", "change", "breaks", "promised"]
    show(rows, columns, output, empty="Nothing has changed.")
    _show_broken(found)


@command.command()
@click.argument("target", metavar="TARGET")
@_file
@options.stored
@options.output
def check(target: str, file: Path, data: Path | None, store: str, output: str) -> int:
    """Check that the service TARGET keeps what the file promises.

    Exits with 1 if it does not, or if the file is not the code's: for CI.

    With --data or --store also whether everything that is really stored can be read: what
    `eventmill check` says of it, too.
    """
    found = _compared(target, file)
    seen = stored.examined(found.service, data, store)
    problems = seen.problems if seen is not None else []
    if output == "json":
        show_json({**_document(found), "stored": msgspec.to_builtins(seen)})
    else:
        if seen is not None:
            stored.show_types(seen)
        _show_broken(found)
        for problem in problems:
            click.echo(click.style("✗ ", fg="red") + problem)
        click.echo(_verdict(found, file, problems, seen is not None))
    return REFUSED if found.broken or problems or not found.is_current else 0


def _compared(target: str, file: Path, *, is_new: bool = False) -> Compared:
    service = checked(load(target))
    text = _read(file, is_new)
    code = contract.contract_of(service)
    try:
        before = contract.read(text) if text else Contract(service.name, {})
    except InvalidPayload as error:
        raise Failure(f"{file}: {error.message}") from error
    if before.service != service.name:
        raise Failure(f"{file} is of service {before.service!r}, {target} is {service.name!r}")
    found = changes(before, code, contract.event_types_of(service)) if text else []
    return Compared(service, text, contract.write(renewed(before, code)), found)


def _read(file: Path, is_new: bool) -> bytes:
    if str(file) == "-":
        return sys.stdin.buffer.read()
    try:
        return file.read_bytes()
    except FileNotFoundError:
        if is_new:
            return b""
        raise Failure(
            f"there is no {file}: write it with `eventmill schema export` and commit it, or name "
            "another with --file"
        ) from None


def _document(found: Compared) -> dict[str, Any]:
    return {
        "service": found.service.name,
        "changes": [
            {**msgspec.to_builtins(change), "broken": list(map(str, change.broken))}
            for change in found.changes
        ],
        "current": found.is_current,
    }


def _row(change: Change) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(change)
    return {**plain, "at": change.at or "-"}


def _show_broken(found: Compared) -> None:
    for change in found.broken:
        place = f"{change.schema} {change.at}".rstrip()
        click.echo(click.style("✗ ", fg="red") + f"{place}: {change.change}")
        click.echo(f"  {change.todo}")


def _verdict(found: Compared, file: Path, problems: list[str], has_looked: bool) -> str:
    broken = len(found.broken) + len(problems)
    if broken:
        return click.style(counted(broken, "problem"), fg="red", bold=True)
    if not found.is_current:
        return (
            click.style("✗ ", fg="red")
            + f"{file} is not what the code is ({counted(len(found.changes), 'change')}, none breaks "
            "what is promised): write it with `eventmill schema export` and commit it"
        )
    read = ", everything stored can be read by this code" if has_looked else ""
    return click.style("✓ ", fg="green") + f"{file} is what the code is{read}"
