"""The contract of `ports.store.Parking`: parked letters, their order and who is blocked."""

from __future__ import annotations

import pytest

from eventmill.model import limits
from eventmill.model.commit import LetterKey, LetterStatus
from eventmill.ports.store import Store
from eventmill.testing.contract.harness import SHARD, Harness, letter, plain, put

RETRYING, WAITING, DEAD, REFUSED = LetterStatus


async def positions(store: Store, **options: object) -> list[int]:
    found = await store.parking.letters(**{"limit": 99, **options})  # type: ignore[arg-type]
    return [x.entry.position for x in found]


class ParkingContract(Harness):
    """Letters."""

    async def test_a_letter_comes_back_as_it_was_parked(self, store: Store) -> None:
        written = letter(
            3,
            status=DEAD,
            attempts=8,
            due=77,
            parked=66,
            code="ValueError",
            error="no ☃",
            traceback="line 1\nline 2",
        )
        await put(store, letters=[written])
        assert plain(await store.parking.letters(limit=9)) == plain([written])
        queue = await store.parking.queue("billing", SHARD, "cart/c1", limit=9)
        assert plain(queue) == plain([written])

    async def test_the_head_of_a_key_is_its_first_blocking_letter(self, store: Store) -> None:
        await put(
            store,
            letters=[
                letter(9, status=WAITING),
                letter(4, status=RETRYING, due=50),
                letter(2, status=REFUSED),
                letter(5, "cart/c2", DEAD, due=9),
                letter(4, status=DEAD, subscription="views"),
                letter(6, "cart/c3", REFUSED),
            ],
        )
        assert sorted(await store.parking.heads([SHARD])) == [
            ("billing", SHARD, "cart/c1", RETRYING, 50),
            ("billing", SHARD, "cart/c2", DEAD, 9),
            ("views", SHARD, "cart/c1", DEAD, 0),
        ]

    async def test_a_subscriptions_letters_are_counted_without_refused(self, store: Store) -> None:
        await put(store, letters=[letter(1), letter(2, status=REFUSED), letter(3, "cart/c2")])
        await put(store, letters=[letter(3, "cart/c2", DEAD), letter(4, subscription="views")])
        assert await store.parking.count("billing", [SHARD]) == 2
        assert await store.parking.count("nobody", [SHARD]) == 0

    async def test_a_keys_queue_is_in_order_of_position_without_refused(self, store: Store) -> None:
        await put(store, letters=[letter(n) for n in (11, 3, 7)])
        await put(store, letters=[letter(1, status=REFUSED), letter(2, "cart/c2")])
        queue = await store.parking.queue("billing", SHARD, "cart/c1", limit=9)
        assert [x.entry.position for x in queue] == [3, 7, 11]
        queue = await store.parking.queue("billing", SHARD, "cart/c1", limit=2)
        assert [x.entry.position for x in queue] == [3, 7]
        assert await store.parking.queue("billing", SHARD, "cart/nobody", limit=9) == []

    async def test_a_keys_queue_ends_early_where_its_bytes_are_enough(self, store: Store) -> None:
        portion = limits.SCAN_BYTES_MAX // limits.PAYLOAD_BYTES_MAX
        large = b'"%s"' % (b"x" * limits.PAYLOAD_BYTES_MAX)
        letters = [letter(n) for n in range(1, portion + 3)]
        for one in letters:
            one.entry.payload = large
        await put(store, letters=letters)
        queue = await store.parking.queue("billing", SHARD, "cart/c1", limit=99)
        assert [x.entry.position for x in queue] == [*range(1, portion + 1)]

    async def test_a_letter_that_is_put_again_changes_and_keeps_its_parking_time(
        self, store: Store
    ) -> None:
        await put(store, letters=[letter(1, status=RETRYING, attempts=1, due=5, parked=5)])
        again = letter(1, status=DEAD, attempts=2, due=9, parked=9, code="E", error="e")
        await put(store, letters=[again])
        (found,) = await store.parking.letters(limit=9)
        assert (found.status, found.attempts, found.due) == (DEAD, 2, 9)
        assert (found.code, found.error, found.parked) == ("E", "e", 5)

    async def test_settled_letters_are_removed_and_the_next_is_the_head(self, store: Store) -> None:
        await put(store, letters=[letter(1, status=DEAD), letter(2)])
        settled = [LetterKey("billing", SHARD, 1), LetterKey("billing", SHARD, 99)]
        await put(store, settled=settled)
        assert await store.parking.heads([SHARD]) == [("billing", SHARD, "cart/c1", WAITING, 0)]

    async def test_letters_are_listed_in_order_and_by_page(self, store: Store) -> None:
        await put(store, letters=[letter(n, subscription=s) for s in "ba" for n in (2, 10, 1)])
        first = await store.parking.letters(limit=4)
        keys = [(x.subscription, x.entry.shard, x.entry.position) for x in first]
        assert keys == [("a", 0, 1), ("a", 0, 2), ("a", 0, 10), ("b", 0, 1)]
        rest = await store.parking.letters(after=keys[-1], limit=4)
        assert [(x.subscription, x.entry.position) for x in rest] == [("b", 2), ("b", 10)]

    async def test_a_page_of_letters_ends_early_where_its_bytes_are_enough(
        self, store: Store
    ) -> None:
        portion = limits.SCAN_BYTES_MAX // limits.PAYLOAD_BYTES_MAX
        letters = [letter(n, f"cart/c{n}") for n in range(1, portion + 3)]
        for one in letters:
            one.entry.payload = b'"%s"' % (b"x" * limits.PAYLOAD_BYTES_MAX)
        await put(store, letters=letters)
        first = await store.parking.letters(limit=99)
        assert [x.entry.position for x in first] == [*range(1, portion + 1)]
        after = ("billing", SHARD, portion)
        assert await positions(store, after=after) == [portion + 1, portion + 2]
        assert await positions(store, after=("billing", SHARD, portion + 2)) == []

    async def test_letters_are_filtered_by_subscription_and_status(self, store: Store) -> None:
        await put(
            store,
            letters=[
                letter(1, status=DEAD),
                letter(2, status=WAITING),
                letter(3, status=REFUSED),
                letter(4, status=DEAD, subscription="views"),
            ],
        )
        assert await positions(store, subscription="billing") == [1, 2, 3]
        assert await positions(store, statuses=[DEAD]) == [1, 4]
        assert await positions(store, statuses=[DEAD, REFUSED], subscription="billing") == [1, 3]
        assert await positions(store, subscription="unknown") == []

    async def test_a_sweep_removes_refused_letters_that_are_due(self, store: Store) -> None:
        old = [letter(n, status=REFUSED, due=10) for n in range(1, 6)]
        others = [letter(6, status=REFUSED, due=11), letter(7, status=DEAD), letter(8)]
        await put(store, letters=[*old, *others])
        assert await store.sweep(9, limit=99) == 0
        assert [await store.sweep(10, limit=2) for _ in range(4)] == [2, 2, 1, 0]
        assert await positions(store) == [6, 7, 8]

    async def test_a_sweep_removes_the_oldest_of_too_many_refused_letters(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(limits, "REFUSED_MAX", 3)
        await put(store, letters=[letter(n, status=REFUSED, due=99 - n) for n in range(1, 7)])
        await put(store, letters=[letter(9, status=DEAD)])
        assert [await store.sweep(1, limit=2) for _ in range(3)] == [2, 1, 0]
        assert await positions(store) == [1, 2, 3, 9]

    async def test_the_same_entry_may_be_parked_by_several_subscriptions(
        self, store: Store
    ) -> None:
        await put(store, letters=[letter(1), letter(1, subscription="views")])
        await put(store, settled=[LetterKey("views", SHARD, 1)])
        assert await positions(store) == [1]
