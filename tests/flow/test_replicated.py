"""Replicated entities on one node, on every engine: durable, once, compacted, followed."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from eventmill import Deleted, Rejected
from eventmill.errors import HandlerFailed, TooLarge, Unavailable
from eventmill.model.entry import DELTAS
from eventmill.testing import FaultyStore, Host
from tests.flow.arcade import Player, Scored, Scores, arcade, scored


def deltas_of(commit: object) -> bool:
    return any(entry.source == DELTAS for entry in commit.entries)  # type: ignore[attr-defined]


async def test_changes_are_durable_when_they_are_answered(store: FaultyStore) -> None:
    async with Host(arcade, store=store) as host:
        assert await host.call(Player.content, "p") == ("nobody", 0, set(), {})
        replies = await asyncio.gather(*(host.call(Player.score, "p", "go", 1) for _ in range(50)))
        assert sorted(replies) == list(range(1, 51))
        await host.call(Player.rename, "p", "Ann")
        await host.call(Player.award, "p", badge="first")
        await host.call(Player.award, "p", badge="second")
        await host.call(Player.lose, "p", "first")
        for crash in (None, False, True):
            if crash is not None:
                await host.restart(crash=crash)
            assert await host.call(Player.content, "p") == ("Ann", 50, {"second"}, {"go": 50})


async def test_commands_of_one_commit_are_one_delta(store: FaultyStore) -> None:
    async with Host(arcade, store=store) as host:
        before = host.runtime.committer.entries
        await host.call(Player.score, "p", "go", 1)
        await asyncio.gather(*(host.call(Player.score, "p", "go", 1) for _ in range(200)))
        assert host.runtime.committer.entries - before < 20


async def test_a_command_that_changes_nothing_stores_nothing(store: FaultyStore) -> None:
    async with Host(arcade, store=store) as host:
        await host.call(Player.lose, "p", "no such badge")
        with pytest.raises(HandlerFailed):
            await host.call(Player.break_down, "q")
        await host.settle()
        assert host.runtime.committer.entries == 0


async def test_deltas_are_joined_into_one_stored_state_and_trimmed(store: FaultyStore) -> None:
    async with Host(arcade, store=store) as host:
        for n in range(30):
            await host.call(Player.score, "p", "go", n)
        await host.advance(timedelta(seconds=30))
        (state,) = await host.store.journal.history("player", "p", limit=99)
        assert state.type == "$state"
        placement = host.store.placement
        shard = placement.message(DELTAS, "p")
        end = await host.store.journal.end(shard)
        scan = await host.store.journal.read(shard, 0, limit=end + 1, sources=frozenset({DELTAS}))
        assert scan.entries == []
        await host.restart(crash=True)
        assert (await host.call(Player.content, "p"))[1] == sum(range(30))


async def test_a_removed_element_leaves_nothing_that_grows(store: FaultyStore) -> None:
    async with Host(arcade, store=store) as host:
        await host.call(Player.award, "p", badge="b0")
        await host.settle()
        (small,) = await host.store.journal.history("player", "p", limit=9)
        for n in range(1, 60):
            await host.call(Player.award, "p", badge=f"b{n}")
            await host.call(Player.lose, "p", f"b{n}")
        await host.advance(timedelta(seconds=5))
        (large,) = await host.store.journal.history("player", "p", limit=9)
        assert len(large.payload) < len(small.payload) + 10


async def test_views_and_consumers_follow_the_states(store: FaultyStore) -> None:
    async with Host(arcade, store=store) as host:
        await host.call(Player.score, "p", "go", 5)
        await host.call(Player.score, "q", "go", 7)
        await host.advance(timedelta(seconds=1))
        rows = await host.query(Scores.best)
        assert [(row.player, row.points) for row in rows] == [("q", 7), ("p", 5)]
        await host.call(Player.leave, "q")
        await host.advance(timedelta(seconds=1))
        assert [row.player for row in await host.query(Scores.best)] == ["p"]


async def test_a_change_and_what_it_publishes_are_one(store: FaultyStore) -> None:
    async with Host(arcade, store=store) as host:
        out = host.probe(scored)
        await host.call(Player.announce, "p", 5)
        assert await out.expect_one(Scored) == Scored(player="p", points=5)
        store.fail(matching=deltas_of)
        with pytest.raises(Unavailable):
            await host.call(Player.announce, "p", 7)
        await out.expect_none()
        assert (await host.call(Player.content, "p"))[1] == 5


async def test_a_sent_command_has_its_effect_once(store: FaultyStore) -> None:
    async with Host(arcade, store=store) as host:
        store.fail(
            matching=lambda commit: any(o.subscription == "$courier" for o in commit.offsets)
        )
        await host.call(Player.announce, "p", 5)
        await host.settle(retries=True)
        await host.restart(crash=True)
        await host.settle()
        assert (await host.call(Player.content, "bonus-p"))[1] == 5


async def test_a_failed_commit_takes_the_change_with_it(store: FaultyStore) -> None:
    async with Host(arcade, store=store) as host:
        await host.call(Player.score, "p", "go", 1)
        store.fail(matching=deltas_of)
        with pytest.raises(Unavailable):
            await host.call(Player.score, "p", "go", 10)
        assert (await host.call(Player.content, "p"))[1] == 1
        assert await host.call(Player.score, "p", "go", 100) == 101


async def test_a_reply_that_fails_takes_its_change_with_it_and_no_other(store: FaultyStore) -> None:
    async with Host(arcade, store=store) as host:
        await host.call(Player.score, "p", "go", 1)
        outcomes = await asyncio.gather(
            host.call(Player.score, "p", "go", 10),
            host.call(Player.rename, "p", "x" * (2 << 20)),
            host.call(Player.score, "p", "go", 100),
            host.call(Player.break_down, "p"),
            host.call(Player.score, "p", "go", 1_000),
            return_exceptions=True,
        )
        assert outcomes[0] == 11
        assert isinstance(outcomes[1], TooLarge)
        assert outcomes[2] == 111
        assert isinstance(outcomes[3], HandlerFailed)
        assert outcomes[4] == 1_111
        await host.restart(crash=True)
        assert (await host.call(Player.content, "p"))[:2] == ("nobody", 1_111)


async def test_a_repeated_key_gets_the_first_answer(store: FaultyStore) -> None:
    async with Host(arcade, store=store) as host:
        call = host.runtime.call
        assert await call(Player.score, "p", ("go", 5), "key") == 5
        assert await call(Player.score, "p", ("go", 5), "key") == 5
        with pytest.raises(Rejected):
            await call(Player.score, "p", ("go", 2_000_000), "cheat")
        await host.restart(crash=True)
        call = host.runtime.call
        assert await call(Player.score, "p", ("go", 5), "key") == 5
        with pytest.raises(Rejected, match="nobody scores so much"):
            await call(Player.score, "p", ("go", 2_000_000), "cheat")
        assert (await host.call(Player.content, "p"))[1] == 5


async def test_a_deleted_one_is_refused_then_removed_then_new(store: FaultyStore) -> None:
    async with Host(arcade, store=store) as host:
        await host.call(Player.score, "p", "go", 5)
        await host.call(Player.leave, "p")
        for crash in (None, False, True):
            if crash is not None:
                await host.restart(crash=crash)
            with pytest.raises(Deleted):
                await host.call(Player.content, "p")
        await host.advance(timedelta(days=2))
        assert await host.call(Player.content, "p") == ("nobody", 0, set(), {})
        assert await host.call(Player.score, "p", "go", 3) == 3


async def test_memory_is_bounded_by_loading_anew(
    store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eventmill.model.limits.CACHE_REPLICAS", 3)
    monkeypatch.setattr("eventmill.model.limits.CACHE_COMPACTED", 2)
    async with Host(arcade, store=store) as host:
        for round in range(3):
            for n in range(12):
                assert await host.call(Player.score, f"p{n}", "go", 1) == round + 1
        assert host.runtime.replication is not None
        assert len(host.runtime.replication.replicas.cells) <= 3
