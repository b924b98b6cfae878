"""Every flow runs on each engine: the same behaviour is a guarantee (G9).

An engine is a store, and where its topics are. A test that takes `store` runs on all of them; a new
engine is one more entry in `ENGINES`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from eventmill.adapters.memory.store import Store as MemoryStore
from eventmill.adapters.postgres.store import Store as PostgresStore
from eventmill.adapters.sqlite.store import Store as SqliteStore
from eventmill.ports.store import Store
from eventmill.testing import FaultyStore
from tests.flow.brokers import MemoryAndBroker, PostgresAndNats

SHARDS = 16

Make = Callable[[pytest.FixtureRequest, Path], Awaitable[Store]]


async def _memory(request: pytest.FixtureRequest, directory: Path) -> Store:
    return MemoryStore()


async def _shards(request: pytest.FixtureRequest, directory: Path) -> Store:
    return MemoryStore(SHARDS)


async def _sqlite(request: pytest.FixtureRequest, directory: Path) -> Store:
    return SqliteStore(directory)


async def _postgres(request: pytest.FixtureRequest, directory: Path) -> Store:
    return PostgresStore(await request.getfixturevalue("postgres").fresh(SHARDS))


async def _broker(request: pytest.FixtureRequest, directory: Path) -> Store:
    return MemoryAndBroker()


async def _nats(request: pytest.FixtureRequest, directory: Path) -> Store:
    inner = await _postgres(request, directory)
    return PostgresAndNats(inner, request.getfixturevalue("nats_server").url)


ENGINES: dict[str, Make] = {
    "memory": _memory,
    "shards": _shards,
    "sqlite": _sqlite,
    "postgres": _postgres,
    "broker": _broker,
    "nats": _nats,
}


@pytest.fixture(params=[*list(ENGINES)[:-1], pytest.param("nats", marks=pytest.mark.soak)])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> FaultyStore:
    """A store whose commits can be made to fail; without faults it only passes through."""
    made = await ENGINES[request.param](request, tmp_path)
    return made if isinstance(made, FaultyStore) else FaultyStore(made)
