"""Blocked keys: those that have letters, and when the first letter of each is due.

Place on the road: beside a subscription, which parks what arrives for such a key behind its letters.

Invariant: finding what is due costs the logarithm of the number of keys, because an outage blocks
all of them. A key's place in the heap is void as soon as another one, or none, is noted for it.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Iterator

from eventmill.model.commit import Letter, LetterStatus
from eventmill.runtime.dispatch.reaction import Queue

Place = tuple[int, Queue]
"""When a key is due (microseconds), and the key with its shard."""

VOID_PLACES = 1_000
"""So many void places, and as many as there are valid ones, before the heap is made anew."""


class Blocked:
    """The blocked keys of one subscription."""

    def __init__(self) -> None:
        self._places: dict[Queue, Place | None] = {}
        """None for a key whose head is dead."""
        self._heap: list[Place] = []
        self.dead = 0
        """Keys whose head is dead."""

    def __repr__(self) -> str:
        return f"<Blocked [{len(self)} keys, {self.dead} dead]>"

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: Queue) -> bool:
        return key in self._places

    def values(self) -> Iterator[int | None]:
        """When each key is due, None while its head is dead."""
        return (None if place is None else place[0] for place in self._places.values())

    def put(self, key: Queue, due: int | None) -> None:
        """Note when a key's head is due, None if it is dead."""
        self.remove(key)
        if due is None:
            self._places[key] = None
            self.dead += 1
            return
        place = self._places[key] = (due, key)
        heapq.heappush(self._heap, place)
        if len(self._heap) > 2 * len(self._places) + VOID_PLACES:
            self._heap = [place for place in self._places.values() if place is not None]
            heapq.heapify(self._heap)

    def note(self, letters: Iterable[Letter]) -> None:
        """Take what was just parked."""
        for letter in letters:
            if letter.status is LetterStatus.RETRYING:
                self.put((letter.entry.shard, letter.key), letter.due)
            elif letter.status is LetterStatus.DEAD:
                self.put((letter.entry.shard, letter.key), None)

    def remove(self, key: Queue) -> None:
        """A key has no letters any more."""
        if key in self._places and self._places.pop(key) is None:
            self.dead -= 1

    def keep(self, keys: Collection[Queue]) -> None:
        """Remove all other keys."""
        for key in [key for key in self._places if key not in keys]:
            self.remove(key)

    def leave(self, shards: Collection[int]) -> None:
        """Remove the keys of shards."""
        self.keep({key for key in self._places if key[0] not in shards})

    def next_due(self) -> int | None:
        """When the next key is due."""
        while self._heap and self._places.get(self._heap[0][1]) is not self._heap[0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def take(self, now: int, limit: int) -> list[Place]:
        """Take up to `limit` keys that are due, earliest first; each must be put or removed
        afterwards, since it is not found again before that."""
        taken: list[Place] = []
        while len(taken) < limit and (due := self.next_due()) is not None and due <= now:
            taken.append(heapq.heappop(self._heap))
        return taken
