"""The contract of a shared store: several shards, several nodes, one journal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from eventmill.errors import Conflict, NotOwner
from eventmill.model import limits
from eventmill.model.commit import (
    Commit,
    LetterKey,
    LetterStatus,
    Offset,
    Outcome,
    Rows,
    Snapshot,
    Timer,
)
from eventmill.ports.store import Head, Store
from eventmill.testing.contract.harness import command, entry, letter, message, put
from eventmill.testing.contract.journal import outcome
from eventmill.testing.contract.views import CARTS

SHARDS = 16
HOME_OF_C1 = 10


class SharedContract:
    """Override `make_store` and `beside`."""

    def make_store(self, directory: Path) -> Store:
        """Make a store of 16 shards, not yet open."""
        raise NotImplementedError("override make_store(directory) and return your store")

    def beside(self, store: Store) -> Store:
        """Make another node's store on the same data, not yet open."""
        raise NotImplementedError("override beside(store) and return another node's store")

    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[Store]:
        """The first node: it holds all shards."""
        store = self.make_store(tmp_path)
        await store.open()
        for shard in range(store.placement.shards):
            store.hold(shard, 0)
        yield store
        await store.close()

    @pytest.fixture
    async def other(self, store: Store) -> AsyncIterator[Store]:
        """The second node: it holds nothing."""
        other = self.beside(store)
        await other.open()
        yield other
        await other.close()

    async def test_shards_are_known_to_every_node(self, store: Store, other: Store) -> None:
        assert store.placement.shards == other.placement.shards == SHARDS
        assert store.placement.entity("c1") == HOME_OF_C1

    async def test_topics_are_numbered_once_for_all_nodes(self, store: Store, other: Store) -> None:
        first = await store.place(["orders", "refunds"])
        second = await other.place(["shipped", "orders"])
        assert first.topics == {"orders": 1, "refunds": 2}
        assert second.topics == {**first.topics, "shipped": 3}
        assert (await store.place([])).topics == second.topics
        assert store.placement.topics == second.topics

    async def test_topics_placed_at_the_same_time_get_different_numbers(
        self, store: Store, other: Store
    ) -> None:
        await asyncio.gather(store.place(["a", "b", "x"]), other.place(["c", "x", "d"]))
        topics = (await store.place([])).topics
        assert sorted(topics.values()) == [1, 2, 3, 4, 5]

    async def test_each_shard_counts_its_own_positions(self, store: Store) -> None:
        entries = [message(shard=n % 3) for n in range(9)]
        await put(store, *entries)
        assert [(e.shard, e.position) for e in entries[:5]] == [
            (0, 1), (1, 1), (2, 1), (0, 2), (1, 2),
        ]  # fmt: skip
        assert [await store.journal.end(shard) for shard in range(4)] == [3, 3, 3, 0]
        scan = await store.journal.read(1, 1, limit=9)
        assert [(e.shard, e.position) for e in scan.entries] == [(1, 2), (1, 3)]

    async def test_nodes_that_append_at_the_same_time_leave_no_gaps(
        self, store: Store, other: Store
    ) -> None:
        await store.place(["orders"])
        await other.place(["orders"])
        shards = [SHARDS + n for n in range(3)]
        batches = [[message(f"{n}", shard=s) for s in shards for _ in "ab"] for n in range(20)]
        nodes = (store, other)
        await asyncio.gather(*(put(nodes[n % 2], *batch) for n, batch in enumerate(batches)))
        for shard in shards:
            entries = (await store.journal.read(shard, 0, limit=99)).entries
            assert [e.position for e in entries] == list(range(1, 41))
            pairs = zip(entries[::2], entries[1::2], strict=True)
            assert all(a.subject == b.subject for a, b in pairs)
        stamped = sorted((e.shard, e.position) for batch in batches for e in batch)
        assert stamped == [(shard, n) for shard in shards for n in range(1, 41)]

    async def test_a_shard_that_is_not_held_is_not_written(self, other: Store) -> None:
        other.hold(1, 0)
        with pytest.raises(NotOwner):
            await put(other, entry(shard=1), entry("c2", shard=2))
        other.hold(2, 5)
        with pytest.raises(NotOwner):
            await put(other, entry(shard=1), entry("c2", shard=2))
        assert await other.journal.end(1) == 0
        other.hold(2, 0)
        await put(other, entry(shard=1), entry("c2", shard=2))
        other.let_go(2)
        with pytest.raises(NotOwner):
            await put(other, entry("c2", 2, shard=2))

    @pytest.mark.parametrize(
        "commit",
        [
            Commit(entries=[command(shard=HOME_OF_C1)]),
            Commit(snapshots=[Snapshot("cart", "c1", 1, 1, "s", b"{}")]),
            Commit(outcomes=[outcome(b"k")]),
            Commit(timers={"t": Timer("t", 1, command(shard=HOME_OF_C1))}),
            Commit(offsets=[Offset("billing", HOME_OF_C1, 0, 1)]),
            Commit(offsets=[Offset("billing", SHARDS + HOME_OF_C1, 0, 1)]),
            Commit(letters=[letter(1, shard=SHARDS + HOME_OF_C1)]),
            Commit(settled=[LetterKey("billing", HOME_OF_C1, 1)]),
            Commit(compacted=[("cart", "c1", 9)]),
            Commit(purged=[("cart", "c1")]),
        ],
        ids=lambda commit: next(f for f in commit.__struct_fields__ if getattr(commit, f)),
    )
    async def test_whatever_lives_in_a_home_shard_needs_its_epoch(
        self, store: Store, other: Store, commit: Commit
    ) -> None:
        await store.place(["orders"])
        await other.place(["orders"])
        await put(store, timers={"kept": Timer("kept", 1, command(shard=HOME_OF_C1))})
        for shard in range(SHARDS):
            other.hold(shard, 7 if shard == HOME_OF_C1 else 0)
        with pytest.raises(NotOwner):
            await other.commit(commit)
        other.hold(HOME_OF_C1, 0)
        await other.commit(commit)

    async def test_any_node_publishes(self, store: Store, other: Store) -> None:
        await store.place(["orders"])
        placement = await other.place(["orders"])
        sent = message("c1", shard=placement.message("orders", "c1"))
        await put(other, sent, outcomes=[_published(b"k")])
        assert (sent.shard, sent.position) == (SHARDS + HOME_OF_C1, 1)

    async def test_of_two_nodes_that_publish_under_one_key_the_second_is_refused(
        self, store: Store, other: Store
    ) -> None:
        await store.place(["orders"])
        await other.place(["orders"])
        twice = [
            put(node, message("k", shard=SHARDS), outcomes=[_published(b"k")])
            for node in (store, other)
        ]
        results = await asyncio.gather(*twice, return_exceptions=True)
        assert sorted(type(result).__name__ for result in results) == ["Conflict", "NoneType"]
        assert await store.journal.end(SHARDS) == 1

    async def test_an_expired_key_may_be_used_again(self, store: Store) -> None:
        await store.place(["orders"])
        await put(store, outcomes=[_published(b"k", 100)])
        with pytest.raises(Conflict):
            await put(store, outcomes=[_published(b"k", 99)])
        await put(store, outcomes=[_published(b"k", 100 + limits.IDEMPOTENCY_SECONDS * 10**6)])

    async def test_timers_are_read_for_the_shards_of_their_commands(self, store: Store) -> None:
        timers = {f"t{n}": Timer(f"t{n}", n, command(shard=n)) for n in range(4)}
        await put(store, timers=timers)
        found = await store.due_timers(9, [3, 1], limit=9)
        assert [timer.name for timer in found] == ["t1", "t3"]

    async def test_letters_of_a_key_are_apart_by_shard(self, store: Store) -> None:
        parked = [
            letter(5, shard=1, status=LetterStatus.DEAD),
            letter(3, shard=2, status=LetterStatus.RETRYING, due=9),
            letter(6, shard=1),
        ]
        await put(store, letters=parked)
        heads = sorted(await store.parking.heads(range(SHARDS)))
        assert heads == [
            Head("billing", 1, "cart/c1", LetterStatus.DEAD, 0),
            Head("billing", 2, "cart/c1", LetterStatus.RETRYING, 9),
        ]
        assert await store.parking.heads([2, 3]) == heads[1:]
        queue = await store.parking.queue("billing", 1, "cart/c1", limit=9)
        assert [x.entry.position for x in queue] == [5, 6]
        assert await store.parking.count("billing", [1]) == 2
        assert await store.parking.count("billing", [1, 2]) == 3

    async def test_a_node_sees_what_another_one_committed(self, store: Store, other: Store) -> None:
        await put(store, entry(shard=3), registry={"fact": b"1"}, offsets=[Offset("v", 3, 0, 1)])
        assert [e.shard for e in (await other.journal.load("cart", "c1"))[1]] == [3]
        assert await other.registry() == {"fact": b"1"}
        assert await other.offsets() == {("v", 3): 1}

    @pytest.mark.parametrize("old", [None, b"0"])
    async def test_a_fact_that_two_nodes_change_at_once_is_changed_by_one(
        self, store: Store, other: Store, old: bytes | None
    ) -> None:
        for number in range(20):
            name = f"fact{number}"
            await put(store, registry={name: old})
            answers = await asyncio.gather(
                put(store, registry={name: b"1"}, expected={name: old}),
                put(other, registry={name: b"2"}, expected={name: old}),
                return_exceptions=True,
            )
            assert sorted(isinstance(answer, Conflict) for answer in answers) == [False, True]
            won = b"2" if answers[0] else b"1"
            assert (await store.registry())[name] == won

    async def test_nodes_that_start_at_once_prepare_the_same_tables(
        self, store: Store, other: Store
    ) -> None:
        await asyncio.gather(*(node.views.prepare([CARTS]) for node in (store, other) * 3))
        await put(
            store, rows=[Rows("carts_1", [("c1", 1, "a")], [])], offsets=[Offset("v", 0, 0, 1)]
        )
        assert (await other.views.rows("carts_1", ["c1"])).rows == [("c1", 1, "a")]


def _published(key: bytes, expires: int = 100) -> Outcome:
    return outcome(key, "", source="orders", expires=expires)
