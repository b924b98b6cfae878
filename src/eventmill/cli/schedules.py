"""`eventmill schedules`: list schedules, run, pause and resume them."""

from __future__ import annotations

import click

from eventmill.cli.surface import options
from eventmill.cli.surface.client import Client
from eventmill.cli.surface.orders import order
from eventmill.cli.surface.output import show


@click.group()
def command() -> None:
    """List, run, pause and resume schedules."""


@command.command("list")
@options.node
def list_(client: Client, output: str) -> None:
    """List schedules, and when they are due next."""
    columns = ["name", "schedule", "next", "missed", "paused"]
    show(client.get("/schedules"), columns, output, empty="The service has no schedules.")


order(
    command,
    "/schedules",
    "run",
    "Run a schedule's function now, also if it is paused; its ticks stay as they are.",
    "{name} runs.",
)
order(
    command,
    "/schedules",
    "pause",
    "Let the ticks of a schedule pass without a run; it stays so when the node restarts.",
    "{name} is paused.",
)
order(
    command,
    "/schedules",
    "resume",
    "Let the next tick of a paused schedule have its run.",
    "{name} runs again: next at {next}.",
)
