"""`eventmill timers`: list timers, cancel one."""

from __future__ import annotations

import click

from eventmill.cli.surface import options
from eventmill.cli.surface.client import Client
from eventmill.cli.surface.output import done, show


@click.group()
def command() -> None:
    """List and cancel timers."""


@command.command("list")
@click.option("--after", default="", help="Names after this one: the next page.")
@click.option("--all", "everything", is_flag=True, help="The platform's own too: $tick/…, $step/…")
@options.limit(100)
@options.node
def list_(client: Client, output: str, after: str, everything: bool, limit: int) -> None:
    """List timers by name, and the commands they will send."""
    query = {"all": "true"} if everything else {}
    rows = client.pages("/timers", limit=limit, last="name", after=after, **query)
    columns = ["name", "due", "component", "id", "command", "arguments"]
    show(rows, columns, output, empty="No timers are set.")


@command.command()
@click.argument("name")
@options.node
def cancel(client: Client, output: str, name: str) -> None:
    """Cancel a timer; one that is not there is fine."""
    answer = client.post("/timers/cancel", name=name)
    done(f"No timer {name} any more.", answer, output)
