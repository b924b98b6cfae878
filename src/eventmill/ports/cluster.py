"""The cluster port: who is alive, and which node holds which shard.

Rows that are changed only by compare-and-set, in the shared store itself, whose clock decides; so
a claim and the commits that it ends are ordered by the same row. A lease is not what keeps two
nodes from writing: the epoch is (`Store.hold`). Losing the leases stops moves, never safety.

Invariants every adapter keeps (tested by `eventmill.testing.contract`):
- A member is alive until its lease ends by the store's clock. One whose lease has ended never lives
  again under that name unless it joins anew. Its address is what tells it from one of the same name
  that joined since.
- A claim succeeds only under the epoch that was seen, for a node that is alive, on a shard whose
  owner is not; it raises the epoch, and with that refuses every commit of the owner before.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

ALONE: Final = "$alone/"
"""Begins the address of a node that no other one can reach."""


class Member(NamedTuple):
    """A node that is alive."""

    node: str
    address: str
    """Where other nodes reach it."""


class Claim(NamedTuple):
    """A shard, and who holds it."""

    shard: int
    owner: str | None
    """None: never held, or released. May be a node that is not alive any more."""
    epoch: int


class Leases(Protocol):
    """Membership and claims of one cluster."""

    async def open(self) -> None:
        """Connect; the store has been opened before."""
        ...

    async def close(self) -> None:
        """Disconnect."""
        ...

    async def cluster(self) -> str:
        """Return what tells this store from all others, for as long as it lives."""
        ...

    async def join(self, node: str, address: str, *, seconds: float) -> None:
        """Become a member for so long.

        Raises `Conflict` if a member of that name is alive, `StoreUnavailable`.
        """
        ...

    async def renew(self, node: str, address: str, *, seconds: float) -> bool:
        """Live so long from now on; False: too late, the lease has ended, and perhaps another
        process has the name by now, at another address. Join anew.

        Raises `StoreUnavailable`.
        """
        ...

    async def leave(self, node: str, address: str) -> None:
        """Be a member no more; what it holds may be claimed at once. Not if the name is that of
        another process by now."""
        ...

    async def members(self) -> list[Member]:
        """Return the nodes that are alive, by name."""
        ...

    async def claims(self) -> list[Claim]:
        """Return all home shards, in order."""
        ...

    async def claim(self, shard: int, node: str, epoch: int) -> int | None:
        """Take a shard that was seen at that epoch; return its new epoch, or None: somebody has it.

        Raises `StoreUnavailable`.
        """
        ...

    async def release(self, shard: int, node: str, epoch: int) -> bool:
        """Give a shard back that one holds at that epoch; False: somebody else has it by now."""
        ...
