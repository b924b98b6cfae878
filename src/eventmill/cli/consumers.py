"""`eventmill consumers`: list, pause, resume, reset and replay consumers."""

from __future__ import annotations

from typing import Any

import click

from eventmill.cli.surface import options
from eventmill.cli.surface.asking import confirm
from eventmill.cli.surface.client import Client
from eventmill.cli.surface.exits import REFUSED
from eventmill.cli.surface.orders import order
from eventmill.cli.surface.output import done, show


@click.group()
def command() -> None:
    """List, pause, resume, reset and replay consumers."""


@command.command("list")
@options.node
def list_(client: Client, output: str) -> None:
    """List everything that follows the journal.

    Consumers, views (each version that is kept), pushed subscriptions, and the courier of sent
    commands.
    """
    rows = client.get("/consumers")
    shown = rows if output == "json" else [_row(row) for row in rows]
    columns = ["name", "kind", "sources", "state", "lag", "blocked", "dead", "handled"]
    show(shown, columns, output, empty="Nothing follows the journal.")


order(
    command,
    "/consumers",
    "pause",
    "Pause a consumer; it stays paused when the node restarts.",
    "{name} is paused at position {position:,}.",
)
order(
    command,
    "/consumers",
    "resume",
    "Resume a paused consumer.",
    "{name} goes on from position {position:,}.",
)


@command.command()
@click.argument("name")
@click.option("--to", type=click.Choice(["beginning", "latest"]), help="Either end.")
@click.option("--position", type=click.IntRange(0), help="After this position of the journal.")
@click.option("--time", help="At this time, as 2026-01-31T12:00:00Z.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@options.node
def reset(
    client: Client,
    output: str,
    name: str,
    to: str | None,
    position: int | None,
    time: str | None,
    yes: bool,
) -> None:
    """Let a consumer continue somewhere else.

    Events are handled again, or skipped.
    Letters beyond the new position are dropped, because their events are read again; letters before
    it stay, to be redriven or discarded.
    """
    body = _place("to", to, position, time)
    if not yes:
        confirm(f"Reset {name} to {next(iter(body.values()))}?")
    answer = client.post(f"/consumers/{name}/reset", body)
    done(f"{name} continues after position {answer['position']:,}.", answer, output)


@command.command()
@click.argument("name", required=False)
@click.option("--fail-above", type=click.IntRange(0), help="Exit with 1 if a lag is larger.")
@options.node
def lag(client: Client, output: str, name: str | None, fail_above: int | None) -> int:
    """Show how far consumers are behind the journal's end."""
    rows = [client.get(f"/consumers/{name}")] if name else client.get("/consumers")
    shown = rows if output == "json" else [_row(row) for row in rows]
    show(
        shown,
        ["name", "kind", "lag", "position", "end"],
        output,
        empty="Nothing follows the journal.",
    )
    late = fail_above is not None and any(row["lag"] > fail_above for row in rows)
    return REFUSED if late else 0


@command.command()
@click.argument("name")
@click.option("--from", "begin", type=click.Choice(["beginning"]), help="All that is there.")
@click.option("--position", type=click.IntRange(0), help="After this position of the journal.")
@click.option("--time", help="From this time on, as 2026-01-31T12:00:00Z.")
@click.option("--group", default="shadow", show_default=True, help="Name of the replay.")
@click.option("--effects", is_flag=True, help="Let what the consumer returns happen again.")
@options.node
def replay(
    client: Client,
    output: str,
    name: str,
    begin: str | None,
    position: int | None,
    time: str | None,
    group: str,
    effects: bool,
) -> None:
    """Run a consumer again over the past, beside itself, up to now.

    Its effects are counted, and summed up into a digest, but do not happen, unless --effects.
    `eventmill consumers replays` shows what came of it.
    """
    body = {**_place("begin", begin, position, time), "group": group, "effects": effects}
    answer = client.post(f"/consumers/{name}/replay", body)
    done(f"{answer['name']} has {answer['lag']:,} positions to go.", answer, output)


@command.command()
@options.node
def replays(client: Client, output: str) -> None:
    """Show replays: how far they are, what came of them.

    Two replays of the same events have the same digest if all of their effects are the same.
    """
    rows = client.get("/replays")
    shown = rows if output == "json" else [_replay(row) for row in rows]
    columns = ["name", "state", "lag", "events", "dead", "effects", "digest"]
    show(shown, columns, output, empty="Nothing is replayed.")


order(
    command,
    "/replays",
    "forget",
    "End a replay, NAME as in `replays`, and let go of what came of it.",
    "{name} is forgotten.",
)


def _place(
    either: str, end: str | None, position: int | None, time: str | None
) -> dict[str, str | int]:
    given = {either: end, "position": position, "time": time}
    body = {way: value for way, value in given.items() if value is not None}
    if len(body) != 1:
        option = "from" if either == "begin" else either
        raise click.UsageError(f"give one of --{option}, --position and --time")
    return body


def _replay(row: dict[str, Any]) -> dict[str, Any]:
    tally = row["tally"]
    effects = ", ".join(f"{count} × {name}" for name, count in sorted(tally["effects"].items()))
    state = "finished" if row["finished"] else "running"
    return {
        **row,
        "state": f"{state}, with effects" if row["effects"] else state,
        "events": tally["events"],
        "effects": effects,
        "digest": f"{tally['digest']:016x}",
    }


def _row(row: dict[str, Any]) -> dict[str, Any]:
    named = {"name": row["view"], "kind": f"view v{row['version']}"} if row["view"] else {}
    return {**row, **named, "state": _state(row)}


def _state(row: dict[str, Any]) -> str:
    if row["paused"]:
        return "paused"
    return "running" if not row["dead"] else "has dead letters"
