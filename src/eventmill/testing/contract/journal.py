"""The contract of `ports.store.Journal`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from eventmill.model import limits
from eventmill.model.commit import Commit, Outcome, Snapshot
from eventmill.ports.store import Store, is_last
from eventmill.testing.contract.harness import SHARD, Harness, entry, message, plain, put

LARGE = b'"%s"' % (b"x" * limits.PAYLOAD_BYTES_MAX)
of_large_entries = pytest.mark.parametrize(
    "large", [{"payload": LARGE}, {"metadata": b'{"x":%b}' % LARGE}], ids=["payload", "metadata"]
)
PORTION = limits.SCAN_BYTES_MAX // limits.PAYLOAD_BYTES_MAX
"""So many large entries are read in one go."""


def snapshot(sequence: int, subject: str = "c1", state: bytes = b"{}") -> Snapshot:
    return Snapshot("cart", subject, sequence, 5, "1|schema", state, {"0": 7})


def outcome(key: bytes, subject: str = "c1", source: str = "cart", **fields: Any) -> Outcome:
    return Outcome(source, subject, key, **{"expires": 100, "reply": b"1", **fields})


class JournalContract(Harness):
    """Reading what was committed."""

    async def test_an_entry_comes_back_as_it_was_written(self, store: Store) -> None:
        written = entry(
            "Zoë/ü\u0000☃",
            payload=b'{"a":"\xc3\xa9"}',
            metadata=b'{"correlation":"x"}',
            origin="0:17",
            version=3,
        )
        await put(store, written)
        (read,) = (await store.journal.read(SHARD, 0, limit=10)).entries
        assert plain(read) == plain(written)
        assert read.id == "0:1"

    async def test_load_of_an_unknown_entity_is_empty(self, store: Store) -> None:
        assert await store.journal.load("cart", "nobody") == (None, [])

    async def test_load_returns_the_newest_snapshot_and_the_entries_after_it(
        self, store: Store
    ) -> None:
        await put(store, *(entry(sequence=n) for n in range(1, 6)), snapshots=[snapshot(2)])
        await put(store, entry("other"), snapshots=[snapshot(4, state=b'{"a":1}')])
        found, entries = await store.journal.load("cart", "c1")
        assert found == snapshot(4, state=b'{"a":1}')
        assert [e.sequence for e in entries] == [5]

    async def test_load_without_snapshot_returns_all_entries_in_order(self, store: Store) -> None:
        await put(store, *(entry(sequence=n) for n in range(1, 4)))
        found, entries = await store.journal.load("cart", "c1")
        assert found is None
        assert [e.sequence for e in entries] == [1, 2, 3]

    async def test_entities_of_other_sources_and_similar_ids_are_apart(self, store: Store) -> None:
        await put(store, entry("a"), entry("a", source="cart2"), entry("A"), entry("a "))
        _, entries = await store.journal.load("cart", "a")
        assert [(e.source, e.subject) for e in entries] == [("cart", "a")]

    async def test_history_starts_after_a_sequence_and_ends_at_the_limit(
        self, store: Store
    ) -> None:
        await put(store, *(entry(sequence=n) for n in range(1, 8)), entry("c2"))
        entries = await store.journal.history("cart", "c1", after=2, limit=3)
        assert [e.sequence for e in entries] == [3, 4, 5]
        assert await store.journal.history("cart", "nobody", limit=3) == []

    @of_large_entries
    async def test_history_ends_early_where_its_bytes_are_enough(
        self, store: Store, large: dict[str, Any]
    ) -> None:
        await put(store, *(entry(sequence=n, **large) for n in range(1, PORTION + 3)))
        first = await store.journal.history("cart", "c1", limit=99)
        assert [e.sequence for e in first] == [*range(1, PORTION + 1)]
        assert not is_last(first, 99)
        rest = await store.journal.history("cart", "c1", after=PORTION, limit=99)
        assert [e.sequence for e in rest] == [PORTION + 1, PORTION + 2]
        assert is_last(rest, 99)

    async def test_load_returns_no_more_than_a_page_of_history(self, store: Store) -> None:
        await put(store, *(entry(sequence=n, payload=LARGE) for n in range(1, PORTION + 3)))
        await put(store, *(entry("c2", n) for n in range(1, limits.SCAN_ROWS + 2)))
        for subject, count in (("c1", PORTION), ("c2", limits.SCAN_ROWS)):
            _, entries = await store.journal.load("cart", subject)
            assert [e.sequence for e in entries] == [*range(1, count + 1)]
            assert not is_last(entries, limits.SCAN_ROWS)

    async def test_the_latest_entry_of_an_entity(self, store: Store) -> None:
        assert await store.journal.latest("cart", "c1") is None
        await put(store, entry("c2"), message("c1", "cart"))
        assert await store.journal.latest("cart", "c1") is None
        for n in range(1, 4):
            await put(store, entry(sequence=n, time=n), message("c1", "cart"), entry("c2", n + 1))
            found = await store.journal.latest("cart", "c1")
            assert found is not None
            assert (found.sequence, found.time) == (n, n)
        await put(store, compacted=[("cart", "c1", 3)])
        assert [await store.journal.latest("cart", "c1")] == await store.journal.history(
            "cart", "c1", limit=9
        )
        await put(store, purged=[("cart", "c1")])
        assert await store.journal.latest("cart", "c1") is None

    async def test_history_holds_no_messages(self, store: Store) -> None:
        await put(store, message("k"), message("k"))
        assert await store.journal.history("orders", "k", limit=10) == []

    async def test_read_looks_at_limited_positions_and_continues(self, store: Store) -> None:
        await put(store, *(entry(sequence=n) for n in range(1, 6)))
        first = await store.journal.read(SHARD, 0, limit=2)
        second = await store.journal.read(SHARD, first.position, limit=2)
        third = await store.journal.read(SHARD, second.position, limit=2)
        positions = [[e.position for e in scan.entries] for scan in (first, second, third)]
        assert positions == [[1, 2], [3, 4], [5]]
        assert third.position == 5

    async def test_read_at_the_end_stays_where_it_is(self, store: Store) -> None:
        await put(store, entry())
        assert await store.journal.read(SHARD, 1, limit=10) == ([], 1)
        assert await store.journal.read(SHARD, 9, limit=10) == ([], 9)

    async def test_read_of_some_sources_moves_past_the_others(self, store: Store) -> None:
        await put(store, entry(), message(), entry(sequence=2), message(), entry(sequence=3))
        only = frozenset({"orders"})
        scan = await store.journal.read(SHARD, 0, limit=3, sources=only)
        assert ([e.position for e in scan.entries], scan.position) == ([2], 3)
        scan = await store.journal.read(SHARD, 3, limit=9, sources=only)
        assert ([e.position for e in scan.entries], scan.position) == ([4], 5)
        nothing = await store.journal.read(SHARD, 0, limit=9, sources=frozenset({"unknown"}))
        assert nothing == ([], 5)

    @of_large_entries
    async def test_read_looks_no_further_than_its_bytes_are_enough(
        self, store: Store, large: dict[str, Any]
    ) -> None:
        await put(store, *(message(**large) for _ in range(PORTION + 2)))
        scan = await store.journal.read(SHARD, 0, limit=99)
        assert (len(scan.entries), scan.position) == (PORTION, PORTION)
        # What nobody asks for may be passed over where it is.
        scan = await store.journal.read(SHARD, 0, limit=99, sources=frozenset({"unknown"}))
        assert scan.entries == []
        assert scan.position >= PORTION
        scan = await store.journal.read(SHARD, PORTION, limit=99)
        assert (len(scan.entries), scan.position) == (2, PORTION + 2)

    async def test_an_entry_larger_than_a_portion_is_read_all_the_same(self, store: Store) -> None:
        huge = b'"%s"' % (b"x" * limits.SCAN_BYTES_MAX)
        await put(store, entry(payload=huge), entry(sequence=2))
        (found,) = (await store.journal.read(SHARD, 0, limit=99)).entries
        assert found.payload == huge
        assert [e.sequence for e in await store.journal.history("cart", "c1", limit=99)] == [1]

    async def test_end_is_the_last_committed_position(self, store: Store) -> None:
        assert await store.journal.end(SHARD) == 0
        await put(store, entry(), message())
        assert await store.journal.end(SHARD) == 2

    async def test_end_does_not_go_back_when_the_last_entries_are_purged(
        self, store: Store, tmp_path: Path
    ) -> None:
        await put(store, message(), entry(), entry(sequence=2))
        await put(store, purged=[("cart", "c1")])
        assert await store.journal.end(SHARD) == 3
        assert (await store.journal.read(SHARD, 0, limit=10)).position == 3
        await store.close()
        store = await self.reopen(store, tmp_path)
        assert await store.journal.end(SHARD) == 3
        later = message()
        await put(store, later)
        assert later.position == 4
        await store.close()

    async def test_position_at_is_before_the_first_entry_of_that_time(self, store: Store) -> None:
        times = [10, 20, 20, 20, 30]
        await put(store, *(message(time=time) for time in times))
        expected = {5: 0, 10: 0, 11: 1, 20: 1, 21: 4, 30: 4, 31: 5}
        found = {time: await store.journal.position_at(SHARD, time) for time in expected}
        assert found == expected

    async def test_position_at_skips_nothing_where_the_clock_was_set_back(
        self, store: Store
    ) -> None:
        times = [10, 20, 90, 91, *range(30, 60)]
        await put(store, *(message(time=time) for time in times))
        found = [await store.journal.position_at(SHARD, time) for time in (15, 40, 80, 91, 92)]
        assert found == [1, 2, 2, 3, 34]
        assert await store.journal.position_at(SHARD, 40, after=4) == 14

    async def test_position_at_skips_nothing_where_entries_were_removed(self, store: Store) -> None:
        await put(store, message(time=10), *(entry(sequence=n, time=10 + n) for n in range(1, 5)))
        await put(store, message(time=30), compacted=[("cart", "c1", 4)])
        for time in (5, 10, 11, 13, 14, 15, 30, 31):
            start = await store.journal.position_at(SHARD, time)
            left = (await store.journal.read(SHARD, start, limit=99)).entries
            assert [e.time for e in left] == [t for t in (10, 14, 30) if t >= time], time

    async def test_position_at_of_an_empty_journal(self, store: Store) -> None:
        assert await store.journal.position_at(SHARD, 5) == 0

    async def test_subjects_are_listed_in_order_with_their_last_sequence(
        self, store: Store
    ) -> None:
        await put(store, entry("b"), entry("ä"), entry("a"), entry("b", 2), entry("x", source="y"))
        assert await store.journal.subjects("cart", limit=9) == [("a", 1), ("b", 2), ("ä", 1)]
        assert await store.journal.subjects("cart", after="a", limit=1) == [("b", 2)]
        assert await store.journal.subjects("nothing", limit=9) == []

    async def test_message_keys_are_no_subjects(self, store: Store) -> None:
        await put(store, message("k"))
        assert await store.journal.subjects("orders", limit=9) == []

    async def test_outcomes_among_keys(self, store: Store) -> None:
        kept = [outcome(b"1"), outcome(b"2", rejection="cart.full"), outcome(b"\x00\xff")]
        await put(store, outcomes=[*kept, outcome(b"1", subject="c2")])
        found = await store.journal.outcomes("cart", "c1", [b"2", b"nothing", b"\x00\xff"])
        assert sorted(found, key=lambda o: o.key) == [kept[2], kept[1]]
        assert await store.journal.outcomes("cart", "c1", []) == []

    async def test_an_expired_outcome_is_replaced_under_its_key(self, store: Store) -> None:
        await put(store, outcomes=[outcome(b"1", reply=b"old")])
        later = 100 + limits.IDEMPOTENCY_SECONDS * 1_000_000
        await put(store, outcomes=[outcome(b"1", reply=b"new", expires=later)])
        (found,) = await store.journal.outcomes("cart", "c1", [b"1"])
        assert (found.reply, found.expires) == (b"new", later)

    async def test_sweep_removes_expired_outcomes_up_to_the_limit(self, store: Store) -> None:
        old = [outcome(b"%d" % n, expires=10) for n in range(5)]
        await put(store, outcomes=[*old, outcome(b"young", expires=11)])
        assert await store.sweep(9, limit=99) == 0
        assert [await store.sweep(10, limit=2) for _ in range(4)] == [2, 2, 1, 0]
        keys = [b"young", *(b"%d" % n for n in range(5))]
        assert [o.key for o in await store.journal.outcomes("cart", "c1", keys)] == [b"young"]

    async def test_sweep_passes_over_outcomes_of_a_clock_that_was_far_ahead(
        self, store: Store
    ) -> None:
        ahead = 3 * limits.IDEMPOTENCY_SECONDS * 1_000_000
        await put(store, outcomes=[outcome(b"ahead%d" % n, expires=ahead) for n in range(5)])
        await put(store, outcomes=[outcome(b"%d" % n, expires=10) for n in range(3)])
        assert [await store.sweep(10, limit=2) for _ in range(3)] == [2, 1, 0]

    async def test_compaction_removes_earlier_entries_of_the_subject(self, store: Store) -> None:
        await put(store, entry(), entry("c2"), message("c1", "cart"))
        await put(store, entry(sequence=2), compacted=[("cart", "c1", 2)])
        _, entries = await store.journal.load("cart", "c1")
        assert [e.sequence for e in entries] == [2]
        scan = await store.journal.read(SHARD, 0, limit=9)
        assert ([e.position for e in scan.entries], scan.position) == ([2, 3, 4], 4)

    async def test_several_changes_of_a_subject_in_one_commit_leave_the_last(
        self, store: Store
    ) -> None:
        changes = [entry(sequence=n) for n in (1, 2, 3)]
        await put(store, *changes, compacted=[("cart", "c1", 2), ("cart", "c1", 3)])
        assert [e.sequence for e in await store.journal.history("cart", "c1", limit=9)] == [3]

    async def test_names_of_sources_and_types_are_bounded(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if not self.numbers_names:
            pytest.skip("names are stored with the entries")
        monkeypatch.setattr(limits, "NAMES_MAX", 4)
        await put(store, message(type="Placed"), message(type="Placed"))
        assert store.journal.has_room_for(["Placed", "Paid", "Sent"])
        assert not store.journal.has_room_for(["Paid", "Sent", "Returned"])
        await put(store, message(type="Paid"), message(type="Sent"), message(type="Returned"))
        assert store.journal.has_room_for(["Placed", "Sent"])
        assert not store.journal.has_room_for(["Placed", "Lost"])

    async def test_trim_removes_messages_of_topics_within_bounds(self, store: Store) -> None:
        topics = ("orders", "orders", "alerts", "orders", "other", "orders")
        await put(store, *(message(source=source) for source in topics), entry(source="orders"))
        assert await store.trim(["orders", "alerts", "unknown"], SHARD, 1, 4) == 3
        assert await store.trim(["orders", "alerts"], SHARD, 1, 4) == 0
        scan = await store.journal.read(SHARD, 0, limit=9)
        assert ([e.position for e in scan.entries], scan.position) == ([1, 5, 6, 7], 7)

    async def test_positions_of_trimmed_messages_are_not_used_again(
        self, store: Store, tmp_path: Path
    ) -> None:
        await put(store, message(), message())
        assert await store.trim(["orders"], SHARD, 0, 2) == 2
        assert await store.journal.end(SHARD) == 2
        await store.close()
        again = await self.reopen(store, tmp_path)
        await put(again, message())
        scan = await again.journal.read(SHARD, 0, limit=9)
        assert [e.position for e in scan.entries] == [3]
        await again.close()

    async def test_purge_removes_an_entity_but_not_its_answers(self, store: Store) -> None:
        await put(
            store,
            entry(),
            entry(sequence=2),
            entry("c2"),
            snapshots=[snapshot(2), snapshot(1, "c2")],
            outcomes=[outcome(b"1")],
        )
        await put(store, purged=[("cart", "c1"), ("cart", "unknown"), ("unknown", "c1")])
        assert await store.journal.load("cart", "c1") == (None, [])
        assert await store.journal.subjects("cart", limit=9) == [("c2", 1)]
        assert await store.journal.outcomes("cart", "c1", [b"1"]) == [outcome(b"1")]
        assert (await store.journal.load("cart", "c2"))[0] == snapshot(1, "c2")

    async def test_an_id_may_be_used_again_after_its_purge(self, store: Store) -> None:
        await put(store, entry(), entry(sequence=2))
        await store.commit(Commit(purged=[("cart", "c1")]))
        await put(store, entry(payload=b'"new"'))
        _, entries = await store.journal.load("cart", "c1")
        assert [(e.sequence, e.position, e.payload) for e in entries] == [(1, 3, b'"new"')]
