"""Marks: how far a subscription has come in the outboxes of topics that the broker holds.

Place on the road: dispatch, between the tails and the reaction. The broker forgets after a while
what it has stored, so an entry of an outbox may come twice. Each entry says which one it is
(`Entry.origin`); in a shard they are numbered without gaps, and come in this order the first time.
So what is not above the mark has come before, and what is beyond the next number shows that some
are gone. Marks are stored with the offsets, in the same commit as the effects.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import structlog

from eventmill.model.commit import Offset
from eventmill.model.entry import Entry

log = structlog.get_logger()

SUFFIX = "~outbox"


def names_of(subscription: str) -> list[str]:
    """Return the names under which a subscription's offsets are stored."""
    return [subscription, subscription + SUFFIX]


class _Numbered(NamedTuple):
    """What a message of the batch under way says."""

    shard: int
    position: int
    number: int
    is_new: bool
    lost: int
    """Numbers that are missing before it."""


class Marks:
    """Marks of one subscription, by shard; 0 where nothing is known."""

    def __init__(self, subscription: str) -> None:
        self._name = subscription
        self.at: dict[int, int] = {}
        self._stored: dict[int, int] = {}
        self._batch: list[_Numbered] = []
        """Of messages that are being handled."""
        self.repeated = 0
        """Entries that had come before."""
        self.lost = 0
        """Entries that were gone before they were read."""

    def __repr__(self) -> str:
        return f"<Marks of {self._name} [{self.repeated} repeated, {self.lost} lost]>"

    def follow(self, shards: Iterable[int], offsets: Mapping[tuple[str, int], int]) -> None:
        """Begin in shards, from what is stored."""
        found = {shard: offsets.get((self._name + SUFFIX, shard), 0) for shard in shards}
        self.at.update(found)
        self._stored.update(found)

    def leave(self, shard: int) -> None:
        """Forget a shard."""
        del self.at[shard], self._stored[shard]

    def take(self, entries: list[Entry]) -> list[Entry]:
        """Begin with a batch; return what has not come before. Marks move when it has `passed`."""
        self._batch = []
        if not [e for e in entries if e.origin is not None and not e.sequence]:
            return entries
        marks = dict(self.at)
        fresh = []
        for entry in entries:
            number, mark = _number_of(entry), marks[entry.shard]
            is_new = not number or number > mark
            if number:
                # A first message may have any number: what was before it is not this one's to read.
                lost = max(0, number - mark - 1) if mark else 0
                self._batch.append(_Numbered(entry.shard, entry.position, number, is_new, lost))
                marks[entry.shard] = max(number, mark)
            if is_new:
                fresh.append(entry)
        return fresh

    def at_positions(self, positions: Mapping[int, int]) -> dict[int, int]:
        """Return the marks that belong to positions in the batch, or where it began."""
        marks = {shard: self.at[shard] for shard in positions}
        marks |= {
            one.shard: one.number
            for one in self._batch
            if one.is_new and one.position <= positions.get(one.shard, -1)
        }
        return marks

    def passed(self, positions: Mapping[int, int]) -> None:
        """Note that the batch was handled up to positions."""
        if not self._batch:
            return
        self.at.update(self.at_positions(positions))
        done = [one for one in self._batch if one.position <= positions.get(one.shard, -1)]
        self._batch = [one for one in self._batch if one.position > positions.get(one.shard, -1)]
        repeated, lost = sum(not one.is_new for one in done), sum(one.lost for one in done)
        self.repeated += repeated
        self.lost += lost
        if repeated:
            log.info("repetitions left out", subscription=self._name, messages=repeated)
        if lost:
            log.error(
                "messages were gone before they were read: keep those of the topic longer, or find "
                "out who removed them",
                subscription=self._name,
                shards=sorted({one.shard for one in done if one.lost}),
                messages=lost,
            )

    def moved(self, marks: Mapping[int, int]) -> list[Offset]:
        """Return what stores marks."""
        return [
            Offset(self._name + SUFFIX, shard, self._stored[shard], mark)
            for shard, mark in marks.items()
            if mark != self._stored[shard]
        ]

    def stored(self, marks: Mapping[int, int]) -> None:
        """Note what is stored by now."""
        self._stored.update((shard, mark) for shard, mark in marks.items() if shard in self.at)


def _number_of(entry: Entry) -> int:
    """Return the number of a message in its outbox; 0 if it came from elsewhere."""
    if entry.origin is None or entry.sequence:
        return 0
    shard, _, position = entry.origin.partition(":")
    return int(position) if shard == str(entry.shard) else 0
