"""Where a key belongs is stored in every shard's bounds: it must never change."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from eventmill.model import limits
from eventmill.model.slices import shard_of, slice_of

TEXTS = st.text(st.characters(codec="utf-8"))


def test_known_slices() -> None:
    keys = [("cart", "c1"), ("cart", "c2"), ("cart2", "c1"), ("orders", "Zoë"), ("a", "")]
    assert [slice_of(*key) for key in keys] == [451, 121, 465, 923, 25]


@given(TEXTS, TEXTS, st.integers(1, limits.SLICES))
def test_every_key_has_a_shard(source: str, subject: str, shards: int) -> None:
    number = slice_of(source, subject)
    assert 0 <= number < limits.SLICES
    assert 0 <= shard_of(number, shards) < shards


@given(st.integers(1, limits.SLICES))
def test_shards_are_contiguous_and_differ_by_one_slice_at_most(shards: int) -> None:
    owners = [shard_of(number, shards) for number in range(limits.SLICES)]
    assert owners == sorted(owners)
    sizes = [owners.count(shard) for shard in range(shards)]
    assert max(sizes) - min(sizes) <= 1


def test_source_and_subject_do_not_run_together() -> None:
    assert slice_of("a", "bc") != slice_of("ab", "c")
