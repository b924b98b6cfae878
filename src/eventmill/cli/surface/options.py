"""Options that many commands take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from eventmill.cli.surface.client import Client

F = TypeVar("F", bound=Callable[..., Any])

DATA = Path(".eventmill")

_output = click.option(
    "--output",
    type=click.Choice(["table", "json"]),
    default="table",
    envvar="EVENTMILL_OUTPUT",
    help="Tables for people, JSON for programs.",
)
_data = click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=DATA,
    show_default=True,
    envvar="EVENTMILL_DATA",
    help="Data directory.",
)
_store = click.option(
    "--store",
    default="",
    envvar="EVENTMILL_STORE",
    metavar="URL",
    help="postgresql://…: keep everything in PostgreSQL instead of a SQLite file.",
)
_broker = click.option(
    "--broker",
    default="",
    envvar="EVENTMILL_BROKER",
    metavar="URL",
    help="nats://…: how several nodes of one --store reach each other, and where topics live.",
)
_looked_into = click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="Also check that what this data directory holds can still be read.",
)
_looked_up = click.option(
    "--store",
    default="",
    metavar="URL",
    help="The same for what PostgreSQL holds: postgresql://…",
)
_url = click.option(
    "--url",
    envvar="EVENTMILL_ADMIN_URL",
    help="Address of the node's operating surface, instead of --data.",
)


def output(function: F) -> F:
    """Add `--output`, given to the command as `output`."""
    return _output(function)


def data(function: F) -> F:
    """Add `--data`."""
    return _data(function)


def store(function: F) -> F:
    """Add `--store`."""
    return _store(function)


def broker(function: F) -> F:
    """Add `--broker`."""
    return _broker(function)


def stored(function: F) -> F:
    """Add `--data` and `--store` of what shall be looked into: nothing, if neither is given."""
    return _looked_into(_looked_up(function))


def url(function: F) -> F:
    """Add `--url`."""
    return _url(function)


def node(function: F) -> F:
    """Add `--data`, `--url` and `--output`: the command gets a `client` and `output`."""

    def asking(*args: Any, data: Path, url: str | None, **kwargs: Any) -> Any:
        return function(*args, client=Client(data, url), **kwargs)

    asking.__name__, asking.__doc__ = function.__name__, function.__doc__
    asking.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
    return _data(_url(_output(asking)))  # type: ignore[return-value]


def limit(default: int) -> Callable[[F], F]:
    """Add `--limit`."""
    return click.option(
        "--limit",
        "-n",
        type=click.IntRange(1, 1_000),
        default=default,
        show_default=True,
        help="How many at most.",
    )
