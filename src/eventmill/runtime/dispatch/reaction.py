"""What a subscription does with its entries, what became of them, and the letters of what failed.

Place on the road: dispatch, between a subscription and its kinds of reaction: consumers, views,
transforms, the courier of sent commands, pushes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Protocol, runtime_checkable

import msgspec
import structlog

from eventmill.engine import retry
from eventmill.engine.causation import traced
from eventmill.errors import FAILURES, Conflict, Unavailable
from eventmill.model import limits
from eventmill.model.commit import Commit, Letter, LetterStatus
from eventmill.model.definition import Retry
from eventmill.model.entry import Entry

log = structlog.get_logger()

LETTERS_BETWEEN_TURNS = 32


class Reacted:
    """What a reaction made of a batch."""

    __slots__ = ("behind", "besides", "failed", "fills", "left", "refused", "weight")

    def __init__(self) -> None:
        self.fills: list[Callable[[Commit], None]] = []
        self.weight = 0
        """What the fills bring: a commit has about `COMMIT_BYTES_MAX`."""
        self.failed: list[tuple[Entry, BaseException]] = []
        self.behind: list[Entry] = []
        """Entries of a key whose earlier entry failed in this batch."""
        self.refused: list[tuple[Entry, BaseException]] = []
        self.left: list[Entry] = []
        """The last entries, if it did not get to them: they are given again."""
        self.besides = 0
        """Entries that it only looked through, so that nobody counts them as handled."""

    def add(self, other: Reacted) -> None:
        """Take what became of the entries that came next."""
        self.fills += other.fills
        self.weight += other.weight
        self.failed += other.failed
        self.behind += other.behind
        self.refused += other.refused
        self.besides += other.besides


class Reaction(Protocol):
    """What a subscription does with its entries."""

    sources: frozenset[str]
    skipped: frozenset[tuple[str, str]]
    """(source, type) of entries that it would do nothing with."""
    retry: Retry
    batch: int
    exclusive: bool
    """Whether a retry must not run beside a batch, because both change the same rows."""
    whole: bool
    """Whether it handles a key's entries in one step: it is given them together."""
    waits: bool
    """Whether it may wait for something outside: what a user's function awaits, a sink."""

    @property
    def quiet(self) -> float:
        """Seconds for which it should be given nothing: a sink wants to be left alone."""
        ...

    async def react(self, entries: list[Entry], attempt: int) -> Reacted:
        """Handle entries, in order per key.

        `Unavailable` and `Conflict` fail the whole batch for now. Any other error is a defect: the
        entries are given again one by one, and those that raise are parked.
        """
        ...

    def committed(self) -> None:
        """What the last `react` returned is durable; without this call it never became true."""
        ...

    def taken(self, ends: Mapping[int, int]) -> None:
        """These shards, which end at these positions, have been taken up, or are read anew: what is
        remembered of them may have changed elsewhere meanwhile."""
        ...


@runtime_checkable
class Rewinding(Protocol):
    """A reaction that keeps what it made of entries, and cannot read them again beside that."""

    async def rewind(self, shards: Collection[int]) -> Callable[[Commit], None]:
        """These shards will be read from elsewhere: return what is committed with that, so that what
        was kept of their entries is void."""
        ...


Queue = tuple[int, str]
"""A shard and a key: what is parked of them is in one queue."""


def key_of(entry: Entry) -> str:
    """Order is kept per source and subject."""
    return f"{entry.source}/{entry.subject}"


def queue_of(entry: Entry) -> Queue:
    """Return the queue that an entry is parked in. Sent commands for one entity come from several
    shards, which have no order between them."""
    return entry.shard, f"{entry.source}/{entry.subject}"


async def react(
    subscription: str, reaction: Reaction, entries: list[Entry], attempt: int
) -> Reacted | None:
    """React; None if one of several entries makes the reaction raise what it must not."""
    try:
        return await reaction.react(entries, attempt)
    except (Unavailable, Conflict):
        raise
    except FAILURES as error:  # a defect of the reaction must not end the loop
        log.error("reaction raised", subscription=subscription, exc_info=error)
        if len(entries) > 1:
            return None
        reacted = Reacted()
        reacted.failed.append((entries[0], error))
        return reacted


async def letters_of(
    subscription: str,
    reacted: Reacted,
    attempts: int,
    policy: Retry,
    now: int,
    luck: Callable[[], float],
) -> list[Letter]:
    """Make the letters of what failed, for the first time after `attempts`, and was refused."""
    letters = []
    for number, (entry, error) in enumerate(reacted.failed, 1):
        if number % LETTERS_BETWEEN_TURNS == 0:
            await asyncio.sleep(0)  # telling many errors must not hold up the node's work
        key = key_of(entry)
        letter = retry.park(subscription, key, entry, error, attempts + 1, policy, now, luck())
        log.warning(
            "parked" if letter.status is LetterStatus.RETRYING else "dead letter",
            subscription=subscription,
            entry=entry.id,
            key=key,
            attempts=letter.attempts,
            error=letter.error,
            **traced(entry),
        )
        letters.append(letter)
    for entry, error in reacted.refused:
        letter = retry.park(subscription, key_of(entry), entry, error, 1, policy, now, 0.0)
        gone = now + limits.REFUSED_SECONDS * 1_000_000
        letters.append(msgspec.structs.replace(letter, status=LetterStatus.REFUSED, due=gone))
    return letters
