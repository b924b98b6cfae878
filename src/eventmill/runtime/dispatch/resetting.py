"""Resetting: what becomes of a subscription's letters when it goes on somewhere else.

Place on the road: beside dispatch, when an operator moves an offset.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from eventmill.model.commit import LetterKey, LetterStatus
from eventmill.ports.store import Parking
from eventmill.runtime.dispatch.reaction import Queue
from eventmill.runtime.dispatch.tails import Positions

PAGE: Final = 1_000


class Sorted(NamedTuple):
    """The letters of a subscription, seen from positions that it goes on from."""

    dropped: list[LetterKey]
    """Beyond them: their entries will be read again."""
    blocking: set[Queue]
    """Queues of letters before them, which stay parked."""


async def sort_letters(parking: Parking, subscription: str, positions: Positions) -> Sorted:
    """Look through all letters of a subscription; those of other shards stay."""
    found = Sorted([], set())
    after = (subscription, -1, 0)
    while letters := await parking.letters(subscription=subscription, after=after, limit=PAGE):
        for letter in letters:
            entry = letter.entry
            if entry.position > positions.get(entry.shard, entry.position):
                found.dropped.append(LetterKey(subscription, entry.shard, entry.position))
            elif letter.status is not LetterStatus.REFUSED:
                found.blocking.add((entry.shard, letter.key))
        after = (subscription, entry.shard, entry.position)
    return found
