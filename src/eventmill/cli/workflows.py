"""`eventmill workflows`: list and read workflows, and say how they go on."""

from __future__ import annotations

import click

from eventmill.cli.surface import options
from eventmill.cli.surface.client import Client
from eventmill.cli.surface.output import show as show_rows
from eventmill.cli.surface.output import show_facts

COLUMNS = ["sequence", "time", "what", "name", "attempt", "seconds", "next", "error"]


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
        empty = "The service has no workflows."
        show_rows(client.get("/workflows"), ["id"], output, empty=empty)
        return
    rows = client.get(f"/workflows/{component}", status=status, after=after, limit=limit)
    columns = ["id", "status", "at", "began", "ended", "error"]
    show_rows(rows, columns, output, empty=f"No such workflows of {component!r} here.")


@command.command()
@click.argument("component")
@click.argument("id")
@options.node
def show(client: Client, output: str, component: str, id: str) -> None:
    """Show where a workflow is, and its state."""
    show_facts(client.get(f"/workflows/{component}/workflow", id=id), output)


@command.command()
@click.argument("component")
@click.argument("id")
@click.option("--after", type=click.IntRange(0), default=0, help="Sequences after this one.")
@options.limit(100)
@options.node
def history(client: Client, output: str, component: str, id: str, after: int, limit: int) -> None:
    """Show what happened to a workflow: its steps, commands, time-outs and orders.

    With `--output json` also the inputs of steps, and the fields that each has changed.
    """
    path = f"/workflows/{component}/history"
    rows = client.pages(path, limit=limit, last="sequence", after=after, id=id)
    show_rows(rows, COLUMNS, output, empty=f"{component}/{id} has no history after {after}.")


def _order(name: str, text: str) -> None:
    @command.command(name, help=text)
    @click.argument("component")
    @click.argument("id")
    @options.node
    def order(client: Client, output: str, component: str, id: str) -> None:
        show_facts(client.post(f"/workflows/{component}/{name}", {}, id=id), output)


_order("terminate", "End a workflow at once; nothing is undone.")
_order("suspend", "Let no further step begin; one that runs is finished.")
_order("resume", "Let a suspended workflow go on.")
_order("retry", "Run the step again that failed, or waits for its next attempt, now.")
_order("compensate", "Undo every step that was begun and has a compensation, the latest first.")
