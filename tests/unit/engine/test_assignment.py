"""Shards are spread evenly, move no more than they must, and every node comes to the same answer."""

from __future__ import annotations

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from eventmill.engine.assignment import assign, steps

NODES = st.sets(st.text("abcdefgh0123456789-", min_size=1, max_size=12), min_size=1, max_size=12)
SHARDS = st.integers(1, 64)
LUCK = st.randoms(use_true_random=False)


def any_claims(shards: int, nodes: set[str], luck: Random) -> dict[int, str]:
    candidates = [*sorted(nodes), "gone", ""]
    return {shard: luck.choice(candidates) for shard in range(shards)}


def settled(shards: int, nodes: set[str], claims: dict[int, str]) -> dict[int, str]:
    """Let every node take its steps: what one has too many of is given, then it is free."""
    claims = dict(claims)
    for _ in range(2):
        for node in sorted(nodes):
            found = steps(node, shards, nodes, claims)
            assert all(claims[shard] == node for shard in found.give)
            assert all(claims.get(shard) not in nodes for shard in found.take)
            claims.update(dict.fromkeys(found.give, ""))
            claims.update(dict.fromkeys(found.take, node))
    return claims


@given(SHARDS, NODES, LUCK)
def test_every_shard_has_a_node_and_no_node_more_than_its_share(
    shards: int, nodes: set[str], luck: Random
) -> None:
    owners = assign(shards, nodes, any_claims(shards, nodes, luck))
    assert sorted(owners) == list(range(shards))
    assert max(Counter(owners.values()).values()) <= -(-shards // len(nodes))


@given(SHARDS, NODES, LUCK)
def test_the_order_in_which_nodes_are_known_does_not_matter(
    shards: int, nodes: set[str], luck: Random
) -> None:
    claims = any_claims(shards, nodes, luck)
    assert assign(shards, sorted(nodes), claims) == assign(
        shards, sorted(nodes, reverse=True), claims
    )


@given(SHARDS, NODES, LUCK)
def test_steps_from_any_claims_give_every_shard_a_node_and_come_to_rest(
    shards: int, nodes: set[str], luck: Random
) -> None:
    claims = settled(shards, nodes, any_claims(shards, nodes, luck))
    assert set(claims.values()) <= nodes
    assert max(Counter(claims.values()).values()) <= -(-shards // len(nodes))
    for node in nodes:
        assert steps(node, shards, nodes, claims) == ([], [])


@given(SHARDS, NODES, LUCK)
def test_a_node_that_dies_moves_its_own_shards_alone(
    shards: int, nodes: set[str], luck: Random
) -> None:
    before = settled(shards, nodes | {"victim"}, any_claims(shards, nodes, luck))
    after = settled(shards, nodes, before)
    moved = {shard for shard in range(shards) if before[shard] != after[shard]}
    assert moved == {shard for shard, node in before.items() if node == "victim"}


@given(SHARDS, NODES, LUCK)
def test_a_node_that_comes_moves_what_others_have_too_many_of(
    shards: int, nodes: set[str], luck: Random
) -> None:
    before = settled(shards, nodes, any_claims(shards, nodes, luck))
    after = settled(shards, nodes | {"new"}, before)
    moved = {shard for shard in range(shards) if before[shard] != after[shard]}
    share = -(-shards // (len(nodes) + 1))
    too_many = sum(count - share for count in Counter(before.values()).values() if count > share)
    assert len(moved) == too_many


def test_without_nodes_nobody_holds_anything() -> None:
    assert assign(16, [], {}) == {}


def test_what_a_live_node_holds_is_not_taken_from_it() -> None:
    claims = dict.fromkeys(range(2), "a")
    assert steps("b", 2, ["a", "b"], claims).take == []
    (given_up,) = steps("a", 2, ["a", "b"], claims).give
    assert steps("b", 2, ["a", "b"], claims | {given_up: ""}).take == [given_up]
