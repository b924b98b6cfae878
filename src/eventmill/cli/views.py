"""`eventmill views`: list, query and rebuild views."""

from __future__ import annotations

import time
from typing import Any

import click

from eventmill.cli.surface import options
from eventmill.cli.surface.client import Client
from eventmill.cli.surface.exits import Failure
from eventmill.cli.surface.output import done, show, show_json
from eventmill.cli.surface.progress import bar

LOOK_SECONDS = 0.1
"""How often a waiting rebuild looks how far it is."""


@click.group()
def command() -> None:
    """List, query and rebuild views."""


@command.command("list")
@options.node
def list_(client: Client, output: str) -> None:
    """List views and how far they are."""
    rows = client.get("/views")
    shown = rows if output == "json" else [_row(row) for row in rows]
    columns = ["view", "state", "version", "lag", "blocked", "queries", "tables"]
    show(shown, columns, output, empty="The service has no views.")


@command.command()
@click.argument("view")
@click.argument("name")
@click.argument("arguments", nargs=-1)
@options.node
def query(client: Client, output: str, view: str, name: str, arguments: tuple[str, ...]) -> None:
    """Run the query NAME of VIEW.

    ARGUMENTS are `name=value`. Example:

      eventmill views query open-carts larger_than minimum=3
    """
    pairs = [argument.partition("=") for argument in arguments]
    wrong = [argument for argument in arguments if "=" not in argument]
    if wrong:
        raise click.UsageError(f"{wrong[0]!r}: arguments are name=value")
    found = client.get(f"/views/{view}/{name}", **{key: value for key, _, value in pairs})
    if output == "table" and _is_table(found):
        columns = list({column: None for row in found for column in row})
        show(found, columns, output, empty="No rows.")
    else:
        show_json(found)


@command.command()
@click.argument("view")
@click.option("--wait", is_flag=True, help="Return when the new version answers.")
@options.node
def rebuild(client: Client, output: str, view: str, wait: bool) -> None:
    """Build VIEW anew from the journal's beginning.

    The old version answers meanwhile.
    """
    answer = client.post(f"/views/{view}/rebuild")
    if wait:
        _wait(client, view, answer["version"])
        done(f"{view} answers from version {answer['version']}.", answer, output)
        return
    text = f"{view} is being built as version {answer['version']}; see `eventmill views list`."
    done(text, answer, output)


def _wait(client: Client, view: str, version: int) -> None:
    with bar(f"Building {view}") as progress:
        while True:
            (row,) = [row for row in client.get("/views") if row["view"] == view]
            live, building = row["live"], row["building"]
            if live is not None and live["version"] >= version:
                return
            if building is None:
                raise Failure(f"version {version} of {view} was given up; see the node's log")
            position, lag = building["position"], building["lag"]
            progress(position, position + lag)
            time.sleep(LOOK_SECONDS)


def _is_table(found: Any) -> bool:
    return isinstance(found, list) and all(isinstance(row, dict) for row in found)


def _row(row: dict[str, Any]) -> dict[str, Any]:
    live, frozen, building = row["live"], row["frozen"], row["building"]
    states = ["paused" if live["paused"] else "live"] if live else []
    if frozen:
        states.append(f"serving version {frozen['version']} (frozen at {frozen['position']:,})")
    if building:
        states.append(f"building version {building['version']}: {_progress(building)}")
    current = live or frozen or building or {}
    return {
        "view": row["view"],
        "state": ", ".join(states) or row["state"],
        "version": current.get("version"),
        "lag": current.get("lag"),
        "blocked": current.get("blocked_keys"),
        "queries": row["queries"],
        "tables": row["tables"],
    }


def _progress(building: dict[str, Any]) -> str:
    position, lag = building["position"], building["lag"]
    share = 100 * position // (position + lag) if position + lag else 100
    paused = ", paused" if building["paused"] else ""
    return f"{share} %, {lag:,} to go{paused}"
