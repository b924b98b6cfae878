"""Reading several shards: one bound for all of them, and a turn for each."""

from __future__ import annotations

import pytest

from eventmill.adapters.memory.store import Store
from eventmill.model import limits
from eventmill.model.commit import Commit
from eventmill.model.entry import Entry
from eventmill.runtime.dispatch.tails import Tail, Tails

SHARDS = 8
SOURCES = frozenset({"cart"})


async def test_metadata_count_in_what_is_kept_in_memory() -> None:
    tail = Tail(Store().journal, 0, 0, entries_max=1_000, bytes_max=1_000)
    for position in range(1, 101):
        tail.extend([Entry("t", "k", 0, "E", 1, 0, b"{}", b"x" * 98, None, 0, position)])
    kept = int(repr(tail).partition("position 100, ")[2].split()[0])
    assert 10 <= kept <= 20


async def grown(tails: Tails, store: Store, *shards: int) -> None:
    """Let an entry of 100 bytes come to each of these shards."""
    commit = Commit()
    for shard in shards:
        commit.entries.append(Entry("cart", "c1", 0, "E", 1, 0, b"x" * 100, shard=shard))
    await store.commit(commit)
    tails.extend(commit)


@pytest.mark.parametrize("from_memory", [True, False])
async def test_one_read_is_bounded_in_bytes_over_all_shards_and_each_gets_its_turn(
    monkeypatch: pytest.MonkeyPatch, from_memory: bool
) -> None:
    monkeypatch.setattr(limits, "SCAN_BYTES_MAX", 350)
    store = Store(SHARDS)
    await store.open()
    tails = Tails(store.journal)
    await tails.start(range(SHARDS))
    for shard in range(SHARDS):
        store.hold(shard, 0)
        for _ in range(6):
            await grown(tails, store, shard)
    if not from_memory:
        tails = Tails(store.journal)
        await tails.start(range(SHARDS))
    positions, first = dict.fromkeys(range(SHARDS), 0), 0
    for _ in range(4 * SHARDS):
        stretch = await tails.read(positions, limit=512, sources=SOURCES, first=first)
        assert 0 < sum(len(entry.payload) for entry in stretch.entries) <= 400
        positions.update(stretch.positions)
        first = stretch.next
        await grown(tails, store, 0, 0, 0, 0)  # one shard that never comes to its end
    assert [positions[shard] for shard in range(1, SHARDS)] == [6] * (SHARDS - 1)
