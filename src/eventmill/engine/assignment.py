"""Assignment: which node should hold which shard. Pure: every node comes to the same answer alone.

Place on the road: routing. The cluster's loop compares what should be with what is claimed, and
takes the steps from one to the other; safety never rests on this, but on the epochs that every
commit checks.

Rendezvous hashing (Thaler and Ravishankar, 1998): a node has a weight for each shard, the heaviest
live node holds it; so a node that comes or goes moves few shards. As 16 shards are too few for
chance to spread them evenly, no node takes more than its share, rounded up.
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


def assign(shards: int, nodes: Collection[str]) -> dict[int, str]:
    """Return the node of each shard; nothing if there are no nodes."""
    if not nodes:
        return {}
    share = -(-shards // len(nodes))
    held: Counter[str] = Counter()
    owners: dict[int, str] = {}
    for shard in range(shards):
        free = [node for node in nodes if held[node] < share]
        owner = max(free, key=lambda node: (_weight(shard, node), node))
        held[owner] += 1
        owners[shard] = owner
    return owners


def steps(me: str, shards: int, live: Collection[str], claims: Mapping[int, str]) -> Steps:
    """Return what `me` should take and give.

    Parameters: `live` are the nodes whose lease holds, `claims` the node that has claimed each
    shard; shards that nobody claimed may be missing.
    """
    wanted = assign(shards, live)
    take = [s for s, node in wanted.items() if node == me and claims.get(s) not in live]
    give = [s for s, node in wanted.items() if node != me and claims.get(s) == me]
    return Steps(take, give)


def _weight(shard: int, node: str) -> bytes:
    return blake2b(f"{shard}/{node}".encode(), digest_size=8).digest()
