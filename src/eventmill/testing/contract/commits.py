"""The contract of `ports.store.Store.commit`: all or nothing, ordered, fenced, kept."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from eventmill.errors import ConfigurationError, Conflict
from eventmill.model.commit import Commit, LetterKey, Offset, Snapshot, Timer
from eventmill.ports.store import Store
from eventmill.testing.contract.harness import (
    SHARD,
    Harness,
    command,
    entry,
    letter,
    message,
    plain,
    put,
)
from eventmill.testing.contract.journal import outcome


class CommitContract(Harness):
    """Writing."""

    async def test_positions_have_no_gaps_and_follow_the_list(self, store: Store) -> None:
        first = [entry(), message(), entry("c2")]
        second = [command(), entry(sequence=2)]
        await put(store, *first)
        await put(store, *second)
        assert [e.position for e in (*first, *second)] == [1, 2, 3, 4, 5]
        scan = await store.journal.read(SHARD, 0, limit=9)
        assert plain(scan.entries) == plain([*first, *second])

    async def test_commits_made_at_the_same_time_do_not_mix(self, store: Store) -> None:
        batches = [[message(f"{n}"), message(f"{n}")] for n in range(20)]
        await asyncio.gather(*(put(store, *batch) for batch in batches))
        entries = (await store.journal.read(SHARD, 0, limit=99)).entries
        assert [e.position for e in entries] == list(range(1, 41))
        assert all(a.subject == b.subject for a, b in zip(entries[::2], entries[1::2], strict=True))

    async def test_a_reader_sees_a_commit_whole_or_not_at_all(self, store: Store) -> None:
        batch = [message() for _ in range(50)]
        writing = asyncio.ensure_future(put(store, *batch))
        seen = set()
        while not writing.done():
            seen.add(len((await store.journal.read(SHARD, 0, limit=99)).entries))
            await asyncio.sleep(0)
        await writing
        seen.add(len((await store.journal.read(SHARD, 0, limit=99)).entries))
        assert seen <= {0, 50}
        assert 50 in seen

    async def test_a_stale_writer_is_refused(self, store: Store) -> None:
        await put(store, entry(), entry(sequence=2))
        with pytest.raises(Conflict):
            await put(store, entry(sequence=2, payload=b'"stale"'))
        with pytest.raises(Conflict):
            await put(store, entry("c2"), entry("c2"))
        assert len(await store.journal.history("cart", "c1", limit=9)) == 2

    async def test_a_stale_writer_is_refused_where_history_was_compacted(
        self, store: Store
    ) -> None:
        for n in (1, 2, 3):
            await put(store, entry(sequence=n), compacted=[("cart", "c1", n)])
        with pytest.raises(Conflict):
            await put(store, entry(sequence=2), compacted=[("cart", "c1", 2)])
        assert [e.sequence for e in await store.journal.history("cart", "c1", limit=9)] == [3]

    async def test_a_commit_that_only_compacts_leaves_what_is_above(self, store: Store) -> None:
        await put(store, *(entry(sequence=n) for n in range(1, 6)), entry("c2"))
        await store.commit(Commit(compacted=[("cart", "c1", 3), ("cart", "nobody", 3)]))
        assert [e.sequence for e in await store.journal.history("cart", "c1", limit=9)] == [3, 4, 5]
        await put(store, entry("c2", 2), compacted=[("cart", "c1", 5), ("cart", "c2", 2)])
        assert await store.journal.subjects("cart", limit=9) == [("c1", 5), ("c2", 2)]
        await put(store, entry(sequence=6))
        assert [e.sequence for e in await store.journal.history("cart", "c1", limit=9)] == [5, 6]

    async def test_a_commit_that_only_compacts_leaves_an_entity_that_has_begun_anew(
        self, store: Store
    ) -> None:
        await put(store, *(entry(sequence=n) for n in range(1, 6)))
        await store.commit(Commit(purged=[("cart", "c1")]))
        await put(store, entry(), entry(sequence=2))
        await store.commit(Commit(compacted=[("cart", "c1", 5)]))
        assert [e.sequence for e in await store.journal.history("cart", "c1", limit=9)] == [1, 2]

    async def test_messages_and_commands_never_clash(self, store: Store) -> None:
        await put(store, message(), message(), command(), command())
        assert await store.journal.end(SHARD) == 4

    async def test_a_refused_commit_changes_nothing(self, store: Store) -> None:
        kept = Timer("kept", 5, command())
        await put(
            store,
            entry(),
            offsets=[Offset("billing", SHARD, 0, 1)],
            timers={"kept": kept},
            letters=[letter(1)],
            registry={"fact": b"1"},
        )
        with pytest.raises(Conflict):
            await store.commit(_everything(stale=entry()))
        await self._unchanged(store)
        with pytest.raises(Conflict):
            await store.commit(_everything(offset=Offset("views", SHARD, 5, 6)))
        await self._unchanged(store)

    async def test_work_goes_on_after_a_refused_commit(self, store: Store) -> None:
        await put(store, entry())
        with pytest.raises(Conflict):
            await put(store, message(source="new-source"), entry())
        after = [message(source="new-source"), entry(sequence=2)]
        await put(store, *after)
        assert [e.position for e in after] == [2, 3]
        scan = await store.journal.read(SHARD, 1, limit=9)
        assert [e.source for e in scan.entries] == ["new-source", "cart"]

    async def test_an_offset_is_stored_and_moves(self, store: Store) -> None:
        assert await store.offsets() == {}
        await put(store, offsets=[Offset("billing", SHARD, 0, 3), Offset("views", SHARD, 0, 1)])
        await put(store, offsets=[Offset("billing", SHARD, 3, 9)])
        assert await store.offsets() == {("billing", SHARD): 9, ("views", SHARD): 1}

    async def test_an_offset_moves_backward_when_its_fence_holds(self, store: Store) -> None:
        await put(store, offsets=[Offset("billing", SHARD, 0, 9)])
        await put(store, offsets=[Offset("billing", SHARD, 9, 0)])
        await put(store, offsets=[Offset("billing", SHARD, 0, 4)])
        assert await store.offsets() == {("billing", SHARD): 4}

    @pytest.mark.parametrize("expected", [0, 2, 4])
    async def test_an_offset_that_somebody_moved_refuses_the_commit(
        self, store: Store, expected: int
    ) -> None:
        await put(store, offsets=[Offset("billing", SHARD, 0, 3)])
        with pytest.raises(Conflict) as refused:
            await put(store, message(), offsets=[Offset("billing", SHARD, expected, 9)])
        assert refused.value.code == "conflict.offset"
        assert await store.offsets() == {("billing", SHARD): 3}
        assert await store.journal.end(SHARD) == 0

    async def test_facts_are_put_replaced_and_removed(self, store: Store) -> None:
        await put(store, registry={"a": b"1", "b": b"\x00\xff", "c": b""})
        await put(store, registry={"a": b"2", "b": None, "unknown": None})
        assert await store.registry() == {"a": b"2", "c": b""}

    async def test_facts_change_only_from_what_was_expected(self, store: Store) -> None:
        await put(store, registry={"a": b"1", "b": b"\x00", "c": b"3"})
        expected: dict[str, bytes | None] = {"a": b"1", "b": b"\x00", "new": None}
        await put(store, registry={"a": b"2", "b": None, "new": b"", "c": b"4"}, expected=expected)
        facts = {"a": b"2", "new": b"", "c": b"4"}
        assert await store.registry() == facts
        for name, old, new in [
            ("a", b"1", b"3"),
            ("a", None, b"3"),
            ("a", b"1", None),
            ("b", b"1", b"2"),
            ("b", b"1", None),
        ]:
            with pytest.raises(Conflict) as refused:
                await put(store, message(), registry={name: new, "c": b"5"}, expected={name: old})
            assert refused.value.code == "conflict.fact"
        assert await store.registry() == facts
        assert await store.journal.end(SHARD) == 0
        await put(store, message(), registry={"a": None}, expected={"a": b"2"})
        assert await store.registry() == {"new": b"", "c": b"4"}

    async def test_an_empty_commit_is_fine(self, store: Store) -> None:
        await store.commit(Commit())
        assert await store.journal.end(SHARD) == 0

    async def test_everything_is_there_after_reopening(self, store: Store, tmp_path: Path) -> None:
        await store.commit(_everything())
        before = await _content(store)
        await store.close()
        again = await self.reopen(store, tmp_path)
        assert await _content(again) == before
        with pytest.raises(Conflict):
            await put(again, entry("c9"))
        with pytest.raises(Conflict):
            await put(again, offsets=[Offset("billing2", SHARD, 0, 1)])
        later = message()
        await put(again, later)
        assert later.position == before["end"] + 1
        await again.close()

    async def test_a_second_taker_is_refused_until_the_store_is_given_back(
        self, store: Store, tmp_path: Path
    ) -> None:
        if not self.alone:
            pytest.skip("a shared store has no single taker")
        await put(store, entry())
        with pytest.raises(ConfigurationError):
            await self.reopen(store, tmp_path)
        await put(store, entry(sequence=2))
        await store.close()
        again = await self.reopen(store, tmp_path)
        assert await again.journal.end(SHARD) == 2
        await again.close()

    async def _unchanged(self, store: Store) -> None:
        content = await _content(store)
        assert content["end"] == 1
        assert content["offsets"] == {("billing", SHARD): 1}
        assert content["registry"] == {"fact": b"1"}
        assert [timer["name"] for timer in content["timers"]] == ["kept"]
        assert [x["status"] for x in content["letters"]] == ["waiting"]
        assert content["snapshot"] is None
        assert content["outcomes"] == []


def _everything(**spoilers: object) -> Commit:
    """One commit with something of every kind, and perhaps what makes it impossible."""
    commit = Commit(
        entries=[message(), entry("c9"), command()],
        snapshots=[Snapshot("cart", "c9", 1, 3, "s", b"{}")],
        outcomes=[outcome(b"k", "c9")],
        timers={"t": Timer("t", 10, command()), "kept": None},
        fired=[("kept", 5)],
        offsets=[Offset("billing2", SHARD, 0, 4)],
        letters=[letter(7, key="cart/c9")],
        settled=[LetterKey("billing", SHARD, 1)],
        registry={"fact": None, "other": b"x"},
    )
    if "stale" in spoilers:
        commit.entries.append(spoilers["stale"])  # type: ignore[arg-type]
    if "offset" in spoilers:
        commit.offsets.append(spoilers["offset"])  # type: ignore[arg-type]
    return commit


async def _content(store: Store) -> dict[str, Any]:
    scan = await store.journal.read(SHARD, 0, limit=99)
    return {
        "end": await store.journal.end(SHARD),
        "entries": plain(scan.entries),
        "snapshot": plain((await store.journal.load("cart", "c9"))[0]),
        "outcomes": plain(await store.journal.outcomes("cart", "c9", [b"k"])),
        "timers": plain(await store.timers(limit=9)),
        "offsets": await store.offsets(),
        "letters": plain(await store.parking.letters(limit=9)),
        "registry": await store.registry(),
    }
