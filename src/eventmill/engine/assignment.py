"""Assignment: which node should hold which shard. Pure: every node comes to the same answer alone.

Place on the road: routing. The cluster's loop compares what should be with what is claimed, and
takes the steps from one to the other; safety never rests on this, but on the epochs that every
commit checks.

A live node keeps what it holds, up to its share of all shards, rounded up; a shard beyond it, or
that nobody alive holds, goes by rendezvous hashing (Thaler and Ravishankar, 1998): a node has a
weight for each shard, and the heaviest one that has less than its share takes it. So a node that
dies moves its own shards and no others, and one that comes back moves as many as it takes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from hashlib import blake2b
from typing import NamedTuple


class Steps(NamedTuple):
    """What a node should do next."""

    take: list[int]
    """Shards to claim: they are its own, and nobody alive holds them."""
    give: list[int]
    """Shards that it holds and another live node should have."""


def assign(shards: int, nodes: Collection[str], claims: Mapping[int, str]) -> dict[int, str]:
    """Return the node of each shard; nothing if there are no nodes.

    Parameters: `nodes` are those that live, `claims` tells who has claimed each shard; shards that
    nobody claimed may be missing.
    """
    if not nodes:
        return {}
    share = -(-shards // len(nodes))
    owners: dict[int, str] = {}
    for node in nodes:
        its_own = [shard for shard in range(shards) if claims.get(shard) == node]
        its_own.sort(key=lambda shard: _weight(shard, node), reverse=True)
        owners.update(dict.fromkeys(its_own[:share], node))
    held = Counter(owners.values())
    for shard in range(shards):
        if shard not in owners:
            free = [node for node in nodes if held[node] < share]
            owner = owners[shard] = max(free, key=lambda node: (_weight(shard, node), node))
            held[owner] += 1
    return owners


def steps(me: str, shards: int, live: Collection[str], claims: Mapping[int, str]) -> Steps:
    """Return what `me` should take and give.

    Parameters: `live` are the nodes whose lease holds, `claims` as for `assign`.
    """
    wanted = assign(shards, live, claims)
    take = [s for s, node in wanted.items() if node == me and claims.get(s) not in live]
    give = [s for s, node in wanted.items() if node != me and claims.get(s) == me]
    return Steps(take, give)


def _weight(shard: int, node: str) -> bytes:
    return blake2b(f"{shard}/{node}".encode(), digest_size=8).digest()
