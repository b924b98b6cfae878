"""The one order into which the entries of all shards are brought when a store is exported. Pure.

A subscription has come so far in each shard; in one order it has come to one position. That is the
same only if everything it has read comes before everything it has not. So the shards are taken in
rounds: a round goes on until somebody has not read further, and whoever has read all that is
behind the round by then has its position at the round's end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from eventmill.errors import ConfigurationError
from eventmill.model.placement import EVERY_SHARD, Placement
from eventmill.runtime.dispatch.marks import SUFFIX
from eventmill.runtime.topics import relay

Ends = Mapping[int, int]
"""Position by shard."""


class Rounds(NamedTuple):
    """How the shards are taken."""

    until: list[dict[int, int]]
    """Of each round: how far each shard is taken."""
    passed: dict[str, int]
    """By subscription: the first round at whose end it has read everything taken so far of its
    shards, and nothing else."""


def rounds(ends: Ends, read: Mapping[str, Ends]) -> Rounds:
    """Bring shards that end there into an order that suits what each subscription has read.

    Raises `ConfigurationError` if there is none: somebody has read what somebody else has not, and
    the other way round.
    """
    waiting, until, passed = dict(read), list[dict[int, int]](), dict[str, int]()
    while not until or until[-1] != ends:
        bounds = dict(ends)
        for positions in waiting.values():
            for shard, position in positions.items():
                bounds[shard] = min(bounds[shard], position)
        now = [
            name
            for name, positions in waiting.items()
            if all(bounds[shard] == min(at, ends[shard]) for shard, at in positions.items())
        ]
        if waiting and not now:
            names = ", ".join(sorted(waiting))
            raise ConfigurationError(
                f"each of these subscriptions has read what another has not: {names}; start a "
                "node, let them catch up, stop it and export again"
            )
        for name in now:
            passed[name] = len(until)
            del waiting[name]
        until.append(bounds)
    return Rounds(until, passed)


def read_by(
    offsets: Mapping[tuple[str, int], int], ends: Iterable[int], placement: Placement
) -> dict[str, dict[int, int]]:
    """Return how far each subscription has come in each shard that it reads.

    It reads all shards of a topic, or all home shards, if it has an offset in one of them; one that
    came from elsewhere and was not taken up since reads them all.
    """
    found: dict[str, dict[int, int]] = {}
    for name in {name for name, _ in offsets}:
        groups = {
            shard // placement.shards
            for owner, shard in offsets
            if owner == name and shard != EVERY_SHARD
        }
        came = offsets.get((name, EVERY_SHARD), 0)
        found[name] = {
            shard: offsets.get((name, shard), came)
            for shard in ends
            if not groups or shard // placement.shards in groups
        }
    return found


def in_outbox(
    offsets: Mapping[tuple[str, int], int], placement: Placement
) -> dict[tuple[str, int], int]:
    """Return the offsets of a store whose topics live in a broker as if they lived in the store.

    An offset in a message shard is the broker's number; its mark tells which of the messages that
    are still in the outbox have been read. Whoever reads the outbox itself is not needed there.
    """
    found = {}
    for (name, shard), position in offsets.items():
        reader = name.partition(SUFFIX)[0]
        if shard >= placement.shards:
            position = offsets.get((reader + SUFFIX, shard), 0)
        if reader != relay.NAME:
            found[reader, shard] = position
    return found
