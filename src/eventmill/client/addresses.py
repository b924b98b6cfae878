"""Where a service is: at a URL, or wherever a broker's directory finds its nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from secrets import SystemRandom
from typing import Protocol

from eventmill.errors import Unavailable

_luck = SystemRandom().random


class Addresses(Protocol):
    """Where a service is."""

    async def next(self) -> str:
        """Return the URL for the next request. Raises `Unavailable` if there is none."""
        ...

    def failed(self, url: str) -> None:
        """Note that nobody answered there."""
        ...


class Address:
    """The one address that was given."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __repr__(self) -> str:
        return self._url

    async def next(self) -> str:
        return self._url

    def failed(self, url: str) -> None:
        """There is no other."""


class Found:
    """The nodes of a service, as a broker's directory tells them."""

    def __init__(self, service: str, broker: str) -> None:
        self._service = service
        self._broker = broker
        self._urls: Sequence[str] = []
        self._finding = asyncio.Lock()

    def __repr__(self) -> str:
        return f"{self._service} at {self._broker}"

    async def next(self) -> str:
        async with self._finding:
            if not self._urls:
                self._urls = await self._find()
            return self._urls[0]

    def failed(self, url: str) -> None:
        self._urls = [other for other in self._urls if other != url]

    async def _find(self) -> Sequence[str]:
        from eventmill.node import discovery  # it brings the engine with it: for who needs it

        nodes = await discovery.find(self._broker, self._service)
        if not nodes:
            raise Unavailable(
                f"no service {self._service!r} runs at {self._broker}", code="unavailable.service"
            )
        first = int(_luck() * len(nodes))  # clients spread over the nodes
        return [node.metadata["url"] for node in (*nodes[first:], *nodes[:first])]
