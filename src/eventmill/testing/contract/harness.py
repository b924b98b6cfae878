"""What all parts of the store contract stand on: a store per test, and short ways to make data."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from eventmill.model.commit import Commit, Letter, LetterStatus
from eventmill.model.entry import COMMANDS, Entry
from eventmill.ports.store import Store

SHARD = 0


class Harness:
    """Opens the store under test; nothing is shared between tests."""

    alone = True
    """Whether one node at a time may open it; a shared store is opened by many."""

    numbers_names = True
    """Whether it stores names of sources and types once, and so bounds their number."""

    def make_store(self, directory: Path) -> Store:
        """Make a store, not yet open, whose data lives in `directory`."""
        raise NotImplementedError("override make_store(directory) and return your store")

    async def reopen(self, store: Store, directory: Path) -> Store:
        """Open the data of a closed store again; another object proves that it was stored."""
        again = self.make_store(directory)
        await open_alone(again)
        return again

    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[Store]:
        store = self.make_store(tmp_path)
        await open_alone(store)
        yield store
        await store.close()


async def open_alone(store: Store) -> None:
    """Open a store and hold all its shards, as the first and only node."""
    await store.open()
    for shard in range(store.placement.shards):
        store.hold(shard, 0)


def entry(subject: str = "c1", sequence: int = 1, source: str = "cart", **fields: Any) -> Entry:
    """Make an entity's entry."""
    values: dict[str, Any] = {
        "type": "ItemAdded",
        "version": 1,
        "time": 1_000 + sequence,
        "payload": b'{"n":%d}' % sequence,
    }
    return Entry(source, subject, sequence, **{**values, **fields})


def message(subject: str = "k", source: str = "orders", **fields: Any) -> Entry:
    """Make a topic's entry: only its position orders it."""
    return entry(subject, 0, source, **fields)


def command(subject: str = "cart/c1", **fields: Any) -> Entry:
    """Make a sent command's entry."""
    return entry(subject, 0, COMMANDS, **{"type": "add_item", **fields})


def letter(
    position: int,
    key: str = "cart/c1",
    status: LetterStatus = LetterStatus.WAITING,
    subscription: str = "billing",
    *,
    shard: int = SHARD,
    **fields: Any,
) -> Letter:
    """Make a parked letter of an entry at a position."""
    original = entry(key.partition("/")[2], position, position=position, shard=shard)
    return Letter(subscription, key, original, status, **fields)


async def put(store: Store, *entries: Entry, **others: Any) -> None:
    """Commit entries, and whatever else is given, at once."""
    await store.commit(Commit(entries=list(entries), **others))


def plain(value: Any) -> Any:
    """Make stored values comparable and readable in failures."""
    return msgspec.to_builtins(value)
