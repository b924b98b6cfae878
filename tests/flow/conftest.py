"""Every flow runs on each store: the same behaviour is a guarantee (G9)."""

from __future__ import annotations

from pathlib import Path

import pytest

from eventmill.adapters.memory.store import Store as MemoryStore
from eventmill.adapters.postgres.store import Store as PostgresStore
from eventmill.adapters.sqlite.store import Store as SqliteStore
from eventmill.ports.store import Store
from eventmill.testing import FaultyStore


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> FaultyStore:
    """A store whose commits can be made to fail; without faults it only passes through."""
    return FaultyStore(await _inner(request, tmp_path))


async def _inner(request: pytest.FixtureRequest, directory: Path) -> Store:
    if request.param == "memory":
        return MemoryStore()
    if request.param == "sqlite":
        return SqliteStore(directory)
    server = request.getfixturevalue("postgres")
    return _Alone(await server.fresh(1))


class _Alone(PostgresStore):
    """A store whose only node holds all its shards."""

    async def open(self) -> None:
        await super().open()
        for shard in range(self.placement.shards):
            self.hold(shard, 0)
