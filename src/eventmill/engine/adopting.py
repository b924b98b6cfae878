"""Adopting: messages of another service's topic as they are here. Pure.

Place on the road: what the broker's adapters read for whoever follows a topic of another service.
That service has shards of its own, perhaps of another number; but a key has one home in each, so
each of its messages belongs to one home here, in the order in which it lies there.

Ids are unique in one service: the other's have its name in front, as in the causation of calls.
"""

from __future__ import annotations

from collections.abc import Callable

from eventmill.engine.messages import MALFORMED
from eventmill.model.entry import Entry, renamed
from eventmill.model.placement import Placement, overlapping


def adopter(
    service: str, shard: int, shards: int, partitions: int
) -> Callable[[Entry], Entry | None]:
    """Return what makes an entry as it lies there one of a message shard here, or None of one that
    is of another shard.

    Parameters: `shards` are the home shards here, `partitions` those of the service.
    """
    home, home_of = shard % shards, Placement(shards).entity
    # What is no event has no key: it goes to the first home of those that read the partition.
    alone = {
        partition
        for partition in overlapping(home, shards, partitions)
        if overlapping(partition, partitions, shards)[0] == home
    }

    def adopt(entry: Entry) -> Entry | None:
        if entry.type == MALFORMED:
            is_mine = entry.shard % partitions in alone
        else:
            is_mine = home_of(entry.subject) == home
        if not is_mine:
            return None
        adopted = renamed(entry, f"{service}/{entry.id}")
        adopted.source, adopted.shard = f"{service}/{entry.source}", shard
        return adopted

    return adopt
