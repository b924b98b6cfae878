"""The directory port: which services live, on which nodes, and what each of them is.

Place on the road: beside it. A node enters itself when it is ready and goes when it stops; whoever
looks asks all that are there, nothing is stored. Requests to a service go over the transport.

Invariants every adapter keeps (tested by `eventmill.testing.contract.DirectoryContract`): what was
announced is found until it is withdrawn or its node is gone; what nobody announced is not found.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec


class Endpoint(msgspec.Struct, frozen=True):
    """Something that a service answers to: a component, or a question about itself."""

    name: str
    address: str
    """Where its requests go, over the transport."""
    metadata: dict[str, str] = {}


class Instance(msgspec.Struct, frozen=True):
    """One node of a service."""

    service: str
    id: str
    """Of this life of the node: another one after each start."""
    version: str
    """Of Eventmill."""
    metadata: dict[str, str] = {}
    endpoints: list[Endpoint] = []


class Counts(msgspec.Struct):
    """What came in from other services since the start."""

    requests: int = 0
    errors: int = 0
    seconds: float = 0.0
    """Spent on them."""


class Directory(Protocol):
    """One node's view of it. It lives on a transport, which is open before and closed after it."""

    async def announce(self, instance: Instance, counts: Callable[[], Counts]) -> None:
        """Enter this node; once in its life. `counts` is asked whenever somebody wants to know."""
        ...

    async def withdraw(self) -> None:
        """Be found no more; also if it was never entered."""
        ...

    async def find(self, service: str = "") -> list[Instance]:
        """Return the nodes of a service, or of all, sorted by service and id.

        Takes a moment: nobody knows how many will answer. Raises `Unreachable`.
        """
        ...
