"""Looking at the living system from outside, over a broker, without being a node."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from eventmill.node.engine import neighbourhood_at
from eventmill.ports.directory import Directory, Instance
from eventmill.ports.transport import Transport
from eventmill.runtime.cluster.services import described
from eventmill.runtime.description import Description


def instances(broker: str) -> list[Instance]:
    """Return the nodes of all services at a broker.

    Raises `ConfigurationError` for a URL that is none, `Unreachable` if nothing answers there.
    """

    return asyncio.run(find(broker))


async def find(broker: str, service: str = "") -> list[Instance]:
    """Return the nodes of a service at a broker, or of all. Raises as `instances`."""
    async with _visit(broker) as (_, directory):
        return await directory.find(service)


def describe(broker: str, service: str) -> Description:
    """Return what a service at a broker is. Raises `NotFound`, and as `instances`."""

    async def ask() -> Description:
        async with _visit(broker) as (transport, _):
            return await described(transport, service)

    return asyncio.run(ask())


@asynccontextmanager
async def _visit(broker: str) -> AsyncIterator[tuple[Transport, Directory]]:
    transport, directory = neighbourhood_at(broker, "eventmill visitor")
    await transport.open()
    try:
        yield transport, directory
    finally:
        await transport.close()
