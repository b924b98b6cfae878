"""`eventmill topics`: list topics, publish to them, follow them."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click

from eventmill.cli.surface import options
from eventmill.cli.surface.asking import confirm
from eventmill.cli.surface.client import Client
from eventmill.cli.surface.exits import Failure
from eventmill.cli.surface.output import counted, done, show, to_second
from eventmill.model import limits

KEEPING: Final = ("retention", "bytes_max", "replicas")
"""What a table shows of how a topic is kept."""

FOLLOW_SECONDS = 20
"""One request of `tail --follow` waits this long for something new."""

_SPACE = re.compile(r"\s*")


@click.group()
def command() -> None:
    """List topics, publish to them, follow them."""


@command.command("list")
@options.node
def list_(client: Client, output: str) -> None:
    """List the topics of the service, and those of others that it follows.

    `end position` is where the part of the journal ends in which the topic lies, among other
    things: what `tail --from` counts in, not a number of messages.
    """
    topics = client.get("/topics")
    columns = ["id", "types", "key", *KEEPING, "end position"]
    columns += ["waiting"] if any(topic["waiting"] for topic in topics) else []
    rows = [{**topic, **topic["keeping"], "end position": topic["end"]} for topic in topics]
    show(topics if output == "json" else rows, columns, output, empty="The service has no topics.")


@command.command()
@click.argument("topic")
@click.argument("events", nargs=-1, required=True, metavar="EVENT...")
@click.option("--type", "kind", help="Stored type of the events, if the topic carries several.")
@click.option("--key", help="Key of the events, instead of what the topic makes of each.")
@options.node
def publish(
    client: Client,
    output: str,
    topic: str,
    events: tuple[str, ...],
    kind: str | None,
    key: str | None,
) -> None:
    """Publish events to TOPIC.

    EVENT is a JSON object; `@FILE` reads a file, `-` standard input: one JSON object, several (a
    line each, or not), or an array of them. Examples:

    \b
      eventmill topics publish orders '{"order_id": "o1", "items": {}}'
      eventmill topics publish orders @orders.ndjson
      generate | eventmill topics publish orders - --type OrderPlaced
    """
    found = [event for text in events for event in read_events(text)]
    options = {name: value for name, value in (("type", kind), ("key", key)) if value is not None}
    sent = 0
    for begin in range(0, len(found), limits.BATCH_EVENTS_MAX):
        batch = found[begin : begin + limits.BATCH_EVENTS_MAX]
        body = {"events": [event for _, event in batch], **options}
        try:
            client.post(f"/topics/{topic}/messages", body)
        except Failure as failure:
            number = failure.details.get("event")
            place = f"{batch[number][0]}: " if isinstance(number, int) else ""
            told = f"{place}{failure.message}{_before(sent)}"
            raise Failure(told, failure.code) from failure
        sent += len(batch)
    done(f"Published {counted(sent, 'event')} to {topic}.", {"published": sent}, output)


def read_events(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Read JSON objects, one or several, from an argument, `@FILE` or standard input for `-`, each
    with its place.

    Raises `UsageError` that says where the text is wrong.
    """
    place, content = _content(text)
    decoder, events = json.JSONDecoder(), list[tuple[str, dict[str, Any]]]()
    at = _past_space(content, 0)
    line = 1 + content.count("\n", 0, at)
    while at < len(content):
        try:
            value, end = decoder.raw_decode(content, at)
        except ValueError as error:
            line = content.count("\n", 0, getattr(error, "pos", 0)) + 1
            raise click.UsageError(
                f"{place}, line {line}: no JSON: {error}{_advice(text)}"
            ) from error
        events += _objects(value, f"{place}, line {line}", text)
        end = _past_space(content, end)
        line, at = line + content.count("\n", at, end), end
    if not events:
        raise click.UsageError(f"{place}: an event is a JSON object: {{…}}{_advice(text)}")
    return events


def _past_space(content: str, at: int) -> int:
    found = _SPACE.match(content, at)
    assert found is not None
    return found.end()


def _objects(value: Any, place: str, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the events that one JSON value holds, each with its place."""
    items = value if isinstance(value, list) else [value]
    for number, item in enumerate(items, 1):
        where = f"{place}, item {number}" if isinstance(value, list) else place
        if not isinstance(item, dict):
            raise click.UsageError(f"{where}: an event is a JSON object: {{…}}{_advice(text)}")
        yield where, item


def _content(text: str) -> tuple[str, str]:
    if text == "-":
        return "standard input", sys.stdin.read()
    if text.startswith("@"):
        return text[1:], Path(text[1:]).read_text()
    return "EVENT", text


def _advice(text: str) -> str:
    is_argument = text != "-" and not text.startswith("@")
    return '; quote it for the shell: \'{"name": "value"}\'' if is_argument else ""


def _before(sent: int) -> str:
    return f" (the {counted(sent, 'event')} before are published)" if sent else ""


@command.command()
@click.argument("topic")
@click.option("--yes", is_flag=True, help="Do not ask.")
@options.node
def adopt(client: Client, output: str, topic: str, yes: bool) -> None:
    """Read TOPIC of another service, as shop/orders, anew, after that service got another store.

    Its consumers begin at the beginning of what is there now, its views are built anew.
    """
    if not yes:
        confirm(f"Read {topic} from the beginning, as it is now?")
    answer = client.post(f"/topics/{topic}/adopt")
    done(f"{topic} is read anew by {', '.join(answer['readers']) or 'nobody'}.", answer, output)


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
        click.echo(
            f"{message['id']}  {to_second(message['time'])}  {subject}  {message['type']}  {data}"
        )
