"""Orders: commands that tell a node one word about one thing."""

from __future__ import annotations

import click

from eventmill.cli.surface import options
from eventmill.cli.surface.client import Client
from eventmill.cli.surface.output import done, to_second


def order(group: click.Group, things: str, word: str, text: str, said: str) -> None:
    """Add the command `word` to a group, for what the node has at the path `things`.

    Parameters: `text` is its help; `said` is told when it is done, with the fields of the node's
    answer in it, times to the second, and the name.
    """

    @group.command(word, help=text)
    @click.argument("name")
    @options.node
    def give(client: Client, output: str, name: str) -> None:
        answer = client.post(f"{things}/{name}/{word}")
        times = {field: to_second(text) for field, text in answer.items() if isinstance(text, str)}
        done(said.format(**{**answer, **times, "name": name}), answer, output)
