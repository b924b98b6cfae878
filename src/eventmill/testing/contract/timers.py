"""The contract of the store's timers."""

from __future__ import annotations

from typing import Any

import pytest

from eventmill.errors import Conflict
from eventmill.model import limits
from eventmill.model.commit import Timer
from eventmill.ports.store import Store
from eventmill.testing.contract.harness import SHARD, Harness, command, plain, put


def timer(name: str, due: int, **fields: Any) -> Timer:
    return Timer(name, due, command(**fields))


async def names(store: Store) -> list[tuple[str, int]]:
    return [(t.name, t.due) for t in await store.timers(limit=99)]


async def put_timers(store: Store, *timers: Timer) -> None:
    await put(store, timers={t.name: t for t in timers})


class TimerContract(Harness):
    """Commands that wait for their time."""

    async def test_a_timer_comes_back_with_its_command(self, store: Store) -> None:
        written = timer("reminder/é", 50, payload=b'{"x":1}', metadata=b"{}")
        await put_timers(store, written)
        assert plain(await store.timers(limit=9)) == plain([written])
        assert plain(await store.due_timers(50, [SHARD], limit=9)) == plain([written])

    async def test_due_timers_come_earliest_first_up_to_the_limit(self, store: Store) -> None:
        await put_timers(store, timer("c", 10), timer("a", 30), timer("b", 20), timer("d", 31))
        assert [t.name for t in await store.due_timers(30, [SHARD], limit=9)] == ["c", "b", "a"]
        assert [t.name for t in await store.due_timers(30, [SHARD], limit=2)] == ["c", "b"]
        assert await store.due_timers(9, [SHARD], limit=9) == []

    async def test_timers_are_listed_by_name(self, store: Store) -> None:
        await put_timers(store, timer("b", 1), timer("a", 2), timer("c", 3))
        assert await names(store) == [("a", 2), ("b", 1), ("c", 3)]
        assert [t.name for t in await store.timers(after="a", limit=1)] == ["b"]

    async def test_the_same_name_replaces_a_timer(self, store: Store) -> None:
        await put_timers(store, timer("a", 10, type="old"))
        await put_timers(store, timer("a", 20, type="new"))
        (found,) = await store.timers(limit=9)
        assert (found.due, found.command.type) == (20, "new")

    async def test_none_removes_a_timer_and_an_unknown_name_is_fine(self, store: Store) -> None:
        await put_timers(store, timer("a", 10), timer("b", 10))
        await put(store, timers={"a": None, "unknown": None})
        assert await names(store) == [("b", 10)]

    async def test_a_fired_timer_goes(self, store: Store) -> None:
        await put_timers(store, timer("a", 10), timer("b", 10))
        await put(store, fired=[("a", 10)])
        assert await names(store) == [("b", 10)]

    async def test_a_timer_that_was_replaced_or_cancelled_since_does_not_fire(
        self, store: Store
    ) -> None:
        await put_timers(store, timer("a", 20))
        for fired in (("a", 10), ("cancelled", 10)):
            with pytest.raises(Conflict):
                await put(store, command(), fired=[fired])
        assert await names(store) == [("a", 20)]
        assert await store.journal.end(SHARD) == 0

    async def test_a_timer_set_in_the_commit_that_fires_its_predecessor_stays(
        self, store: Store
    ) -> None:
        await put_timers(store, timer("a", 10, type="old"))
        await put(store, fired=[("a", 10)], timers={"a": timer("a", 10, type="new")})
        (found,) = await store.timers(limit=9)
        assert found.command.type == "new"

    async def test_a_returned_timer_is_the_callers_own(self, store: Store) -> None:
        await put_timers(store, timer("a", 10))
        (mine,) = await store.due_timers(10, [SHARD], limit=9)
        mine.command.time = 999
        (again,) = await store.due_timers(10, [SHARD], limit=9)
        assert again.command.time != 999

    async def test_a_page_of_timers_ends_early_where_its_bytes_are_enough(
        self, store: Store
    ) -> None:
        portion = limits.SCAN_BYTES_MAX // limits.PAYLOAD_BYTES_MAX
        large = b'"%s"' % (b"x" * limits.PAYLOAD_BYTES_MAX)
        found = [f"t{n}" for n in range(portion + 2)]
        for n, name in enumerate(found):
            await put_timers(store, timer(name, 10 + n, payload=large))
        due = await store.due_timers(99, [SHARD], limit=99)
        assert [t.name for t in due] == found[:portion]
        assert [t.name for t in await store.timers(limit=99)] == found[:portion]
        rest = await store.timers(after=found[portion - 1], limit=99)
        assert [t.name for t in rest] == found[portion:]
