"""`eventmill check`: everything that can be said about a service without running it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from eventmill.cli.surface import options
from eventmill.cli.surface.exits import REFUSED
from eventmill.cli.surface.output import counted, show_json
from eventmill.cli.surface.target import load
from eventmill.cli.topology import drawing, stored
from eventmill.node.checking import examined
from eventmill.sdk.topology.graph import Graph, graph_of


@click.command()
@click.argument("target", metavar="TARGET")
@options.stored
@click.option("--mermaid", is_flag=True, help="Print the flowchart only, for a document.")
@options.output
def command(target: str, data: Path | None, store: str, mermaid: bool, output: str) -> int:
    """Check the service TARGET, `module:variable`; exits with 1 if there are problems.

    Shows the topology, each place where a part waits for another, with --data or --store whether
    everything that is stored can still be read, and last every problem at once.
    """
    definition, problems = examined(load(target))
    graph = graph_of(definition)
    if mermaid:
        click.echo(drawing.mermaid(graph))
        for problem in problems:
            click.echo(_marked_problem(problem), err=True)
        return REFUSED if problems else 0
    # What is stored is judged by the whole service only: half of it would find faults everywhere.
    found = None if problems else stored.examined(definition, data, store)
    if output == "json":
        show_json(_document(definition.name, problems, graph, found))
    else:
        _show(definition.name, problems, graph, found)
    return REFUSED if problems or (found is not None and found.problems) else 0


def _document(
    name: str, problems: list[str], graph: Graph, found: stored.Stored | None
) -> dict[str, Any]:
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


def _show(name: str, problems: list[str], graph: Graph, found: stored.Stored | None) -> None:
    """What is wrong comes last, where people look; the verdict is the last line."""
    warnings: list[str] = []
    if not problems:  # else it would be drawn of what was understood, and lead astray
        _show_topology(graph)
    if found is not None:
        _heading(f"Stored in {found.data}")
        stored.show_types(found)
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


def _verdict(problems: int, warnings: int, found: stored.Stored | None) -> str:
    noted = f", {counted(warnings, 'warning')}" if warnings else ""
    if problems:
        return click.style(f"{counted(problems, 'problem')}{noted}", fg="red", bold=True)
    mark = click.style("✓ ", fg="green")
    read = ", everything stored can be read by this code" if found and not noted else ""
    return f"{mark}no problems{read}{noted}"


def _heading(text: str) -> None:
    click.echo("\n" + click.style(text, bold=True, underline=True))
