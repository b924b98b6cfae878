"""Leases of every adapter pass the same suite."""

from __future__ import annotations

from datetime import timedelta

import pytest

from eventmill.adapters.memory.leases import Leases as MemoryLeases
from eventmill.adapters.memory.store import Store as MemoryStore
from eventmill.adapters.postgres.leases import Leases as PostgresLeases
from eventmill.adapters.postgres.store import Store as PostgresStore
from eventmill.ports.cluster import Leases
from eventmill.ports.store import Store
from eventmill.testing import VirtualClock
from eventmill.testing.contract import LeaseContract
from eventmill.testing.postgres import Server


class TestMemory(LeaseContract):
    async def make(self) -> tuple[Store, Leases]:
        self.clock = VirtualClock()
        store = MemoryStore(16)
        await store.open()
        return store, MemoryLeases(store, self.clock)

    async def until_ended(self, leases: Leases, node: str) -> None:
        self.clock.move_to(self.clock.now() + timedelta(seconds=1) // timedelta(microseconds=1))


class TestPostgres(LeaseContract):
    @pytest.fixture(autouse=True)
    async def _database(self, postgres: Server) -> None:
        self.dsn = await postgres.fresh(16)

    async def make(self) -> tuple[Store, Leases]:
        store = PostgresStore(self.dsn)
        await store.open()
        leases = PostgresLeases(store)
        await leases.open()
        return store, leases

    async def test_each_database_is_another_cluster(self, postgres: Server, leases: Leases) -> None:
        again, same = await self.make()
        self.dsn = await postgres.fresh(1)
        elsewhere, other = await self.make()
        assert await same.cluster() == await leases.cluster() != await other.cluster()
        await self.close(again, same)
        await self.close(elsewhere, other)

    async def close(self, store: Store, leases: Leases) -> None:
        assert isinstance(leases, PostgresLeases)
        await leases.close()
        await store.close()
