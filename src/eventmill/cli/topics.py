"""`eventmill topics`: list topics, publish to them, follow them."""

from __future__ import annotations

import json
from typing import Any

import click

from eventmill.cli.entities import read_object
from eventmill.cli.surface import options
from eventmill.cli.surface.client import Client
from eventmill.cli.surface.output import done, show

FOLLOW_SECONDS = 20
"""One request of `tail --follow` waits this long for something new."""


@click.group()
def command() -> None:
    """List topics, publish to them, follow them."""


@command.command("list")
@options.node
def list_(client: Client, output: str) -> None:
    """List the topics of the service."""
    columns = ["id", "types", "key", "end"]
    show(client.get("/topics"), columns, output, empty="The service has no topics.")


@command.command()
@click.argument("topic")
@click.argument("event")
@click.option("--type", "kind", help="Stored type of the event, if the topic carries several.")
@options.node
def publish(client: Client, output: str, topic: str, event: str, kind: str | None) -> None:
    """Publish an event to TOPIC.

    EVENT is a JSON object; `-` reads it from standard input.
    """
    body = {"data": read_object(event), **({"type": kind} if kind else {})}
    answer = client.post(f"/topics/{topic}/messages", body)
    done(f"Published to {topic}.", answer, output)


@command.command()
@click.argument("topic")
@click.option("--follow", "-f", is_flag=True, help="Go on with what arrives, until Ctrl-C.")
@click.option("--from", "after", type=click.IntRange(0), help="Begin after this position.")
@options.limit(10)
@options.node
def tail(
    client: Client, output: str, topic: str, follow: bool, after: int | None, limit: int
) -> None:
    """Show the last messages of TOPIC; follow them.

    With --output json: one JSON object a line.
    """
    path = f"/topics/{topic}/messages"
    found = client.get(path, after=after, limit=limit)
    while not found["messages"] and not found["end"] and after is not None:
        # A long stretch without messages: one request looks at a part of it only.
        found = client.get(path, after=found["position"], limit=limit)
    if not found["messages"] and not follow:
        click.echo(_nothing(topic, found["start"], after), err=True)
    _show(found["messages"], output)
    while follow:
        found = client.get(path, after=found["position"], limit=1_000, wait=FOLLOW_SECONDS)
        _show(found["messages"], output)


def _nothing(topic: str, start: int, after: int | None) -> str:
    if after is None and start > 0:
        return (
            f"No messages of {topic} since position {start:,}; to look from the beginning: "
            f"eventmill topics tail {topic} --from 0"
        )
    return f"No messages of {topic} there."


def _show(messages: list[dict[str, Any]], output: str) -> None:
    for message in messages:
        if output == "json":
            click.echo(json.dumps(message, ensure_ascii=False))
            continue
        subject = click.style(message["subject"] or "-", bold=True)
        data = json.dumps(message["data"], ensure_ascii=False)
        click.echo(f"{message['id']}  {message['time']}  {subject}  {message['type']}  {data}")
