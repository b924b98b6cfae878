"""Embedded stores: their own topics lie among all else, those of other services have numbers, and a
store is known by its identity."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest

from eventmill.adapters.memory.store import Store as MemoryStore
from eventmill.adapters.sqlite import archive
from eventmill.adapters.sqlite.store import Store as SqliteStore
from eventmill.model.commit import Commit, Letter, LetterStatus, Offset
from eventmill.model.entry import Entry
from eventmill.ports.store import Head, Store


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return MemoryStore() if request.param == "memory" else SqliteStore(tmp_path)


async def test_only_topics_of_others_are_numbered_for_ever(store: Store) -> None:
    await store.open()
    placement = await store.place(["orders", "shop/orders"])
    assert (placement.shards, placement.topics) == (1, {"shop/orders": 1})
    assert placement.message("orders", "o1") == 0
    assert list(placement.of_topic("shop/orders")) == [1]
    identity = placement.store
    assert identity
    await store.close()
    await store.open()
    placement = await store.place(["aaa/first", "shop/orders"])
    assert placement.topics == {"shop/orders": 1, "aaa/first": 2}
    assert placement.store == identity
    await store.close()


async def test_letters_of_others_topics_keep_their_shard(store: Store) -> None:
    await store.open()
    await store.place(["shop/orders"])
    entry = Entry("shop/orders", "o1", 0, "Placed", 1, 5, b"{}", shard=1, position=7)
    letter = Letter("reader", "shop/orders/o1", entry, LetterStatus.DEAD, due=9)
    await store.commit(Commit(letters=[letter], offsets=[Offset("reader", 1, 0, 7)]))
    assert await store.parking.heads([0, 1]) == [
        Head("reader", 1, "shop/orders/o1", LetterStatus.DEAD, 9)
    ]
    assert await store.offsets() == {("reader", 1): 7}
    await store.close()


async def test_an_import_is_another_store_with_the_same_numbers(tmp_path: Path) -> None:
    first, second = SqliteStore(tmp_path / "a"), SqliteStore(tmp_path / "b")
    await first.open()
    before = await first.place(["shop/orders"])
    await first.commit(Commit(offsets=[Offset("reader", 1, 0, 7)]))
    await first.close()
    file = BytesIO()
    archive.export(tmp_path / "a", file, lambda *_: None)
    file.seek(0)
    archive.restore(tmp_path / "b", file, lambda *_: None)
    await second.open()
    assert second.placement.topics == before.topics
    assert second.placement.store not in ("", before.store)
    assert await second.offsets() == {("reader", 1): 7}
    assert not [name for name in await second.registry() if name.startswith("$")]
    again = BytesIO()
    archive.export(tmp_path / "b", again, lambda *_: None)
    assert again.getvalue() == file.getvalue()
    await second.close()
