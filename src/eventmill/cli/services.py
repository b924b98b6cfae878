"""`eventmill services`: the living system, asked of a node or over the broker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec

from eventmill.cli.surface import options
from eventmill.cli.surface.client import Client
from eventmill.cli.surface.output import show, show_facts, show_json
from eventmill.cli.topics import KEEPING
from eventmill.cli.topology import drawing
from eventmill.cli.topology.merging import merged
from eventmill.ports.directory import Instance
from eventmill.runtime.description import Description
from eventmill.sdk.topology.graph import Graph


class System:
    """Where the living system is looked at: a broker, or else a node's operating surface."""

    def __init__(self, data: Path, url: str | None, broker: str | None) -> None:
        self._broker = broker
        self._client = None if broker else Client(data, url)

    def instances(self) -> list[Instance]:
        """Return the nodes of all services."""
        if self._client is not None:
            return msgspec.convert(self._client.get("/services"), list[Instance])
        # Imported here: it brings the engine with it.
        from eventmill.node import discovery

        return discovery.instances(self._broker or "")

    def describe(self, service: str) -> Description:
        """Return what a service is."""
        if self._client is not None:
            found = self._client.get("/services/description", service=service)
            return msgspec.convert(found, Description)
        from eventmill.node import discovery

        return discovery.describe(self._broker or "", service)


def _looking(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--data`, `--url`, `--broker` and `--output`: the command gets a `system` and `output`."""

    def looking(*args: Any, data: Path, url: str | None, broker: str | None, **named: Any) -> Any:
        return function(*args, system=System(data, url, broker), **named)

    looking.__name__, looking.__doc__ = function.__name__, function.__doc__
    looking.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
    broker = click.option(
        "--broker",
        envvar="EVENTMILL_BROKER",
        metavar="URL",
        help="nats://…: ask everybody there, instead of one node.",
    )
    return options.data(options.url(broker(options.output(looking))))


@click.group()
def command() -> None:
    """Show the services that run now: list, describe, topology."""


@command.command("list")
@_looking
def list_(system: System, output: str) -> None:
    """List the services that run, found by their names."""
    rows = _services(system.instances())
    columns = ["service", "nodes", "components", "topics", "url", "version"]
    show(rows, columns, output, empty="No service runs there.")


@command.command()
@click.argument("service")
@_looking
def describe(system: System, output: str, service: str) -> None:
    """Show a service: its nodes, components, topics, and where its contracts are."""
    found = system.describe(service)
    living = [i for i in system.instances() if i.service == service]
    nodes = [_node(instance, found) for instance in living]
    contracts = [
        living[0].metadata[kind] for kind in ("openapi", "asyncapi") if kind in _of(living)
    ]
    document = {
        "service": service,
        "nodes": nodes,
        "components": msgspec.to_builtins(found.components),
        "topics": msgspec.to_builtins(found.topics),
        "contracts": contracts,
    }
    if output == "json":
        show_json(document)
        return
    show(nodes, ["node", "shards", "url", "admin_url", "started"], output, empty="No node.")
    click.echo()
    shown = [_component(row) for row in document["components"]]
    show(shown, ["component", "kind", "handles"], output, empty="No components.")
    click.echo()
    shown = [_topic(row) for row in document["topics"]]
    show(shown, ["topic", "of", "types", *KEEPING], output, empty="No topics.")
    click.echo()
    show_facts({"contracts": contracts}, output)


@command.command()
@click.option("--mermaid", is_flag=True, help="Print a flowchart, for a document.")
@_looking
def topology(system: System, output: str, mermaid: bool) -> None:
    """Draw all services: parts, topics, and who follows or calls whom."""
    names = dict.fromkeys(instance.service for instance in system.instances())
    found = [system.describe(name) for name in names]
    graph = merged(Graph(each.service, each.parts, each.connections) for each in found)
    if output == "json":
        show_json(msgspec.to_builtins({"services": list(names), **msgspec.structs.asdict(graph)}))
    elif mermaid:
        click.echo(drawing.mermaid(graph))
    else:
        click.echo(drawing.text(graph) or "No service runs there.")


def _services(instances: list[Instance]) -> list[dict[str, Any]]:
    found: dict[str, list[Instance]] = {}
    for instance in instances:
        found.setdefault(instance.service, []).append(instance)
    return [
        {
            "service": service,
            "nodes": [node.metadata["node"] for node in nodes],
            "components": [e.name for e in nodes[0].endpoints if "/" not in e.address],
            "topics": [t for t in nodes[0].metadata["topics"].split(", ") if t],
            "url": nodes[0].metadata["url"],
            "version": sorted({node.version for node in nodes}),
        }
        for service, nodes in found.items()
    ]


def _node(instance: Instance, service: Description) -> dict[str, Any]:
    told = ("node", "url", "admin_url", "process", "started")
    facts: dict[str, Any] = {name: instance.metadata[name] for name in told}
    shards = {node.node: node.shards for node in service.nodes}
    return {**facts, "version": instance.version, "shards": shards.get(facts["node"])}


def _component(row: dict[str, Any]) -> dict[str, Any]:
    handles = row["commands"] + row["queries"]
    source = f"follows {row['source']}" if row["source"] else ""
    text = "; ".join(filter(None, [", ".join(handles), source]))
    return {"component": row["id"], "kind": row["kind"], "handles": text}


def _topic(row: dict[str, Any]) -> dict[str, Any]:
    name = row["id"].removeprefix(f"{row['service']}/")
    owner = row["service"] or "this service"
    if row["stream_of"]:
        owner += f": stream of {row['stream_of']}"
    return {**row["keeping"], "topic": name, "of": owner, **row}


def _of(living: list[Instance]) -> dict[str, str]:
    return living[0].metadata if living else {}
