"""What a consumer made of the entries of a batch, and how many of them one commit takes.

Place on the road: inside the reaction of a consumer. Small entries may lead to large effects, so a
batch ends where a commit is full: `Reacted.left`. Lanes are not equally fast; what was handled behind
that end already is kept until it is given again, and is not handled twice.

Invariants: everything before the end is handled, in order per key; an entry is begun only while what
is known before it leaves room, so what is kept is bounded by the lanes that run at the same time.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, Literal

from eventmill.engine.outgoing import Expansion
from eventmill.model import limits
from eventmill.model.entry import Entry
from eventmill.runtime.dispatch.reaction import Queue, Reacted, queue_of

Result = Expansion | BaseException | None
"""Effects, an error, or nothing to do."""


class Unknown(Enum):
    """Of an entry that is not handled yet."""

    UNKNOWN = "unknown"


UNKNOWN: Final = Unknown.UNKNOWN

Early = dict[tuple[int, int], Result]
"""By shard and position: results of entries that no commit has taken yet."""


class Handled:
    """The results of one batch.

    Parameters: `early` are those of earlier batches; what is needed of them goes.
    """

    def __init__(self, entries: list[Entry], early: Early) -> None:
        self.entries = entries
        self.results: list[Result | Literal[Unknown.UNKNOWN]] = [UNKNOWN] * len(entries)
        self._weight = 0
        self.is_full = False
        """Whether they are more than a commit takes: there may be room before some of them."""
        self._has_failures = False
        if early:
            for at, entry in enumerate(entries):
                if (entry.shard, entry.position) in early:
                    self.put(at, early.pop((entry.shard, entry.position)))

    def put(self, at: int, result: Result) -> None:
        """Note what became of an entry."""
        self.results[at] = result
        if isinstance(result, Expansion):
            self._weight += result.weight
            self.is_full = self._weight >= limits.COMMIT_BYTES_MAX
        elif result is not None:
            self._has_failures = True

    def has_room(self, at: int) -> bool:
        """Whether a commit that takes what is known before an entry takes it, too."""
        before = [r.weight for r in self.results[:at] if isinstance(r, Expansion)]
        return sum(before) < limits.COMMIT_BYTES_MAX

    def reacted(self, early: Early) -> Reacted:
        """Return what one commit takes; what is behind it becomes `early`."""
        reacted = Reacted()
        if not (self.is_full or self._has_failures):  # the usual case: all are handled
            reacted.fills = [r.add_to for r in self.results if isinstance(r, Expansion)]
            reacted.weight = self._weight
            return reacted
        failed: set[Queue] = set()
        for at, result in enumerate(self.results):
            entry = self.entries[at]
            is_full = reacted.weight >= limits.COMMIT_BYTES_MAX
            if failed and not is_full and queue_of(entry) in failed:
                reacted.behind.append(entry)
                continue
            if is_full or result is UNKNOWN:
                reacted.left = self.entries[at:]
                self._keep(at, early)
                break
            if isinstance(result, BaseException):
                failed.add(queue_of(entry))
                reacted.failed.append((entry, result))
            elif result is not None:
                reacted.fills.append(result.add_to)
                reacted.weight += result.weight
        return reacted

    def _keep(self, start: int, early: Early) -> None:
        if len(early) > limits.DISPATCH_BATCH:
            early.clear()  # of entries that an operator took away; others are handled again
        for entry, result in zip(self.entries[start:], self.results[start:], strict=True):
            if result is not UNKNOWN:
                early[entry.shard, entry.position] = result
