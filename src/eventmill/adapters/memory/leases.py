"""Membership and claims in memory: the model, for nodes of one process on one memory store."""

from __future__ import annotations

import secrets

from eventmill.adapters.memory.store import Store
from eventmill.errors import Conflict
from eventmill.ports.clock import Clock
from eventmill.ports.cluster import Claim, Member


class Leases:
    """Parameters: `store` has the epochs, `clock` is the store's. Nodes share one object."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._name = secrets.token_hex(8)
        self._epochs = store.epochs
        self._clock = clock
        self._members: dict[str, tuple[str, int]] = {}
        """Address and end of the lease, by node."""
        self._owners: dict[int, str] = {}

    async def open(self) -> None:
        """Nothing to connect to."""

    async def close(self) -> None:
        """The same."""

    async def cluster(self) -> str:
        return self._name

    async def join(self, node: str, address: str, *, seconds: float) -> None:
        if self._is_alive(node):
            raise Conflict(f"node {node!r} is alive already", code="conflict.member")
        self._members[node] = (address, self._end(seconds))

    async def renew(self, node: str, address: str, *, seconds: float) -> bool:
        if not self._is_alive(node) or self._members[node][0] != address:
            return False
        self._members[node] = (address, self._end(seconds))
        return True

    async def leave(self, node: str, address: str) -> None:
        if node in self._members and self._members[node][0] == address:
            del self._members[node]

    async def members(self) -> list[Member]:
        return [
            Member(node, address)
            for node, (address, _) in sorted(self._members.items())
            if self._is_alive(node)
        ]

    async def claims(self) -> list[Claim]:
        return [Claim(shard, self._owners.get(shard), n) for shard, n in self._epochs.items()]

    async def claim(self, shard: int, node: str, epoch: int) -> int | None:
        owner = self._owners.get(shard)
        if self._epochs[shard] != epoch or not self._is_alive(node):
            return None
        if owner is not None and self._is_alive(owner):
            return None
        self._owners[shard] = node
        self._epochs[shard] += 1
        return self._epochs[shard]

    async def release(self, shard: int, node: str, epoch: int) -> bool:
        if self._owners.get(shard) != node or self._epochs[shard] != epoch:
            return False
        del self._owners[shard]
        return True

    def _is_alive(self, node: str) -> bool:
        return node in self._members and self._members[node][1] > self._clock.now()

    def _end(self, seconds: float) -> int:
        return self._clock.now() + round(seconds * 1_000_000)
