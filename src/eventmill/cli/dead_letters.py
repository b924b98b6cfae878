"""`eventmill dead-letters`: list, show, redrive and discard what could not be handled."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click

from eventmill.cli.surface import options
from eventmill.cli.surface.asking import confirm
from eventmill.cli.surface.client import Client
from eventmill.cli.surface.output import counted, done, show, show_facts, show_json, to_second

STATUSES = ("dead", "refused", "retrying", "waiting")

COUNTED_MAX = 1_000
"""Letters that are counted."""


@click.group()
def command() -> None:
    """List, show, redrive and discard dead letters.

    A dead letter is an event whose handler failed until its retry policy was spent. Later events of
    the same key wait behind it; all other keys go on.
    """


@command.command("list")
@click.argument("subscription", required=False)
@click.option(
    "--status",
    "statuses",
    type=click.Choice([*STATUSES, "all"]),
    multiple=True,
    default=["dead", "refused"],
    show_default=True,
    help="Which letters; may be given several times.",
)
@click.option("--after", default="", help="Letters after this id: the next page.")
@options.limit(100)
@options.node
def list_(
    client: Client,
    output: str,
    subscription: str | None,
    statuses: tuple[str, ...],
    after: str,
    limit: int,
) -> None:
    """List letters, of SUBSCRIPTION or of all."""
    wanted = [] if "all" in statuses else list(statuses)
    rows = _letters(client, subscription, wanted, limit, after)
    columns = ["id", "key", "status", "error"]
    shown = rows if output == "json" else [_short(row) for row in rows]
    empty = "No such letters."
    if not rows and output == "table" and wanted == ["dead", "refused"] and not after:
        empty = _none_dead(client, subscription)
    show(shown, columns, output, empty=empty)
    if len(rows) == limit and output == "table":
        click.echo(f"More: eventmill dead-letters list --after {rows[-1]['id']!r}", err=True)


@command.command("show")
@click.argument("letter")
@options.node
def show_(client: Client, output: str, letter: str) -> None:
    """Show a letter whole: the event, the error, the traceback."""
    found = client.get("/dead-letters/letter", id=letter)
    if output == "json":
        show_json(found)
        return
    entry, traceback = found.pop("entry"), found.pop("traceback")
    lifted = found.pop("lifted", None)
    show_facts(found, output)
    click.echo(click.style(f"\n{entry['type']} v{entry['version']}", bold=True), nl=False)
    click.echo(f" of {entry['source']}/{entry['subject']}, {to_second(entry['time'])}")
    click.echo(json.dumps(entry["data"], indent=2, ensure_ascii=False))
    if lifted is not None:
        _show_lifted(lifted)
    if traceback:
        click.echo("\n" + traceback.rstrip())


def _show_lifted(lifted: dict[str, Any]) -> None:
    """Show how the handler gets an event of another version."""
    click.echo(click.style(f"\nread as {lifted['type']} v{lifted['version']}", bold=True))
    problem = lifted.get("problem")
    click.echo(problem or json.dumps(lifted["data"], indent=2, ensure_ascii=False))


def _choice(function: Callable[..., Any]) -> Callable[..., Any]:
    for decorate in (
        click.option("--refused", is_flag=True, help="Refused commands instead of dead letters."),
        click.option("--all", "everything", is_flag=True, help="All dead letters of it."),
        click.option("--key", help="The head of this key: source/subject, as listed."),
        click.option("--letter", help="This letter, by its id."),
        click.argument("subscription"),
    ):
        function = decorate(function)
    return function


@command.command()
@_choice
@options.node
def redrive(client: Client, output: str, **choice: Any) -> None:
    """Try dead letters again, in order per key.

    They are letters of SUBSCRIPTION, as `list` shows it; each gets fresh attempts, at once.
    """
    answer = client.post("/dead-letters/redrive", _body(choice))
    done(f"{counted(answer['redriven'], 'letter')} will be tried again.", answer, output)


@command.command()
@_choice
@click.option("--yes", is_flag=True, help="Do not ask.")
@options.node
def discard(client: Client, output: str, yes: bool, **choice: Any) -> None:
    """Remove dead letters for good.

    They are letters of SUBSCRIPTION, as `list` shows it; what waits behind them goes on.
    """
    body = _body(choice)
    if not yes:
        what = choice["letter"] or choice["key"] or "all"
        confirm(f"Discard {what} of {choice['subscription']}?")
    answer = client.post("/dead-letters/discard", body)
    done(f"{counted(answer['discarded'], 'letter')} discarded.", answer, output)


def _body(choice: dict[str, Any]) -> dict[str, Any]:
    ways = [choice["key"] is not None, choice["letter"] is not None, choice["everything"]]
    if sum(ways) != 1:
        raise click.UsageError("give one of --letter, --key and --all")
    names = ("subscription", "key", "letter", "refused")
    return {name: choice[name] for name in names}


def _none_dead(client: Client, subscription: str | None) -> str:
    """Say what the default does not show, as far as it is counted."""
    hidden = ["retrying", "waiting"]
    rows = _letters(client, subscription, hidden, COUNTED_MAX)
    counts = [(status, sum(row["status"] == status for row in rows)) for status in hidden]
    told = " and ".join(f"{number:,} {status}" for status, number in counts if number)
    return f"None dead; {told}: --status all" if told else "No such letters."


def _letters(
    client: Client, subscription: str | None, statuses: list[str], limit: int, after: str = ""
) -> list[dict[str, Any]]:
    found = {"subscription": subscription, "status": statuses}
    return client.pages("/dead-letters", limit=limit, last="id", after=after or None, **found)


def _short(row: dict[str, Any]) -> dict[str, Any]:
    told = f"{row['code']}: {row['error']}" if row["code"] else row["error"]
    return {**row, "error": told.partition("\n")[0][:120]}
