"""`eventmill subscriptions`: push topics and entity events to URLs, in CloudEvents' own words."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import click

from eventmill.cli.surface import options
from eventmill.cli.surface.asking import confirm
from eventmill.cli.surface.client import Client
from eventmill.cli.surface.output import done, show, show_facts

PATH = "/subscriptions"
DIALECTS = ("exact", "prefix", "suffix")


@click.group()
def command() -> None:
    """Push topics and entity events to URLs.

    The platform sends CloudEvents over HTTP, with the same order, retries and dead letters as for
    consumers; so programs in any language take part. Push progress is in `eventmill consumers`.
    """


@command.command("list")
@options.node
def list_(client: Client, output: str) -> None:
    """List subscriptions."""
    rows = client.service("GET", PATH)
    columns = ["id", "source", "types", "filters", "sink", "paused"]
    show(rows, columns, output, empty="There are no subscriptions.")


@command.command("show")
@click.argument("id")
@options.node
def show_(client: Client, output: str, id: str) -> None:
    """Show a subscription."""
    show_facts(client.service("GET", _path(id)), output)


@command.command()
@click.argument("sink")
@click.option("--source", help="Topic or entity component; all of them by default.")
@click.option("--type", "types", multiple=True, help="Only events of this type; several times.")
@click.option(
    "--filter",
    "filters",
    multiple=True,
    help="Only events that fit: exact:subject=c1, prefix:…, suffix:…, or a filter as JSON.",
)
@click.option("--id", "id_", help="Id of the subscription; made up by default.")
@click.option(
    "--config",
    multiple=True,
    help="start=beginning, attempts=…, backoff=…, backoffmax=… or concurrency=…; several times.",
)
@click.option("--header", "headers", multiple=True, help="Header of the requests: name=value.")
@click.option("--mode", type=click.Choice(["binary", "structured"]), help="Of the CloudEvents.")
@options.node
def create(
    client: Client,
    output: str,
    sink: str,
    source: str | None,
    types: tuple[str, ...],
    filters: tuple[str, ...],
    id_: str | None,
    config: tuple[str, ...],
    headers: tuple[str, ...],
    mode: str | None,
) -> None:
    """Push events to SINK, an http(s) URL.

    Example:

      eventmill subscriptions create http://localhost:9000/in --source orders
    """
    settings = {"headers": dict(_pair(text) for text in headers), "mode": mode}
    body: dict[str, Any] = {"protocol": "HTTP", "sink": sink}
    given = {
        "id": id_,
        "source": source,
        "types": list(types),
        "filters": [read_filter(text) for text in filters],
        "config": dict(_pair(text) for text in config),
        "protocolsettings": {name: value for name, value in settings.items() if value},
    }
    body |= {name: value for name, value in given.items() if value}
    answer = client.service("POST", PATH, body)
    what = source or "everything"
    done(f"Subscription {answer['id']} pushes {what} to {sink}.", answer, output)


@command.command()
@click.argument("id")
@options.node
def pause(client: Client, output: str, id: str) -> None:
    """Pause a subscription; it stays paused when the node restarts."""
    answer = client.service("POST", f"{_path(id)}/pause")
    done(f"Subscription {id} is paused.", answer, output)


@command.command()
@click.argument("id")
@options.node
def resume(client: Client, output: str, id: str) -> None:
    """Resume a subscription where it was paused."""
    answer = client.service("POST", f"{_path(id)}/resume")
    done(f"Subscription {id} goes on.", answer, output)


@command.command()
@click.argument("id")
@click.option("--yes", is_flag=True, help="Do not ask.")
@options.node
def delete(client: Client, output: str, id: str, yes: bool) -> None:
    """End a subscription and forget its progress."""
    if not yes:
        confirm(f"Delete subscription {id}?")
    client.service("DELETE", _path(id))
    done(f"Subscription {id} is deleted.", {"deleted": id}, output)


def read_filter(text: str) -> dict[str, Any]:
    """Read a filter: `dialect:attribute=value`, or JSON.

    Raises `UsageError`.
    """
    if text.startswith("{"):
        try:
            read: dict[str, Any] = json.loads(text)
        except ValueError as error:
            raise click.UsageError(f"{text!r} is no JSON: {error}") from error
        return read
    dialect, _, rest = text.partition(":")
    if dialect not in DIALECTS:
        known = ", ".join(f"{dialect}:" for dialect in DIALECTS)
        raise click.UsageError(f"{text!r}: a filter begins with {known} or is a JSON object")
    name, value = _pair(rest)
    return {dialect: {name: value}}


def _pair(text: str) -> tuple[str, str]:
    name, found, value = text.partition("=")
    if not found or not name:
        raise click.UsageError(f"{text!r}: name=value is needed")
    return name, value


def _path(id: str) -> str:
    return f"{PATH}/{quote(id, safe='')}"
