"""Adopting: messages of another service's topic as they are here. Pure.

Place on the road: what the broker's adapters read for whoever follows a topic of another service.
That service has shards of its own, perhaps of another number; but a key has one home in each, so
each of its messages belongs to one home here, in the order in which it lies there.

Ids are unique in one service: the other's have its name in front, as in the causation of calls.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from eventmill.engine.messages import MALFORMED
from eventmill.model.entry import Entry, renamed
from eventmill.model.placement import Placement, overlapping

PART: Final = "~"
"""Begins the origin of a message of whose partition only a part is in its shard here: what is missing
between two numbers of such an outbox may be elsewhere."""


def adopter(
    service: str, shard: int, shards: int, partitions: int
) -> Callable[[Entry], Entry | None]:
    """Return what makes an entry as it lies there one of a message shard here, or None of one that
    is of another shard.

    Parameters: `shards` are the home shards here, `partitions` those of the service.
    """
    home, home_of = shard % shards, Placement(shards).entity
    readers = {p: overlapping(p, partitions, shards) for p in overlapping(home, shards, partitions)}

    def adopt(entry: Entry) -> Entry | None:
        homes = readers.get(entry.shard % partitions)
        if homes is None:
            return None
        if entry.type == MALFORMED:  # it has no key: it goes to the first that reads it
            is_mine = homes[0] == home
        else:
            is_mine = home_of(entry.subject) == home
        if not is_mine:
            return None
        adopted = renamed(entry, f"{service}/{entry.id}")
        adopted.source, adopted.shard = f"{service}/{entry.source}", shard
        if entry.origin is not None and len(homes) > 1:
            adopted.origin = PART + entry.origin
        return adopted

    return adopt
