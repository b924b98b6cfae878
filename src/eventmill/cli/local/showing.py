"""What people, or programs, see of a local cluster: the table, and the nodes' logs in one."""

from __future__ import annotations

import contextlib
import json
import signal
from typing import Any

import click
import structlog

from eventmill.cli.local.child import Child
from eventmill.cli.local.cluster import LocalCluster
from eventmill.cli.surface.logs import traceback_of
from eventmill.cli.surface.output import counted, show
from eventmill.runtime.cluster.cluster import LEASE_SECONDS

COLOURS = ("cyan", "magenta", "green", "yellow", "blue", "red")
COLUMNS = ["node", "service", "admin", "process"]


class ForPeople:
    """Lines with the node's name in front."""

    def __init__(self, services: int, nodes: int) -> None:
        self._several = services > 1
        self._colours: dict[str, str] = {}
        self._nodes = nodes
        self._width = 0
        self._render = structlog.dev.ConsoleRenderer(colors=True)

    def ready(self, cluster: LocalCluster) -> None:
        """Show where everything is."""
        services = list(dict.fromkeys(child.service for child in cluster.children))
        names = click.style(", ".join(services), bold=True)
        verb = "run" if self._several else "runs"
        nodes = counted(self._nodes, "node") + (" each" if self._several else "")
        click.echo(f"\n{names} {verb} on {nodes}\n")
        show([self._row(child) for child in cluster.children], COLUMNS, "table", empty="")
        click.echo()
        places = self._places(cluster, services)
        width = max(map(len, places))
        for name, place in places.items():
            click.echo(f"{_dim(name.ljust(width))}   {place}")
        hint = f"eventmill entities list --data {cluster.children[0].data}"
        click.echo("\n" + _dim(f"Look inside with `{hint}`; Ctrl-C stops it all.") + "\n")

    def said(self, child: Child, line: str) -> None:
        """Show one line of a node's log."""
        _tell(f"{self._name(child)} {self._shown(line, child.node)}")

    def ended(self, child: Child, code: int) -> None:
        """Say that a node has ended, and what now."""
        name, how = self._name(child), _how(code)
        if not child.facts:
            _tell(f"{name} did not start: {how}")
            return
        _tell(
            f"{name} {click.style(f'has ended: {how}.', fg='red', bold=True)} Its work goes to the "
            f"others, after {LEASE_SECONDS:.0f} s at most. To start it again:\n  {child.line}"
        )

    def stopping(self) -> None:
        """Say that it takes a moment."""
        _tell("\nStopping: nodes finish what they accepted, then the servers …")

    def _places(self, cluster: LocalCluster, services: list[str]) -> dict[str, str]:
        servers = cluster.servers
        of = "store of {}" if self._several else "store"
        return {
            **{of.format(name): servers.store(name) for name in services},
            "broker": servers.broker,
            "data": f"{servers.directory} (kept; remove it to begin anew)",
        }

    def _row(self, child: Child) -> dict[str, Any]:
        return {
            "node": self._label(child),
            "service": child.facts["url"],
            "admin": child.facts["admin_url"],
            "process": str(child.facts["process"]),
        }

    def _label(self, child: Child) -> str:
        return f"{child.service}/{child.node}" if self._several else child.node

    def _name(self, child: Child) -> str:
        label = self._label(child)
        colour = self._colours.setdefault(label, COLOURS[len(self._colours) % len(COLOURS)])
        self._width = max(self._width, len(label))
        return click.style(f"{label.ljust(self._width)} │", fg=colour)

    def _shown(self, line: str, node: str) -> str:
        record = _record(line)
        if record.get("node") == node:
            del record["node"]  # it stands in front
        time = str(record.pop("timestamp", ""))[11:19]
        failure = traceback_of(record.pop("exception", []))
        return f"{time} {self._render(None, '', record)}{failure}".lstrip()


class ForPrograms:
    """JSON lines on stderr, each with `service` and `node`."""

    def ready(self, cluster: LocalCluster) -> None:
        """Say where everything is, in one record."""
        nodes = [
            {"service": c.service, "node": c.node, "data": str(c.data), **_addresses(c)}
            for c in cluster.children
        ]
        stores = {c.service: cluster.servers.store(c.service) for c in cluster.children}
        _write(
            event="cluster started",
            nodes=nodes,
            stores=stores,
            broker=cluster.servers.broker,
            data=str(cluster.servers.directory),
        )

    def said(self, child: Child, line: str) -> None:
        """Hand on one line of a node's log."""
        _write(**{"service": child.service, "node": child.node, **_record(line)})

    def ended(self, child: Child, code: int) -> None:
        """Say that a node has ended."""
        again = child.line if child.facts else None
        _write(
            event="node ended", service=child.service, node=child.node, exit_code=code, again=again
        )

    def stopping(self) -> None:
        """Say that it begins to stop."""
        _write(event="stopping")


def _addresses(child: Child) -> dict[str, Any]:
    return {name: child.facts[name] for name in ("url", "admin_url", "process")}


def _record(line: str) -> dict[str, Any]:
    """Read a line of a log; what a service prints itself is an event of that text."""
    try:
        record = json.loads(line)
    except ValueError:
        return {"event": line}
    return record if isinstance(record, dict) and "event" in record else {"event": line}


def _write(**record: Any) -> None:
    _tell(json.dumps(record, ensure_ascii=False))


def _tell(text: str) -> None:
    """Say something on stderr, if anybody is left to hear it: the cluster is stopped all the same."""
    with contextlib.suppress(BrokenPipeError):
        click.echo(text, err=True)


def _how(code: int) -> str:
    return f"by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _dim(text: str) -> str:
    return click.style(text, fg="bright_black")
