"""`eventmill views`: list, query and rebuild views."""

from __future__ import annotations

import json
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
@click.option("--follow", "-f", is_flag=True, help="Go on with rows that change, until Ctrl-C.")
@options.node
def query(
    client: Client, output: str, view: str, name: str, arguments: tuple[str, ...], follow: bool
) -> None:
    """Run the query NAME of VIEW; follow it, one JSON object a line.

    ARGUMENTS are `name=value`; a list is its values one by one, or one JSON array. Examples:

      eventmill views query open-carts larger_than minimum=3

      eventmill views query open-carts some ids=a1 ids=a2
    """
    texts: dict[str, list[str]] = {}
    for argument in arguments:
        key, found, value = argument.partition("=")
        if not found:
            raise click.UsageError(f"{argument!r}: arguments are name=value")
        texts.setdefault(key, []).extend(_values(value))
    if follow:
        for changed in client.events(f"/views/{view}/{name}", texts):
            for row in changed:
                click.echo(json.dumps(row, ensure_ascii=False))
    answer = client.get(f"/views/{view}/{name}", **texts)
    rows, token = _page(answer)
    if output == "table" and _is_table(rows):
        columns = list({column: None for row in rows for column in row})
        show(rows, columns, output, empty="No rows.")
        if token:
            click.echo(f"There are more: page_token={token}", err=True)
    else:
        show_json(answer)


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


def _values(text: str) -> list[str]:
    """Return the values of a JSON array, none of them told as one that is empty; any other text is
    one value."""
    try:
        found = json.loads(text) if text.startswith("[") else None
    except ValueError:
        found = None
    if not isinstance(found, list):
        return [text]
    return [one if isinstance(one, str) else json.dumps(one) for one in found] or [""]


def _page(answer: Any) -> tuple[Any, str]:
    """Return an answer's rows, and the token of the next page if they are one of several."""
    if isinstance(answer, dict) and answer.keys() == {"items", "next_page_token"}:
        return answer["items"], answer["next_page_token"] or ""
    return answer, ""


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
