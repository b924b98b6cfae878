"""Every flow runs on the memory store and on SQLite: the same behaviour is a guarantee (G9)."""

from __future__ import annotations

from pathlib import Path

import pytest

from eventmill.adapters.memory.store import Store as MemoryStore
from eventmill.adapters.sqlite.store import Store as SqliteStore
from eventmill.testing import FaultyStore


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> FaultyStore:
    """A store whose commits can be made to fail; without faults it only passes through."""
    return FaultyStore(MemoryStore() if request.param == "memory" else SqliteStore(tmp_path))
