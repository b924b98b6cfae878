"""The living system as one node sees it: its own service, and all others if it can meet them.

Place on the road: beside it. A node of the embedded engine meets nobody: there is its service only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from eventmill.errors import NotFound
from eventmill.ports.cluster import Claim, Member
from eventmill.ports.directory import Instance
from eventmill.runtime import description
from eventmill.runtime.description import Description
from eventmill.runtime.runtime import Runtime

ALONE: Final = "node"
"""Name of a node that has none, since there are no others."""


class Living:
    """Looks around from one node. Parameters: `facts` are this one's."""

    def __init__(self, runtime: Runtime, facts: Callable[[], dict[str, Any]]) -> None:
        self._runtime = runtime
        self._facts = facts

    async def instances(self) -> list[Instance]:
        """Return the nodes of all services. Raises `Unreachable`."""
        runtime = self._runtime
        if runtime.peers is not None:
            return await runtime.peers.services.find()
        return [description.instance(runtime.service, ALONE, {"node": ALONE, **self._facts()})]

    async def describe(self, service: str) -> Description:
        """Return what a service is. Raises `NotFound`."""
        runtime = self._runtime
        if runtime.peers is not None:
            return await runtime.peers.services.describe(service)
        if service != runtime.service.name:
            raise NotFound(f"no service {service!r} is known here: this node meets no others")
        alone = [Member(ALONE, "")], [Claim(0, ALONE, 1)]
        return await description.describe(runtime.service, *alone, description.STORE)
