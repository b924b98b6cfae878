"""`eventmill check`: everything that can be said about a service without running it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from eventmill.cli.surface import options
from eventmill.cli.surface.exits import REFUSED
from eventmill.cli.surface.output import counted, show, show_json
from eventmill.cli.surface.progress import bar
from eventmill.cli.surface.target import load
from eventmill.cli.topology import drawing, stored
from eventmill.model.definition import ServiceDefinition
from eventmill.node import offline
from eventmill.node.node import examined
from eventmill.sdk.topology.graph import Graph, graph_of


class Stored(msgspec.Struct):
    """What a data directory holds, as this code sees it."""

    data: str
    types: list[stored.Reading]
    undeliverable: list[str]
    leftovers: list[str]
    """Of consumers and views that are gone: they break nothing."""

    @property
    def problems(self) -> list[str]:
        """What the code itself wrote and cannot read or deliver any more."""
        return [r.told for r in self.types if r.told and not r.is_outside] + self.undeliverable

    @property
    def warnings(self) -> list[str]:
        """What should be known, and breaks nothing."""
        orphans = sorted({r.source for r in self.types if r.is_orphan and not r.told})
        return [
            *(r.told for r in self.types if r.told and r.is_outside),
            *self.leftovers,
            *(
                f"topic {source!r} is not part of the service: its messages stay, nobody reads them"
                for source in orphans
            ),
        ]


@click.command()
@click.argument("target", metavar="TARGET")
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="Also check that what this data directory holds can still be read.",
)
@click.option("--mermaid", is_flag=True, help="Print the flowchart only, for a document.")
@options.output
def command(target: str, data: Path | None, mermaid: bool, output: str) -> int:
    """Check the service TARGET, `module:variable`; exits with 1 if there are problems.

    Shows the topology, each place where a part waits for another, with --data whether everything
    that is stored can still be read, and last every problem at once.
    """
    definition, problems = examined(load(target))
    graph = graph_of(definition)
    if mermaid:
        click.echo(drawing.mermaid(graph))
        for problem in problems:
            click.echo(_marked_problem(problem), err=True)
        return REFUSED if problems else 0
    # What is stored is judged by the whole service only: half of it would find faults everywhere.
    found = _stored(definition, data) if data is not None and not problems else None
    if output == "json":
        show_json(_document(definition.name, problems, graph, found))
    else:
        _show(definition.name, problems, graph, found)
    return REFUSED if problems or (found is not None and found.problems) else 0


def _stored(definition: ServiceDefinition, data: Path) -> Stored:
    with bar("Reading the journal") as progress:
        kinds = offline.stored_types(data, progress)
    waiting = list(stored.undeliverable(definition, offline.waiting_commands(data)))
    types = stored.judged(definition, kinds, lambda kind: offline.payloads(data, kind))
    left = list(stored.leftovers(definition, offline.subscribers(data)))
    return Stored(str(data), types, waiting, left)


def _document(name: str, problems: list[str], graph: Graph, found: Stored | None) -> dict[str, Any]:
    document = {
        "service": name,
        "problems": problems,
        "parts": graph.parts,
        "connections": graph.connections,
        "couplings": graph.couplings,
        "purity": round(graph.purity, 4),
        "mermaid": drawing.mermaid(graph),
        "stored": found,
    }
    plain: dict[str, Any] = msgspec.to_builtins(document)
    return plain


def _show(name: str, problems: list[str], graph: Graph, found: Stored | None) -> None:
    """What is wrong comes last, where people look; the verdict is the last line."""
    warnings: list[str] = []
    if not problems:  # else it would be drawn of what was understood, and lead astray
        _show_topology(graph)
    if found is not None:
        _heading(f"Stored in {found.data}")
        columns = ["source", "type", "version", "from", "count", "readable"]
        show([_row(reading) for reading in found.types], columns, "table", empty="Nothing yet.")
        problems, warnings = problems + found.problems, found.warnings
    _heading(f"Service {name}")
    for warning in warnings:
        click.echo(click.style("! ", fg="yellow") + warning)
    for problem in problems:
        click.echo(_marked_problem(problem))
    click.echo(_verdict(len(problems), len(warnings), found))


def _show_topology(graph: Graph) -> None:
    _heading("Topology")
    click.echo(drawing.text(graph))
    _heading("Couplings")
    for coupling in graph.couplings:
        what = f"{coupling.target}.{coupling.what}" if coupling.what else coupling.target
        click.echo(f"{coupling.source} {coupling.way} {what} and waits  ({coupling.place})")
    click.echo(drawing.judgement(graph))


def _marked_problem(problem: str) -> str:
    return click.style("✗ ", fg="red") + problem


def _verdict(problems: int, warnings: int, found: Stored | None) -> str:
    noted = f", {counted(warnings, 'warning')}" if warnings else ""
    if problems:
        return click.style(f"{counted(problems, 'problem')}{noted}", fg="red", bold=True)
    mark = click.style("✓ ", fg="green")
    read = ", everything stored can be read by this code" if found and not noted else ""
    return f"{mark}no problems{read}{noted}"


def _row(reading: stored.Reading) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(reading)
    origin = "outside" if reading.is_outside else "handlers"
    return {**plain, "from": origin, "readable": _readable(reading)}


def _readable(reading: stored.Reading) -> str:
    if reading.is_orphan:
        return "not part of the service"
    if not reading.unreadable:
        return "yes"
    return "no" if reading.unreadable == reading.count else f"all but {reading.unreadable:,}"


def _heading(text: str) -> None:
    click.echo("\n" + click.style(text, bold=True, underline=True))
