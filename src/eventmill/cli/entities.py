"""`eventmill entities`: list and read entities, call them."""

from __future__ import annotations

import json
import sys
from typing import Any, Final, NoReturn
from urllib.parse import quote

import click

from eventmill.cli.surface import options
from eventmill.cli.surface.client import Client
from eventmill.cli.surface.exits import Failure
from eventmill.cli.surface.output import show, show_facts, show_json, to_second

FOLLOW_SECONDS: Final = 20
"""One request of `events --follow` waits this long for something new."""


@click.group()
def command() -> None:
    """List and read entities, call them."""


@command.command("list")
@click.argument("component", required=False)
@click.option("--after", default="", help="Ids after this one: the next page.")
@options.limit(100)
@options.node
def list_(client: Client, output: str, component: str | None, after: str, limit: int) -> None:
    """List the components, or the entities of COMPONENT by id.

    Deleted ones are listed until what is kept of them is removed.
    """
    if component is None:
        columns = ["id", "kind", "commands", "queries", "events"]
        show(client.get("/entities"), columns, output, empty="The service has no entities.")
        return
    rows = client.get(f"/entities/{component}", after=after, limit=limit)
    show(rows, ["id", "sequence", "deleted"], output, empty=f"No entities of {component!r} here.")
    if len(rows) == limit and output == "table":
        click.echo(
            f"More: eventmill entities list {component} --after {rows[-1]['id']!r}", err=True
        )


@command.command()
@click.argument("component")
@click.argument("id")
@click.option("--sequence", type=click.IntRange(1), help="As it was after this event.")
@click.option("--time", help="As it was at this time, as 2026-01-31T12:00:00Z.")
@options.node
def get(
    client: Client, output: str, component: str, id: str, sequence: int | None, time: str | None
) -> None:
    """Show the state of an entity, now or in its past."""
    path = f"/entities/{component}/state"
    found = client.get(path, id=id, sequence=sequence, time=time)
    show_facts(found, output)


@command.command()
@click.argument("component")
@click.argument("id")
@click.option("--from", "before", required=True, help="After this sequence, or at this time.")
@click.option("--to", "after", help="The same; without it, as it is now.")
@options.node
def diff(
    client: Client, output: str, component: str, id: str, before: str, after: str | None
) -> None:
    """Show in what an entity differs between two moments. Example:

    eventmill entities diff cart c1 --from 3 --to 9
    """
    path = f"/entities/{component}/difference"
    found = client.get(path, id=id, **{"from": before, "to": after})
    if output == "json":
        show_json(found)
        return
    for name in ("from", "to"):
        moment = found[name]
        deleted = ", deleted" if moment["deleted"] else ""
        click.echo(f"{name:5}{moment['sequence']:,} ({to_second(moment['time'])}{deleted})")
    click.echo()
    rows = [{**one, "path": one["path"] or "/"} for one in found["differences"]]
    show(
        [{name: _said(row.get(name, ...)) for name in _DIFFERENCE} for row in rows],
        _DIFFERENCE,
        output,
        empty="The states are the same.",
    )
    if not found["whole"]:
        click.echo(f"There are more than these {len(rows):,}.", err=True)


_DIFFERENCE = ["path", "before", "after"]


def _said(value: Any) -> str:
    """Show one side of a difference; nothing where there is none, which `null` is not."""
    if value is ...:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@command.command()
@click.argument("component")
@click.argument("id")
@click.option("--after", type=click.IntRange(0), default=0, help="Sequences after this one.")
@click.option("--metadata", is_flag=True, help="Show the events' metadata too.")
@click.option("--follow", "-f", is_flag=True, help="Go on with what happens, until Ctrl-C.")
@options.limit(100)
@options.node
def events(
    client: Client,
    output: str,
    component: str,
    id: str,
    after: int,
    metadata: bool,
    follow: bool,
    limit: int,
) -> None:
    """Show the events of an entity; follow them.

    With --follow and --output json: one JSON object a line.
    """
    path = f"/entities/{component}/events"
    if follow:
        _follow(client, output, path, id, after)
    rows = client.pages(path, limit=limit, last="sequence", after=after, id=id)
    columns = ["sequence", "time", "type", "version", "data", *(["metadata"] if metadata else [])]
    show(rows, columns, output, empty=f"{component}/{id} has no events after {after}.")


def _follow(client: Client, output: str, path: str, id: str, after: int) -> NoReturn:
    while True:
        for event in client.get(path, id=id, after=after, limit=1_000, wait=FOLLOW_SECONDS):
            after = event["sequence"]
            told = json.dumps(event if output == "json" else event["data"], ensure_ascii=False)
            if output != "json":
                told = f"{after:>6,}  {to_second(event['time'])}  {event['type']}  {told}"
            click.echo(told)


@command.command()
@click.argument("component")
@click.argument("id")
@click.argument("name")
@click.argument("arguments", nargs=-1)
@click.option("--idempotency-key", help="A repetition with the same key has no second effect.")
@click.option("--sequence", type=click.IntRange(0), help="A query: as it was after this event.")
@click.option("--time", help="A query: as it was at this time, as 2026-01-31T12:00:00Z.")
@click.option("--follow", "-f", is_flag=True, help="A query: its answer, whenever it changes.")
@options.node
def call(
    client: Client,
    output: str,
    component: str,
    id: str,
    name: str,
    arguments: tuple[str, ...],
    idempotency_key: str | None,
    sequence: int | None,
    time: str | None,
    follow: bool,
) -> None:
    """Run the command or query NAME of an entity.

    ARGUMENTS are `name=value`, a value being JSON or plain text; or one JSON object; or `-` to read
    it from standard input. Example:

      eventmill entities call cart c1 add_item sku=apple quantity=2
    """
    body = read_arguments(arguments)
    if follow:
        texts = {key: _text(value) for key, value in body.items()}
        target = "/".join(quote(part, safe="") for part in (component, id, name))
        for answer in client.events(f"/components/{target}", texts):
            click.echo(json.dumps(answer, ensure_ascii=False))
    path = f"/entities/{component}/call"
    try:
        moment = {"sequence": sequence, "time": time}
        show_json(client.call(path, body, idempotency_key, id=id, name=name, **moment))
    except Failure as failure:
        if "Expected `str`" in failure.message:
            text = f"{failure.message}; a text that looks like JSON needs its quotes: a='\"5\"'"
            raise Failure(text, failure.code) from failure
        raise


def read_arguments(arguments: tuple[str, ...]) -> dict[str, Any]:
    """Read `name=value` pairs or one JSON object.

    Raises `UsageError`.
    """
    if len(arguments) == 1 and (arguments[0] == "-" or arguments[0].startswith("{")):
        return read_object(arguments[0])
    body: dict[str, Any] = {}
    for argument in arguments:
        name, found, text = argument.partition("=")
        if not found:
            raise click.UsageError(f"{argument!r}: arguments are name=value, or one JSON object")
        body[name] = _value(text)
    return body


def read_object(text: str) -> dict[str, Any]:
    """Read a JSON object, from standard input for `-`.

    Raises `UsageError`.
    """
    try:
        body = json.loads(sys.stdin.read() if text == "-" else text)
    except ValueError as error:
        raise click.UsageError(f"this is no JSON: {error}") from error
    if not isinstance(body, dict):
        raise click.UsageError("a JSON object is needed: {…}")
    return body


def _text(value: Any) -> Any:
    """Return what a URL's query says for a value; a list is its values one by one."""
    if isinstance(value, list):
        return [_text(one) for one in value] or [""]
    return value if isinstance(value, str) else json.dumps(value)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
