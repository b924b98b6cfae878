"""The directory of one process: kept by the network that its nodes are connected by."""

from __future__ import annotations

from collections.abc import Callable

from eventmill.adapters.memory.transport import Transport
from eventmill.ports.directory import Counts, Instance


class Directory:
    """One node's view. It lives on the node's transport, and goes with it."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def announce(self, instance: Instance, counts: Callable[[], Counts]) -> None:
        self._transport.network.announced[self._transport.node] = instance

    async def withdraw(self) -> None:
        self._transport.network.announced.pop(self._transport.node, None)

    async def find(self, service: str = "") -> list[Instance]:
        network, here = self._transport.network, self._transport.node
        found = [i for node, i in network.announced.items() if network.reaches(here, node)]
        fitting = [instance for instance in found if service in ("", instance.service)]
        return sorted(fitting, key=lambda instance: (instance.service, instance.id))
