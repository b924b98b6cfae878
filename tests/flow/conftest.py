"""Every flow runs on each store: the same behaviour is a guarantee (G9)."""

from __future__ import annotations

from pathlib import Path

import pytest

from eventmill.adapters.memory.store import Store as MemoryStore
from eventmill.adapters.postgres.store import Store as PostgresStore
from eventmill.adapters.sqlite.store import Store as SqliteStore
from eventmill.ports.store import Store
from eventmill.testing import FaultyStore
from tests.flow.brokers import MemoryAndBroker, PostgresAndNats


@pytest.fixture(
    params=[
        "memory",
        "sqlite",
        "postgres",
        "memory+broker",
        pytest.param("postgres+nats", marks=pytest.mark.soak),
    ]
)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> FaultyStore:
    """A store whose commits can be made to fail; without faults it only passes through."""
    if request.param == "memory+broker":
        return MemoryAndBroker()
    if request.param == "postgres+nats":
        inner = _Alone(await request.getfixturevalue("postgres").fresh(1))
        return PostgresAndNats(inner, request.getfixturevalue("nats_server").url, latency=0.1)
    latency = 0.1 if request.param == "postgres" else 0.0
    return FaultyStore(await _inner(request, tmp_path), latency=latency)


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
