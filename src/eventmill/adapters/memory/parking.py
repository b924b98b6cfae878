"""Parked letters in memory."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import islice

from eventmill.adapters.memory.portion import take
from eventmill.model.commit import Letter, LetterStatus
from eventmill.ports.store import Head

Key = tuple[str, int, int]
"""(subscription, shard, position)."""


class Parking:
    """A dict of letters; `Store.commit` alone changes it."""

    def __init__(self) -> None:
        self.by_key: dict[Key, Letter] = {}

    async def heads(self, shards: Collection[int]) -> list[Head]:
        first: dict[tuple[str, int, str], Letter] = {}
        for letter in self._blocking():
            if letter.entry.shard in shards:
                first.setdefault((letter.subscription, letter.entry.shard, letter.key), letter)
        return [Head(*key, letter.status, letter.due) for key, letter in first.items()]

    async def count(self, subscription: str, shards: Collection[int]) -> int:
        return sum(
            letter.subscription == subscription and letter.entry.shard in shards
            for letter in self._blocking()
        )

    async def queue(self, subscription: str, shard: int, key: str, *, limit: int) -> list[Letter]:
        wanted = (subscription, shard, key)
        queue = (x for x in self._blocking() if (x.subscription, x.entry.shard, x.key) == wanted)
        return take(islice(queue, limit), lambda letter: letter.entry)[0]

    async def letters(
        self,
        *,
        subscription: str | None = None,
        statuses: Sequence[LetterStatus] = (),
        after: tuple[str, int, int] = ("", 0, 0),
        limit: int,
    ) -> list[Letter]:
        found = (
            letter
            for key, letter in sorted(self.by_key.items())
            if key > after
            and (subscription is None or letter.subscription == subscription)
            and (not statuses or letter.status in statuses)
        )
        return take(islice(found, limit), lambda letter: letter.entry)[0]

    def _blocking(self) -> Iterator[Letter]:
        for _, letter in sorted(self.by_key.items()):
            if letter.status is not LetterStatus.REFUSED:
                yield letter
