"""Every store passes the same suite; another adapter is one more class here."""

from __future__ import annotations

from pathlib import Path

from eventmill.adapters.memory.store import Store as MemoryStore
from eventmill.adapters.sqlite.store import Store as SqliteStore
from eventmill.ports.store import Store
from eventmill.testing.contract import StoreContract


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
