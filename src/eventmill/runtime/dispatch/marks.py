"""Marks: how far a subscription has come in the outboxes of topics that the broker holds.

Place on the road: dispatch, between the tails and the reaction. The broker forgets after a while
what it has stored, so an entry of an outbox may come twice. Each entry says which one it is
(`Entry.origin`); in a shard they are numbered without gaps, and come in this order the first time.
So what is not above the mark has come before, and what is beyond the next number shows that some
are gone. Marks are stored with the offsets, in the same commit as the effects.

Messages of another service's topic come from its outboxes, perhaps from several of them in one
shard here, perhaps only a part of one: then a missing number shows nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

import structlog

from eventmill.engine.adopting import PART
from eventmill.model.commit import Offset
from eventmill.model.entry import Entry
from eventmill.runtime.dispatch.tails import Positions

log = structlog.get_logger()

SUFFIX = "~outbox"
"""Behind a subscription's name, the name of its marks; of an outbox of another service, with `/` and
the outbox's number behind that."""

Outbox = tuple[int, str]
"""A shard, and which of the outboxes that its messages come from: what is behind `SUFFIX`."""


def names_of(subscription: str, offsets: Iterable[tuple[str, int]]) -> list[str]:
    """Return the names under which a subscription's offsets are stored, of all that there are."""
    marks = subscription + SUFFIX
    foreign = {name for name, _ in offsets if name.startswith(f"{marks}/")}
    return [subscription, marks, *sorted(foreign)]


class _Numbered(NamedTuple):
    """What a message of the batch under way says."""

    outbox: Outbox
    position: int
    number: int
    is_new: bool
    lost: int
    """Numbers that are missing before it."""


class Marks:
    """Marks of one subscription, by outbox; none where nothing is known."""

    def __init__(self, subscription: str) -> None:
        self._name = subscription
        self._shards: set[int] = set()
        self._fresh: set[int] = set()
        """Shards that are read from the beginning, and of which nothing numbered was seen yet."""
        self.at: dict[Outbox, int] = {}
        self._stored: dict[Outbox, int] = {}
        self._batch: list[_Numbered] = []
        """Of messages that are being handled."""
        self.repeated = 0
        """Entries that had come before."""
        self.lost = 0
        """Entries that were gone before they were read."""

    def __repr__(self) -> str:
        return f"<Marks of {self._name} [{self.repeated} repeated, {self.lost} lost]>"

    def follow(self, positions: Positions, offsets: Mapping[tuple[str, int], int]) -> None:
        """Begin in shards at positions, from what is stored."""
        begun, prefix = set(positions), self._name + SUFFIX
        for shard in begun:
            self.leave(shard)
        self._shards |= begun
        self.begin(positions)
        for (name, shard), mark in offsets.items():
            if shard in begun and name.startswith(prefix):
                outbox = name.removeprefix(prefix)
                if not outbox or outbox[0] == "/":
                    self.at[shard, outbox] = self._stored[shard, outbox] = mark

    def begin(self, positions: Positions) -> None:
        """Note where it is at the beginning."""
        self._fresh -= positions.keys()
        self._fresh |= {shard for shard, at in positions.items() if not at}

    def leave(self, shard: int) -> None:
        """Forget a shard."""
        self._shards.discard(shard)
        self._fresh.discard(shard)
        for outbox in self.unknown([shard]):
            del self.at[outbox]
            self._stored.pop(outbox, None)

    def unknown(self, shards: Collection[int]) -> dict[Outbox, int]:
        """Return the marks of shards of which nothing is known any more."""
        return dict.fromkeys([outbox for outbox in self.at if outbox[0] in shards], 0)

    def take(self, entries: list[Entry]) -> list[Entry]:
        """Begin with a batch; return what has not come before. Marks move when it has `passed`."""
        self._batch = []
        if not [e for e in entries if e.origin is not None and not e.sequence]:
            return entries
        marks = dict(self.at)
        fresh = []
        for entry in entries:
            outbox, number = _place_of(entry)
            mark = marks.get(outbox, 0)
            is_new = not number or number > mark
            if number:
                is_whole = PART not in outbox[1]
                # A first message may have any number: what was before it is not this one's to read.
                lost = max(0, number - mark - 1) if mark and is_whole else 0
                if entry.shard in self._fresh and is_whole and not mark and number > 1:
                    self._tell_gone(entry, number - 1)
                self._fresh.discard(entry.shard)
                self._batch.append(_Numbered(outbox, entry.position, number, is_new, lost))
                marks[outbox] = max(number, mark)
            if is_new:
                fresh.append(entry)
        return fresh

    def at_positions(self, positions: Mapping[int, int]) -> dict[Outbox, int]:
        """Return the marks that belong to positions in the batch, or where it began."""
        marks = {outbox: mark for outbox, mark in self.at.items() if outbox[0] in positions}
        marks |= {one.outbox: one.number for one in self._until(positions) if one.is_new}
        return marks

    def passed(self, positions: Mapping[int, int]) -> None:
        """Note that the batch was handled up to positions."""
        if not self._batch:
            return
        self.at.update(self.at_positions(positions))
        done = self._until(positions)
        self._batch = [
            one for one in self._batch if one.position > positions.get(one.outbox[0], -1)
        ]
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
                shards=sorted({one.outbox[0] for one in done if one.lost}),
                messages=lost,
            )

    def moved(self, marks: Mapping[Outbox, int]) -> list[Offset]:
        """Return what stores marks."""
        return [
            Offset(self._name + SUFFIX + outbox[1], outbox[0], self._stored.get(outbox, 0), mark)
            for outbox, mark in marks.items()
            if mark != self._stored.get(outbox, 0)
        ]

    def stored(self, marks: Mapping[Outbox, int]) -> None:
        """Note what is stored by now."""
        self._stored.update((o, mark) for o, mark in marks.items() if o[0] in self._shards)

    def _tell_gone(self, first: Entry, messages: int) -> None:
        """Tell that a beginning is not the topic's."""
        log.warning(
            "begins behind messages that are gone: its topic does not keep them for ever",
            subscription=self._name,
            topic=first.source,
            shard=first.shard,
            messages=messages,
        )

    def _until(self, positions: Mapping[int, int]) -> list[_Numbered]:
        """Return what of the batch lies up to positions."""
        return [one for one in self._batch if one.position <= positions.get(one.outbox[0], -1)]


def _place_of(entry: Entry) -> tuple[Outbox, int]:
    """Return the outbox of a message and its number there; 0 if it came from elsewhere."""
    if entry.origin is None or entry.sequence:
        return (entry.shard, ""), 0
    outbox, _, number = entry.origin.partition(":")
    if "/" in entry.source:  # a topic of another service
        return (entry.shard, f"/{outbox}"), int(number)
    return (entry.shard, ""), int(number) if outbox == str(entry.shard) else 0
