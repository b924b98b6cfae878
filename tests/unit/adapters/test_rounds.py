"""Shards in one order: whatever somebody has read comes before what it has not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmill.adapters.postgres.rounds import read_by, rounds
from eventmill.errors import ConfigurationError
from eventmill.model.placement import EVERY_SHARD, Placement

ENDS = {0: 3, 1: 5, 2: 0}


def test_who_has_read_everything_holds_nobody_back() -> None:
    found = rounds(ENDS, {"a": ENDS, "b": {0: 3}})
    assert found == ([ENDS], {"a": 0, "b": 0})


def test_what_somebody_has_not_read_comes_last() -> None:
    found = rounds(ENDS, {"all": ENDS, "stopped": {0: 1, 1: 2}, "gone": {0: 0, 1: 2}})
    assert found.until == [{0: 0, 1: 2, 2: 0}, {0: 1, 1: 2, 2: 0}, ENDS]
    assert found.passed == {"gone": 0, "stopped": 1, "all": 2}


def test_readers_of_different_shards_do_not_meet() -> None:
    found = rounds(ENDS, {"one": {0: 1}, "other": {1: 2}})
    assert found.until == [{0: 1, 1: 2, 2: 0}, ENDS]


def test_readers_who_are_ahead_of_each_other_fit_into_no_order() -> None:
    with pytest.raises(ConfigurationError, match="left, right"):
        rounds(ENDS, {"left": {0: 3, 1: 2}, "right": {0: 1, 1: 5}, "all": ENDS})


positions = st.fixed_dictionaries({shard: st.integers(0, 4) for shard in range(3)})


@given(st.dictionaries(st.sampled_from("abcd"), positions, max_size=4))
def test_an_order_is_right_for_everybody_or_refused(read: dict[str, dict[int, int]]) -> None:
    ends = dict.fromkeys(range(3), 4)
    clashes = any(
        any(x[s] > y[s] for s in x) and any(x[s] < y[s] for s in x)
        for x in read.values()
        for y in read.values()
    )
    try:
        found = rounds(ends, read)
    except ConfigurationError:
        assert clashes
        return
    assert not clashes
    for name, at in read.items():
        assert found.until[found.passed[name]] == at


def test_a_subscription_reads_all_shards_of_what_it_has_begun_to_read() -> None:
    offsets = {("a", 0): 3, ("b", 5): 1, ("c", EVERY_SHARD): 7, ("d", EVERY_SHARD): 7, ("d", 2): 9}
    assert read_by(offsets, range(6), Placement(2)) == {
        "a": {0: 3, 1: 0},
        "b": {4: 0, 5: 1},
        "c": dict.fromkeys(range(6), 7),
        "d": {2: 9, 3: 7},
    }
