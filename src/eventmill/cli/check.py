"""`eventmill check`: everything that can be said about a service without running it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import msgspec

from eventmill.cli.surface import options
from eventmill.cli.surface.exits import REFUSED
from eventmill.cli.surface.output import counted, show_json
from eventmill.cli.surface.target import load
from eventmill.cli.topology import drawing, stored
from eventmill.cli.topology.merging import merged
from eventmill.model.definition import ServiceDefinition
from eventmill.node.checking import examined
from eventmill.sdk.topology.graph import Graph, graph_of


class Checked(NamedTuple):
    """A service, what is wrong with it, and what is stored of it."""

    graph: Graph
    problems: list[str]
    stored: stored.Stored | None

    @property
    def name(self) -> str:
        return self.graph.service

    @property
    def wrong(self) -> list[str]:
        """What is wrong with the code, or with what is stored."""
        return self.problems + (self.stored.problems if self.stored is not None else [])


@click.command()
@click.argument("targets", metavar="TARGET...", nargs=-1, required=True)
@options.stored
@click.option("--mermaid", is_flag=True, help="Print the flowchart only, for a document.")
@options.output
def command(
    targets: tuple[str, ...], data: Path | None, store: str, mermaid: bool, output: str
) -> int:
    """Check the service TARGET, `module:variable`, or several; exits with 1 if there are problems.

    Shows the topology, each place where a part waits for another, with --data or --store whether
    everything that is stored can still be read, and last every problem at once. --data is the
    directory that `eventmill run` is given: of several, each has a directory in it.
    """
    if len(targets) > 1 and store:
        raise click.UsageError("--store is of one service: check each with its own")
    services = [examined(load(target)) for target in targets]
    if len(targets) > 1:
        found = [_check(*each, data and data / each[0].name, "") for each in services]
        for each, (service, _) in zip(found, services, strict=True):
            each.problems.extend(_unmet(service, services))
    else:
        found = [_check(*services[0], data, store)]
    if mermaid:
        click.echo(drawing.mermaid(_graph(found)))
        for problem in (problem for each in found for problem in each.problems):
            click.echo(_marked_problem(problem), err=True)
    elif output == "json":
        documents = [_document(each) for each in found]
        show_json(documents if len(targets) > 1 else documents[0])
    else:
        _show(found)
    return REFUSED if any(each.wrong for each in found) else 0


def _check(
    service: ServiceDefinition, problems: list[str], data: Path | None, store: str
) -> Checked:
    # What is stored is judged by the whole service only: half of it would find faults everywhere.
    seen = None if problems else stored.examined(service, data, store)
    return Checked(graph_of(service), problems, seen)


def _unmet(
    service: ServiceDefinition, services: list[tuple[ServiceDefinition, list[str]]]
) -> Iterator[str]:
    """Tell which topics a service follows that others, checked with it, do not have."""
    known = {other.name: other for other, problems in services if not problems}
    for topic in service.foreign.values():
        other = known.get(topic.service)
        if other is not None and topic.name not in other.topics:
            has = ", ".join(other.topics) or "none"
            yield (
                f"topic {topic.id!r} is followed here, but service {other.name!r} has no such "
                f"topic; it has {has}"
            )


def _graph(found: list[Checked]) -> Graph:
    return found[0].graph if len(found) == 1 else merged(each.graph for each in found)


def _document(found: Checked) -> dict[str, Any]:
    graph = found.graph
    document = {
        "service": found.name,
        "problems": found.problems,
        "parts": graph.parts,
        "connections": graph.connections,
        "couplings": graph.couplings,
        "purity": round(graph.purity, 4),
        "mermaid": drawing.mermaid(graph),
        "stored": found.stored,
    }
    plain: dict[str, Any] = msgspec.to_builtins(document)
    return plain


def _show(found: list[Checked]) -> None:
    """What is wrong comes last, where people look; the verdict is the last line."""
    if not any(each.problems for each in found):  # else it would be drawn of what was understood
        _show_topology(_graph(found))
    for each in found:
        if each.stored is not None:
            _heading(f"Stored in {each.stored.data}")
            stored.show_types(each.stored)
    for each in sorted(found, key=lambda each: len(each.wrong)):
        _show_service(each)


def _show_service(found: Checked) -> None:
    warnings = found.stored.warnings if found.stored is not None else []
    _heading(f"Service {found.name}")
    for warning in warnings:
        click.echo(click.style("! ", fg="yellow") + warning)
    for problem in found.wrong:
        click.echo(_marked_problem(problem))
    click.echo(_verdict(len(found.wrong), len(warnings), found.stored is not None))


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


def _verdict(problems: int, warnings: int, has_looked: bool) -> str:
    noted = f", {counted(warnings, 'warning')}" if warnings else ""
    if problems:
        return click.style(f"{counted(problems, 'problem')}{noted}", fg="red", bold=True)
    mark = click.style("✓ ", fg="green")
    read = ", everything stored can be read by this code" if has_looked and not noted else ""
    return f"{mark}no problems{read}{noted}"


def _heading(text: str) -> None:
    click.echo("\n" + click.style(text, bold=True, underline=True))
