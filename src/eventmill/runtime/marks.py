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


class Sifted(NamedTuple):
    """What a batch consists of."""

    entries: list[Entry]
    """Those that have not come before."""
    marks: dict[int, int]
    """The marks behind them, by shard, where they move."""
    repeated: int
    lost: int
    """Entries that are gone: the numbers that are missing."""


class Marks:
    """Marks of one subscription, by shard; 0 where nothing is known."""

    def __init__(self, subscription: str) -> None:
        self._name = subscription
        self.at: dict[int, int] = {}
        self._stored: dict[int, int] = {}
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

    def sift(self, entries: list[Entry]) -> Sifted:
        """Tell what is new in a batch. Nothing is changed: see `passed`."""
        if not [e for e in entries if e.origin is not None and not e.sequence]:
            return Sifted(entries, {}, 0, 0)
        marks: dict[int, int] = {}
        fresh, lost = [], 0
        for entry in entries:
            number = _number_of(entry)
            if number:
                mark = marks.get(entry.shard, self.at[entry.shard])
                if number <= mark:
                    continue
                # A first message may have any number: what was before it is not this one's to read.
                lost += number - mark - 1 if mark else 0
                marks[entry.shard] = number
            fresh.append(entry)
        return Sifted(fresh, marks, len(entries) - len(fresh), lost)

    def passed(self, sifted: Sifted) -> None:
        """Note that a batch was handled."""
        self.at.update(sifted.marks)
        self.repeated += sifted.repeated
        self.lost += sifted.lost
        if sifted.repeated:
            log.info("repetitions left out", subscription=self._name, messages=sifted.repeated)
        if sifted.lost:
            log.error(
                "messages were gone before they were read: keep those of the topic longer, or find "
                "out who removed them",
                subscription=self._name,
                sources=sorted({entry.source for entry in sifted.entries}),
                messages=sifted.lost,
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
