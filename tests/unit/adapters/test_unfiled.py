"""Entries that are filed late are found at any time, and a start reads few of them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import apsw
import pytest

from eventmill.adapters.sqlite.store import Store
from eventmill.errors import Conflict
from eventmill.model.commit import Commit
from eventmill.model.entry import Entry

ROUND = 50
CARTS = 9


async def test_a_history_is_whole_however_much_of_it_is_filed(tmp_path: Path) -> None:
    store = Store(tmp_path, round_entries=ROUND)
    await store.open()
    filed_before = 0
    portions = set()
    for number in range(400):
        sequence = number // CARTS + 1
        await store.commit(Commit(entries=[entry(f"c{number % CARTS}", sequence)]))
        found = await store.journal.history("cart", f"c{number % CARTS}", limit=1_000)
        assert [e.sequence for e in found] == [*range(1, sequence + 1)]
        portions.add(filed(tmp_path) - filed_before)
        filed_before = filed(tmp_path)
    assert 400 - 3 * ROUND <= filed_before < 400
    assert max(portions) < ROUND, "no commit files a whole round"
    assert await store.journal.subjects("cart", after="c1", limit=2) == [("c2", 45), ("c3", 45)]
    await store.close()


async def test_a_start_reads_only_what_is_not_filed(tmp_path: Path) -> None:
    store = Store(tmp_path, round_entries=ROUND)
    await store.open()
    for number in range(1_000):
        await store.commit(Commit(entries=[entry(f"c{number % CARTS}", number // CARTS + 1)]))
    await store.close()

    reopened = Store(tmp_path, round_entries=ROUND)
    await reopened.open()
    in_memory = 1_000 - filed(tmp_path)
    assert f"[{in_memory} entries of" in repr(reopened.unfiled)
    assert in_memory <= 3 * ROUND
    found = await reopened.journal.history("cart", "c0", limit=1_000)
    assert [e.sequence for e in found] == [*range(1, 113)]
    await reopened.close()


async def test_a_state_is_found_while_the_next_one_replaces_it(tmp_path: Path) -> None:
    store = SlowToEnd(tmp_path, inline_seconds=0, round_entries=1)
    await store.open()
    for sequence in range(1, 5):
        state = entry("c", sequence)
        await store.commit(Commit(entries=[state], compacted=[("cart", "c", sequence)]))
        await store.commit(Commit(entries=[entry("other", sequence)]))
    assert store.seen == {1, 2, 3, 4}
    await store.close()


class SlowToEnd(Store):
    """Looks when a commit is durable and its writer has not heard of it yet."""

    seen: frozenset[int] = frozenset()

    async def _end_elsewhere(self, db: apsw.Connection) -> None:
        await super()._end_elsewhere(db)
        (entry,) = await self.journal.history("cart", "c", limit=9)
        assert await self.journal.latest("cart", "c") == entry
        self.seen |= {entry.sequence}


def entry(subject: str, sequence: int) -> Entry:
    return Entry("cart", subject, sequence, "ItemAdded", 1, 0, b"{}")


def filed(directory: Path) -> int:
    db = apsw.Connection(str(directory / "eventmill.db"), flags=apsw.SQLITE_OPEN_READONLY)
    (count,) = next(db.execute("SELECT count(*) FROM history"))
    db.close()
    return int(count)


async def test_one_hot_entity_is_filed_in_portions_too(tmp_path: Path) -> None:
    store = Store(tmp_path, round_entries=ROUND)
    await store.open()
    counts = [0]
    for sequence in range(1, 201):
        await store.commit(Commit(entries=[entry("hot", sequence)]))
        counts.append(filed(tmp_path))
        found = await store.journal.history("cart", "hot", limit=1_000)
        assert [e.sequence for e in found] == [*range(1, sequence + 1)]
    assert max(after - before for before, after in pairwise(counts)) == 2
    assert counts[-1] >= 200 - 2 * ROUND
    await store.close()


async def test_a_purged_entity_begins_anew_in_the_same_commit(tmp_path: Path) -> None:
    store = Store(tmp_path, round_entries=3)
    await store.open()
    for sequence in range(1, 10):
        await store.commit(Commit(entries=[entry("c", sequence)]))
    assert 0 < filed(tmp_path) < 9
    await store.commit(Commit(purged=[("cart", "c")], entries=[entry("c", 1)]))
    with pytest.raises(Conflict):
        await store.commit(Commit(entries=[entry("c", 1)]))
    for _ in range(2):
        found = await store.journal.history("cart", "c", limit=9)
        assert [e.sequence for e in found] == [1]
        await store.close()
        await store.open()
    await store.close()


async def test_large_entries_do_not_wait_until_all_small_ones_are_filed(tmp_path: Path) -> None:
    store = Store(tmp_path, round_entries=ROUND)
    await store.open()
    small = ROUND - 1
    await store.commit(Commit(entries=[entry(f"a{number}", 1) for number in range(small)]))
    for sequence in range(1, 6):
        large = Entry("cart", "z", sequence, "ItemAdded", 1, 0, b'"%b"' % (b"x" * 100_000))
        await store.commit(Commit(entries=[large]))
    assert filed(tmp_path) > small
    await store.close()


async def test_a_start_passes_over_messages_that_it_has_seen(tmp_path: Path) -> None:
    store = Store(tmp_path, round_entries=ROUND)
    await store.open()
    await store.commit(Commit(entries=[entry("c", 1)]))
    for _ in range(20):
        await store.commit(Commit(entries=[entry("c", 0) for _ in range(ROUND)]))
    await store.commit(Commit(entries=[entry("c", 2)]))
    assert mark(tmp_path) > 16 * ROUND
    for _ in range(2):
        assert [e.sequence for e in await store.journal.history("cart", "c", limit=9)] == [1, 2]
        await store.close()
        await store.open()
    await store.close()


async def test_states_of_few_keys_move_the_mark_too(tmp_path: Path) -> None:
    store = Store(tmp_path, round_entries=5)
    await store.open()
    for sequence in range(1, 100):
        await store.commit(
            Commit(entries=[entry("c", sequence)], compacted=[("cart", "c", sequence)])
        )
    assert mark(tmp_path) > 80
    found = await store.journal.history("cart", "c", limit=9)
    assert [e.sequence for e in found] == [99]
    await store.close()


def mark(directory: Path) -> int:
    """Where a start begins to read."""
    db = apsw.Connection(str(directory / "eventmill.db"), flags=apsw.SQLITE_OPEN_READONLY)
    found = next(db.execute("SELECT value FROM registry WHERE name = '$filed'"), (b"0",))
    db.close()
    return int(found[0])
