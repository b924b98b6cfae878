"""Entry point of `eventmill`."""

from __future__ import annotations

import asyncio
import importlib
import signal
import sys
from pathlib import Path

import click

from eventmill.node.config import NodeConfig
from eventmill.node.node import Node
from eventmill.sdk.service import Service


@click.group()
def main() -> None:
    """Run and operate Eventmill services."""


@main.command()
@click.argument("target")
@click.option("--data", type=click.Path(path_type=Path), default=Path(".eventmill"))
@click.option("--port", type=int, default=8080)
def run(target: str, data: Path, port: int) -> None:
    """Run TARGET (module:service)."""
    module, _, name = target.partition(":")
    sys.path.insert(0, ".")
    service = getattr(importlib.import_module(module), name or "service")
    assert isinstance(service, Service)
    node = Node(service, NodeConfig(data=data, port=port))

    async def serve() -> None:
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(name, stopping.set)
        await node.run(stopping)

    import uvloop

    uvloop.run(serve())
