"""`eventmill workflows`: list and read workflows, and say how they go on."""

from __future__ import annotations

import json
from typing import Any

import click

from eventmill.cli.surface import options
from eventmill.cli.surface.client import Client
from eventmill.cli.surface.output import show as show_rows
from eventmill.cli.surface.output import show_facts

COLUMNS = ["sequence", "time", "what", "name", "input", "attempt", "seconds"]
COLUMNS += ["changed", "next", "error"]


@click.group()
def command() -> None:
    """List and read workflows, and say how they go on."""


@command.command("list")
@click.argument("component", required=False)
@click.option("--status", help="Only those of this status, as failed, stuck or suspended.")
@click.option("--after", default="", help="Ids after this one: the next page.")
@options.limit(100)
@options.node
def list_(
    client: Client, output: str, component: str | None, status: str | None, after: str, limit: int
) -> None:
    """List the workflow components, or the workflows of COMPONENT by id."""
    if component is None:
        found = client.get("/workflows")
        if output == "table":
            found = [{"component": one["id"]} for one in found]
        show_rows(found, ["component"], output, empty="The service has no workflows.")
        return
    rows = client.get(f"/workflows/{component}", status=status, after=after, limit=limit)
    columns = ["id", "status", "at", "began", "ended", "error"]
    show_rows(rows, columns, output, empty=f"No such workflows of {component!r} here.")


@command.command()
@click.argument("component")
@click.argument("id")
@options.node
def show(client: Client, output: str, component: str, id: str) -> None:
    """Show where a workflow is, what would be undone, and its state."""
    found = client.get(f"/workflows/{component}/workflow", id=id)
    show_facts(found if output == "json" else _facts(found), output)


@command.command()
@click.argument("component")
@click.argument("id")
@click.option("--after", type=click.IntRange(0), default=0, help="Sequences after this one.")
@options.limit(100)
@options.node
def history(client: Client, output: str, component: str, id: str, after: int, limit: int) -> None:
    """Show what happened to a workflow: its steps, commands, time-outs and orders."""
    path = f"/workflows/{component}/history"
    rows = client.pages(path, limit=limit, last="sequence", after=after, id=id)
    if output == "table":
        rows = [_line(row) for row in rows]
    show_rows(rows, COLUMNS, output, empty=f"{component}/{id} has no history after {after}.")


def _order(name: str, text: str) -> None:
    @command.command(name, help=text)
    @click.argument("component")
    @click.argument("id")
    @options.node
    def order(client: Client, output: str, component: str, id: str) -> None:
        found = client.post(f"/workflows/{component}/{name}", {}, id=id)
        show_facts(found if output == "json" else _facts(found), output)


_order("terminate", "End a workflow at once; nothing is undone.")
_order("suspend", "Let no further step begin; one that runs is finished.")
_order("resume", "Let a suspended workflow go on.")
_order("retry", "Run the step again that failed, or waits for its next attempt, now.")
_order("compensate", "Undo every step that was begun and has a compensation, the latest first.")


def _facts(found: dict[str, Any]) -> dict[str, Any]:
    """Return what is known of a workflow, in words."""
    wait, problem = found["wait"], found["problem"]
    return found | {
        "runs": [_called(run) + _attempt(run["attempt"]) for run in found["runs"]],
        "wait": wait and _waited(wait),
        "undo": [_called(one) for one in reversed(found["undo"])],
        "problem": problem and f"{problem['step']} failed: {problem['code']}",
    }


def _line(row: dict[str, Any]) -> dict[str, Any]:
    """Return a line of history with its objects in words."""
    words = {"input": _named(row.get("input")), "changed": _named(row["result"])}
    if "seconds" in row:
        words["seconds"] = f"{row['seconds']:.3f}"
    return row | words


def _called(run: dict[str, Any]) -> str:
    return f"{run['step']}({_named(run.get('input'))})"


def _attempt(number: int) -> str:
    return f", attempt {number}" if number > 1 else ""


def _waited(wait: dict[str, Any]) -> str:
    text = f"for {wait['source']}/{wait['key']}" if wait.get("source") else "for a command"
    if wait.get("then"):
        text += f", then {wait['then']}"
    if wait.get("on_timeout"):
        text += f"; at the time-out {wait['on_timeout']}"
    return text


def _named(members: dict[str, Any] | None) -> str:
    """Write an object as arguments are written: `quantity=2, sku="tea"`."""
    items = (members or {}).items()
    return ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in items)
