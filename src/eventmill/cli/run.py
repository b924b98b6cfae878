"""`eventmill run`: run services until they are told to stop."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine, Sequence
from dataclasses import asdict
from typing import Any

import click

from eventmill.cli.surface import logs, options, target
from eventmill.cli.surface.ending import end_late
from eventmill.cli.surface.exits import INTERRUPTED
from eventmill.cli.surface.output import counted
from eventmill.model import limits
from eventmill.model.addresses import without_secrets
from eventmill.model.definition import ServiceDefinition
from eventmill.node import collector
from eventmill.node.config import NodeConfig
from eventmill.node.node import Node
from eventmill.node.process import Process
from eventmill.node.sockets import free_port

DEFAULTS = NodeConfig()


@click.command()
@click.argument("targets", metavar="TARGET...", nargs=-1, required=True)
@options.data
@options.store
@options.broker
@click.option(
    "--topics",
    type=click.Choice(["store", "broker"]),
    envvar="EVENTMILL_TOPICS",
    help="Where topics live: in the broker if there is one, else in the store. Fixed for a store by "
    "its first start.",
)
@click.option(
    "--replicas",
    type=click.IntRange(1, 5),
    default=DEFAULTS.replicas,
    envvar="EVENTMILL_REPLICAS",
    show_default=True,
    help="How many of the broker's servers hold a topic's messages.",
)
@click.option(
    "--shards",
    type=click.IntRange(1, limits.SLICES),
    envvar="EVENTMILL_SHARDS",
    help="Home shards of a new --store, 16 by default: no more nodes have work. Fixed from then on.",
)
@click.option(
    "--node",
    default=DEFAULTS.node,
    envvar="EVENTMILL_NODE",
    metavar="NAME",
    help="Name of this node among the others; made up by default.",
)
@click.option(
    "--host",
    default=DEFAULTS.host,
    envvar="EVENTMILL_HOST",
    show_default=True,
    help="Address of the service; 0.0.0.0 takes requests from everywhere.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=DEFAULTS.port,
    envvar="EVENTMILL_PORT",
    show_default=True,
    help="Port of the service; 0 takes a free one.",
)
@click.option(
    "--admin-port",
    type=click.IntRange(0, 65_535),
    default=DEFAULTS.admin_port,
    envvar="EVENTMILL_ADMIN_PORT",
    help="Port of the operating surface; a free one by default.",
)
@click.option(
    "--admin-host",
    default=DEFAULTS.admin_host,
    envvar="EVENTMILL_ADMIN_HOST",
    show_default=True,
    help="Address of the operating surface. It asks nobody who they are: keep it private.",
)
@click.option("--reload", is_flag=True, help="Restart when a file changes; turns guards on.")
@click.option(
    "--guards/--no-guards",
    default=None,
    envvar="EVENTMILL_GUARDS",
    help="Checks of development: lost effects, state changed outside @on.",
)
@click.option(
    "--synchronous",
    type=click.Choice(["FULL", "EXTRA", "NORMAL"]),
    default=DEFAULTS.synchronous,
    envvar="EVENTMILL_SYNCHRONOUS",
    show_default=True,
    help="NORMAL may lose the last commits when the power fails.",
)
@click.option(
    "--push-private/--no-push-private",
    default=None,
    envvar="EVENTMILL_PUSH_PRIVATE",
    help="Let subscriptions push to loopback and private addresses; so by default if --host is "
    "loopback.",
)
@click.option(
    "--cache-entities",
    type=click.IntRange(1),
    default=DEFAULTS.cache_entities,
    envvar="EVENTMILL_CACHE_ENTITIES",
    show_default=True,
    help="Entities held in memory.",
)
@click.option(
    "--cache-bytes",
    type=click.IntRange(1 << 20),
    default=DEFAULTS.cache_bytes,
    envvar="EVENTMILL_CACHE_BYTES",
    show_default=True,
    help="Their size, by their encoded states.",
)
@click.option(
    "--drain-seconds",
    type=click.FloatRange(0),
    default=DEFAULTS.drain_seconds,
    envvar="EVENTMILL_DRAIN_SECONDS",
    show_default=True,
    help="How long a stop waits for requests under way.",
)
@click.option(
    "--log",
    type=click.Choice(["auto", "console", "json"]),
    default="auto",
    envvar="EVENTMILL_LOG",
    help="auto: for people on a terminal, JSON lines otherwise.",
)
@click.option("--parent-pipe", type=int, hidden=True, help="Stop at its end; --reload's own.")
def command(
    targets: tuple[str, ...],
    reload: bool,
    guards: bool | None,
    log: str,
    parent_pipe: int | None,
    **settings: Any,
) -> None:
    """Run the service TARGET, `module:variable`, or several that find each other by name.

    One process and one data directory are everything they need; of several, each has a directory in
    it, and a port of its own: the first --port, the next one the port after it. Ctrl-C or SIGTERM
    stops them when all that was accepted is done; a second Ctrl-C ends the process at once, which
    loses nothing acknowledged.
    """
    config = NodeConfig(guards=reload if guards is None else guards, **settings)
    for_people = logs.configure(log)
    if reload or parent_pipe is not None:
        # Imported here: only development pays for the file watcher.
        from eventmill.cli.surface.reload import run_reloading, stop_with_parent

        if parent_pipe is None:
            run_reloading(targets, _again(config, log, len(targets)))
            return
        stop_with_parent(parent_pipe)
    _run(_serve(targets, config, for_people))


async def _serve(names: Sequence[str], config: NodeConfig, for_people: bool) -> None:
    process = Process([target.load(name) for name in names], config)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop(number: signal.Signals) -> None:
        if stopping.is_set():
            if number is signal.SIGINT:
                os._exit(INTERRUPTED)  # asked twice: as a crash, which loses nothing acknowledged
            return
        if for_people:
            click.echo("\nStopping: finishing what was accepted …", err=True)
        stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    await process.start()
    collector.calm()
    if for_people:
        _banner(process.nodes)
    else:
        for node in process.nodes:
            logs.started(node.facts(), guards=config.guards)
    await process.run(stopping, lambda: end_late(loop))
    logs.stopped(sum(node.runtime.tails.total for node in process.nodes))


def _run(main: Coroutine[Any, Any, None]) -> None:
    if sys.platform == "win32":
        asyncio.run(main)
        return
    import uvloop

    uvloop.run(main)


def _banner(nodes: Sequence[Node]) -> None:
    for node in nodes:
        _show(node)
    data = nodes[0].config.data
    option = "" if data == options.DATA else f" --data {data}"
    hint = f"Look inside with `eventmill entities list{option}`; Ctrl-C stops."
    click.echo("\n  " + _dim(hint) + "\n")


def _show(node: Node) -> None:
    facts = node.facts()
    title = click.style(facts["service"], bold=True)
    click.echo(f"\n  {title} runs on eventmill {facts['version']}\n")
    lines = {
        "service": click.style(facts["url"], fg="cyan"),
        "admin": click.style(facts["admin_url"], fg="cyan"),
        **_stored(node, facts["position"]),
        "parts": _parts(node.runtime.service),
    }
    if node.config.guards:
        lines["guards"] = "on: lost effects and changed states are errors"
    for name, text in lines.items():
        click.echo(f"  {_dim(name.ljust(8))} {text}")


def _stored(node: Node, position: int) -> dict[str, str]:
    """Where everything is that the node keeps."""
    config, peers = node.config, node.runtime.peers
    new = f"({counted(position, 'entry', 'entries')})" if position else "(new)"
    if peers is None:
        return {"data": f"{config.data} {_dim(new)}"}
    servers = config.broker.split(",") if config.broker else []
    return {
        "store": f"{without_secrets(config.store)} {_dim(new)}",
        **({"broker": ", ".join(map(without_secrets, servers))} if servers else {}),
        "node": peers.cluster.node,
    }


def _parts(service: ServiceDefinition) -> str:
    parts = [
        counted(len(things), one, many)
        for things, one, many in (
            (service.entities, "entity", "entities"),
            (service.consumers, "consumer", "consumers"),
            (service.actions, "action", "actions"),
            (service.views, "view", "views"),
            (service.transforms, "transform", "transforms"),
            (service.topics, "topic", "topics"),
        )
        if things
    ]
    return ", ".join(parts) or "no components"


def _dim(text: str) -> str:
    return click.style(text, fg="bright_black")


def _again(config: NodeConfig, log: str, services: int) -> list[str]:
    """Return the options that the child process of `--reload` is started with."""
    settings = asdict(config)
    settings["port"] = config.port or free_port(config.host, services)
    return [f"--log={log}", *filter(None, map(_option, settings, settings.values()))]


def _option(name: str, value: Any) -> str:
    option = name.replace("_", "-")
    match value:
        case None:
            return ""
        case bool():
            return f"--{option}" if value else f"--no-{option}"
        case _:
            return f"--{option}={value}"
