"""The transport port: bytes between nodes. Commands are forwarded, readers woken through it.

Place on the road: routing, where the shard's owner is another node. What the bytes mean is not
known here.

Invariants every adapter keeps (tested by `eventmill.testing.contract.TransportContract`):
- A request is handled at most once; several to one address may run at the same time.
- `Unreachable` means that nobody heard the request; it comes at once when nobody serves the address.
- `DeadlineExceeded` means that the outcome is unknown: it may have been handled.
- A broadcast is a hint: it may be lost, and nobody learns of it.
Driver errors never leave an adapter; a lost connection is made again by itself, for ever.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

Handler = Callable[[bytes], Awaitable[bytes]]
"""Answers a request. What can go wrong belongs into its answer: it must not raise."""

Listener = Callable[[bytes], None]
"""Hears a broadcast; takes no time and does not raise."""


class Transport(Protocol):
    """Request and reply between nodes, and lossy wake-ups."""

    async def open(self) -> None:
        """Connect. Raises `Unreachable` when there is nothing to connect to."""
        ...

    async def close(self) -> None:
        """Withdraw all addresses, let handlers that run end, disconnect."""
        ...

    async def serve(self, address: str, handler: Handler) -> None:
        """Answer requests to an address from now on. If several nodes do, one gets each request."""
        ...

    async def withdraw(self, address: str) -> None:
        """Serve an address no longer; handlers that run go on. Unknown addresses are fine."""
        ...

    async def request(self, address: str, payload: bytes, seconds: float) -> bytes:
        """Return the answer of whoever serves the address.

        Raises `Unreachable`, `DeadlineExceeded` after `seconds`, `Overloaded` when the node handles
        as many requests as it may, `TooLarge`, `InternalError` when the handler raised.
        """
        ...

    async def broadcast(self, channel: str, payload: bytes) -> None:
        """Tell all nodes that listen, this one too. Lost without a word when that is not possible.

        Raises `TooLarge`.
        """
        ...

    async def listen(self, channel: str, listener: Listener) -> None:
        """Hear broadcasts on a channel from now on."""
        ...
