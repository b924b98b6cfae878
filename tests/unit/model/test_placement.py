"""Where a key belongs decides which rows a node may write: it must never change."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmill.model import limits
from eventmill.model.placement import Placement

TEXTS = st.text(st.characters(codec="utf-8"))
SHARDS = st.integers(1, limits.SLICES)


def test_known_shards() -> None:
    found = [Placement(16).entity(id) for id in ("c1", "c2", "Zoë", "", "0", "customer-17")]
    assert found == [10, 12, 8, 0, 12, 3]


@given(TEXTS, SHARDS)
def test_every_id_has_a_home_shard(id: str, shards: int) -> None:
    assert 0 <= Placement(shards).entity(id) < shards


def test_ids_spread_evenly() -> None:
    placement = Placement(16)
    homes = [placement.entity(f"id-{n}") for n in range(16_000)]
    assert all(800 < homes.count(shard) < 1_200 for shard in range(16))


@given(TEXTS, SHARDS, st.integers(1, 1_000))
def test_a_message_lives_in_its_topics_shard_at_home_with_its_key(
    key: str, shards: int, number: int
) -> None:
    placement = Placement(shards, {"orders": number})
    shard = placement.message("orders", key)
    assert number * shards <= shard < (number + 1) * shards
    assert placement.home(shard) == placement.entity(key)


@given(TEXTS, SHARDS)
def test_messages_of_a_store_that_numbers_no_topics_live_at_home(key: str, shards: int) -> None:
    placement = Placement(shards)
    assert placement.message("orders", key) == placement.entity(key)


def test_a_topic_that_was_not_placed_has_no_shard() -> None:
    with pytest.raises(KeyError):
        Placement(4, {"orders": 1}).message("refunds", "k")
