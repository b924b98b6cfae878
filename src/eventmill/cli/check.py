"""`eventmill check`: everything that can be said about a service without running it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from eventmill.cli.surface import options
from eventmill.cli.surface.exits import REFUSED
from eventmill.cli.surface.output import show, show_json
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

    Shows every problem at once, the topology, each place where a part waits for another, and with
    --data whether everything that is stored can still be read.
    """
    definition, problems = examined(load(target))
    graph = graph_of(definition)
    if mermaid:
        click.echo(drawing.mermaid(graph))
        return REFUSED if problems else 0
    found = _stored(definition, data) if data is not None else None
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
    _heading(f"Service {name}")
    if problems:
        for problem in problems:
            click.echo(click.style("✗ ", fg="red") + problem)
        return  # the rest is drawn of what was understood: it would lead astray
    click.echo(click.style("✓ ", fg="green") + "no problems")
    _heading("Topology")
    click.echo(drawing.text(graph))
    _heading("Couplings")
    for coupling in graph.couplings:
        what = f"{coupling.target}.{coupling.what}" if coupling.what else coupling.target
        click.echo(f"{coupling.source} {coupling.way} {what} and waits  ({coupling.place})")
    click.echo(drawing.judgement(graph))
    if found is not None:
        _show_stored(found)
    _heading("Mermaid")
    click.echo(drawing.mermaid(graph))


def _show_stored(found: Stored) -> None:
    _heading(f"Stored in {found.data}")
    columns = ["source", "type", "version", "from", "count", "readable"]
    show([_row(reading) for reading in found.types], columns, "table", empty="Nothing yet.")
    for problem in found.problems:
        click.echo(click.style("✗ ", fg="red") + problem)
    for warning in found.warnings:
        click.echo(click.style("! ", fg="yellow") + warning)
    if not found.problems and not found.warnings:
        click.echo(click.style("✓ ", fg="green") + "everything can be read by this code")


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
