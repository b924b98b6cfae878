"""Every store passes the same suite; another adapter is one more class here."""

from __future__ import annotations

from pathlib import Path

import pytest

from eventmill.adapters.memory.store import Store as MemoryStore
from eventmill.adapters.postgres.store import Store as PostgresStore
from eventmill.adapters.sqlite.store import Store as SqliteStore
from eventmill.ports.store import Store
from eventmill.testing.contract import SharedContract, StoreContract
from eventmill.testing.postgres import Server


class TestMemory(StoreContract):
    def make_store(self, directory: Path) -> Store:
        return MemoryStore()

    async def reopen(self, store: Store, directory: Path) -> Store:
        await store.open()  # its data lives in the object
        return store


class TestSqlite(StoreContract):
    def make_store(self, directory: Path) -> Store:
        return SqliteStore(directory)


class TestSqliteOnItsThread(StoreContract):
    """As on a slow disk: COMMIT runs on the writer's thread."""

    def make_store(self, directory: Path) -> Store:
        return SqliteStore(directory, inline_seconds=0)


class TestSqliteFilingAllTheTime(StoreContract):
    """As in a store that has many entries: each commit files some of those before it."""

    def make_store(self, directory: Path) -> Store:
        return SqliteStore(directory, round_entries=1)


class TestPostgres(StoreContract):
    alone = False
    numbers_names = False
    shards = 16

    @pytest.fixture(autouse=True)
    async def _database(self, postgres: Server) -> None:
        self.dsn = await postgres.fresh(self.shards)

    def make_store(self, directory: Path) -> Store:
        return PostgresStore(self.dsn)


class TestSharedMemory(SharedContract):
    def make_store(self, directory: Path) -> Store:
        return MemoryStore(16)

    def beside(self, store: Store) -> Store:
        assert isinstance(store, MemoryStore)
        return MemoryStore(beside=store)


class TestSharedPostgres(SharedContract):
    @pytest.fixture(autouse=True)
    async def _database(self, postgres: Server) -> None:
        self.dsn = await postgres.fresh(16)

    def make_store(self, directory: Path) -> Store:
        return PostgresStore(self.dsn)

    def beside(self, store: Store) -> Store:
        return PostgresStore(self.dsn)
