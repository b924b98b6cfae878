"""Blocked keys against a plain dict, and what it costs to find the ones that are due."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from eventmill.runtime.dispatch.blocked import VOID_PLACES, Blocked

KEYS = st.sampled_from("abcde")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), KEYS, st.one_of(st.none(), st.integers(0, 9))),
        st.tuples(st.just("remove"), KEYS, st.none()),
        st.tuples(st.just("keep"), KEYS, st.none()),
        st.tuples(st.just("take"), KEYS, st.integers(0, 9)),
    )
)


@given(STEPS, st.integers(1, 3))
def test_it_finds_what_a_search_of_all_keys_finds(
    steps: list[tuple[str, str, int | None]], limit: int
) -> None:
    blocked, model = Blocked(), dict[str, int | None]()
    for step, key, due in steps:
        if step == "put":
            blocked.put(key, due)
            model[key] = due
        elif step == "remove":
            blocked.remove(key)
            model.pop(key, None)
        elif step == "keep":
            blocked.keep({key})
            model = {other: at for other, at in model.items() if other == key}
        elif due is not None:
            ripe = sorted((at, k) for k, at in model.items() if at is not None and at <= due)
            taken = blocked.take(due, limit)
            assert taken == ripe[:limit]
            for _, other in taken:
                blocked.put(other, model[other])
        assert sorted(map(str, blocked.values())) == sorted(map(str, model.values()))
        assert blocked.next_due() == min(
            (at for at in model.values() if at is not None), default=None
        )
        assert blocked.dead == [*model.values()].count(None)
        assert (len(blocked), key in blocked) == (len(model), key in model)


class Time(int):
    """A time that counts how often it is compared."""

    compared = 0

    def __lt__(self, other: int) -> bool:
        Time.compared += 1
        return super().__lt__(other)

    def __le__(self, other: int) -> bool:
        Time.compared += 1
        return super().__le__(other)


def test_an_outage_of_many_keys_does_not_make_finding_some_slow() -> None:
    blocked = Blocked()
    for number in range(100_000):
        blocked.put(f"k{number}", Time(number * 7_919 % 100_000))
    Time.compared = 0
    taken = blocked.take(1_000_000, 16)
    assert [due for due, _ in taken] == list(range(16))
    assert 0 < Time.compared < 2_000


def test_a_key_that_is_put_again_and_again_takes_no_more_room() -> None:
    blocked = Blocked()
    for due in range(10 * VOID_PLACES):
        blocked.put("k", due)
    assert len(blocked._heap) <= VOID_PLACES + 2
    assert blocked.take(10 * VOID_PLACES, 9) == [(10 * VOID_PLACES - 1, "k")]
