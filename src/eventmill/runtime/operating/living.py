"""The living system as one node sees it: its own service, and all others that it meets.

Place on the road: beside it.
"""

from __future__ import annotations

from eventmill.errors import NotFound
from eventmill.ports.directory import Instance
from eventmill.runtime.description import Description
from eventmill.runtime.runtime import Runtime


class Living:
    """Looks around from one node."""

    def __init__(self, runtime: Runtime) -> None:
        self._services = runtime.services

    async def instances(self) -> list[Instance]:
        """Return the nodes of all services. Raises `Unreachable`."""
        return [] if self._services is None else await self._services.find()

    async def describe(self, service: str) -> Description:
        """Return what a service is. Raises `NotFound`."""
        if self._services is None:
            raise NotFound(f"no service {service!r} is known here: this node meets none")
        return await self._services.describe(service)
