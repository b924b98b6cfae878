"""Shards are spread evenly, move little, and every node comes to the same answer."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from eventmill.engine.assignment import assign, steps

NODES = st.sets(st.text("abcdefgh0123456789-", min_size=1, max_size=12), min_size=1, max_size=12)
SHARDS = st.integers(1, 64)


@given(SHARDS, NODES)
def test_every_shard_has_a_node_and_no_node_more_than_its_share(
    shards: int, nodes: set[str]
) -> None:
    owners = assign(shards, nodes)
    assert sorted(owners) == list(range(shards))
    assert max(Counter(owners.values()).values()) <= -(-shards // len(nodes))


@given(SHARDS, NODES)
def test_the_order_in_which_nodes_are_known_does_not_matter(shards: int, nodes: set[str]) -> None:
    assert assign(shards, sorted(nodes)) == assign(shards, sorted(nodes, reverse=True))


def test_a_node_that_joins_moves_little() -> None:
    for size in range(1, 9):
        nodes = [f"node-{number}" for number in range(size)]
        before, after = assign(64, nodes), assign(64, [*nodes, "another"])
        moved = sum(before[shard] != after[shard] for shard in range(64))
        assert moved <= 2.5 * 64 / (size + 1), f"{moved} of 64 moved as node {size + 1} came"


def test_without_nodes_nobody_holds_anything() -> None:
    assert assign(16, []) == {}


@given(SHARDS, NODES, st.randoms(use_true_random=False))
def test_steps_lead_from_any_claims_to_the_assignment(shards: int, nodes: set[str], luck) -> None:  # type: ignore[no-untyped-def]
    candidates = [*nodes, "gone", ""]
    claims = {shard: luck.choice(candidates) for shard in range(shards)}
    for _ in range(2):  # first what is held wrongly is given, then it is free to be taken
        for node in sorted(nodes):
            found = steps(node, shards, nodes, claims)
            assert all(claims[shard] == node for shard in found.give)
            assert all(claims[shard] not in nodes for shard in found.take)
            claims.update(dict.fromkeys(found.give, ""))
            claims.update(dict.fromkeys(found.take, node))
    assert claims == assign(shards, nodes)


def test_what_a_live_node_holds_is_not_taken_from_it() -> None:
    wanted = assign(2, ["a", "b"])
    claims = dict.fromkeys(range(2), "a")
    assert steps("b", 2, ["a", "b"], claims).take == []
    assert steps("a", 2, ["a", "b"], claims).give == [s for s, n in wanted.items() if n == "b"]
