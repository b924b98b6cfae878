"""Membership and claims in PostgreSQL, whose clock decides.

A claim changes the shard's head row, which every commit of that shard locks: a commit under way is
finished before the claim, one that comes after it is refused.
"""

from __future__ import annotations

from typing import Any

import asyncpg

from eventmill.adapters.postgres.connection import (
    Pool,
    close_pool,
    errors,
    open_pool,
)
from eventmill.adapters.postgres.store import Store
from eventmill.adapters.postgres.writer import fetch
from eventmill.errors import Conflict, StoreUnavailable
from eventmill.ports.cluster import Claim, Member

CONNECTIONS = 3
"""One to renew and look, one to take, one to give: a claim waits for the commit under way."""


class Leases:
    """Those of a store's database, over connections of its own: renewing must not wait for readers."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pool: Pool | None = None

    async def open(self) -> None:
        """Connect; the store has been opened before, which makes the tables."""
        self._pool = await open_pool(
            self._store.dsn, CONNECTIONS, default_transaction_read_only="off"
        )

    async def close(self) -> None:
        """Disconnect."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await close_pool(pool)

    async def cluster(self) -> str:
        rows = await self._run("cluster")
        return str(rows[0][0])

    async def join(self, node: str, address: str, *, seconds: float) -> None:
        await self._run("sweep_members")
        if not await self._run("join", node=node, address=address, seconds=seconds):
            raise Conflict(f"node {node!r} is alive already", code="conflict.member")

    async def renew(self, node: str, address: str, *, seconds: float) -> bool:
        return bool(await self._run("renew", node=node, address=address, seconds=seconds))

    async def leave(self, node: str, address: str) -> None:
        await self._run("leave", node=node, address=address)

    async def members(self) -> list[Member]:
        return [Member(*row) for row in await self._run("members")]

    async def claims(self) -> list[Claim]:
        return [
            Claim(*row) for row in await self._run("claims", shards=self._store.placement.shards)
        ]

    async def claim(self, shard: int, node: str, epoch: int) -> int | None:
        rows = await self._run("claim", shard=shard, node=node, epoch=epoch)
        return int(rows[0][0]) if rows else None

    async def release(self, shard: int, node: str, epoch: int) -> bool:
        return bool(await self._run("release", shard=shard, node=node, epoch=epoch))

    async def _run(self, name: str, **values: Any) -> list[asyncpg.Record]:
        if self._pool is None:
            raise StoreUnavailable("the leases are closed")
        with errors():
            return await fetch(self._pool, name, **values)
