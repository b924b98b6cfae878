"""`eventmill schedules`: list schedules, run, pause and resume them."""

from __future__ import annotations

import click

from eventmill.cli.surface import options
from eventmill.cli.surface.client import Client
from eventmill.cli.surface.output import done, show


@click.group()
def command() -> None:
    """List, run, pause and resume schedules."""


@command.command("list")
@options.node
def list_(client: Client, output: str) -> None:
    """List schedules, and when they are due next."""
    columns = ["name", "schedule", "next", "missed", "paused"]
    show(client.get("/schedules"), columns, output, empty="The service has no schedules.")


@command.command()
@click.argument("name")
@options.node
def run(client: Client, output: str, name: str) -> None:
    """Run a schedule's function now, also if it is paused; its ticks stay as they are."""
    answer = client.post(f"/schedules/{name}/run")
    done(f"{name} runs.", answer, output)


@command.command()
@click.argument("name")
@options.node
def pause(client: Client, output: str, name: str) -> None:
    """Let the ticks of a schedule pass without a run; it stays so when the node restarts."""
    answer = client.post(f"/schedules/{name}/pause")
    done(f"{name} is paused.", answer, output)


@command.command()
@click.argument("name")
@options.node
def resume(client: Client, output: str, name: str) -> None:
    """Let the next tick of a paused schedule have its run."""
    answer = client.post(f"/schedules/{name}/resume")
    done(f"{name} runs again: next at {answer['next']}.", answer, output)
