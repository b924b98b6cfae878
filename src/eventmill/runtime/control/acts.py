"""Acts: what an operator asks of a subscription's shards, done by the node that holds them.

Place on the road: beside it. `Operations` sends an act through `runtime.control.control` to every node that
holds shards of it; each does its part here. Letters, offsets change through commits; nothing reaches
into a loop's memory but through the subscription's own methods.

Invariants: an act touches shards that are held when it begins, and says which these were; letters
change only under the subscription's `letters` lock.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from eventmill.engine import resend, ticks
from eventmill.errors import Conflict, InvalidPayload, NotFound
from eventmill.model import limits
from eventmill.model.commit import Commit, Letter, LetterKey, LetterStatus
from eventmill.model.entry import COMMANDS
from eventmill.ports.clock import Clock
from eventmill.ports.store import Store
from eventmill.runtime.committer import Committer
from eventmill.runtime.dispatch.roster import Roster
from eventmill.runtime.dispatch.subscription import Subscription
from eventmill.runtime.dispatch.tails import Tails
from eventmill.runtime.topics import relay

LETTERS_AT_ONCE = 1_000
"""Letters changed in one commit."""


class Choice(msgspec.Struct, frozen=True):
    """Letters of a subscription: one by its id, those of a key, or all; dead ones or refused."""

    subscription: str
    key: str | None = None
    letter: str | None = None
    refused: bool = False


class Redrive(msgspec.Struct, frozen=True, tag="redrive"):
    """Try letters again, now and with fresh attempts."""

    choice: Choice


class Discard(msgspec.Struct, frozen=True, tag="discard"):
    """Remove letters for good."""

    choice: Choice


class Reset(msgspec.Struct, frozen=True, tag="reset"):
    """Let a subscription continue somewhere else."""

    subscription: str
    to: str | int
    """`beginning`, `latest`, a position where there is one shard, or `time`."""
    time: int = 0
    """Microseconds since the epoch."""
    source: str = ""
    """Only in the shards of this topic."""


class Run(msgspec.Struct, frozen=True, tag="run"):
    """Let a schedule's function run now."""

    schedule: str


Act = Redrive | Discard | Reset | Run


class Acts:
    """Acts on the shards that subscriptions follow on one node."""

    def __init__(
        self,
        store: Store,
        committer: Committer,
        roster: Roster,
        clock: Clock,
    ) -> None:
        self._store = store
        self._committer = committer
        self._roster = roster
        self._clock = clock

    async def do(self, act: Act, homes: Collection[int]) -> tuple[int, set[int]]:
        """Do it on those of these home shards that are held here; return how many letters were
        concerned, and which shards these are.

        Raises `NotFound`, and `Conflict` for a letter that cannot be chosen alone.
        """
        match act:
            case Redrive(choice):
                return await self._redrive(choice, homes)
            case Discard(choice):
                return await self._discard(choice, homes)
            case Reset():
                return 0, await self._reset(act, homes)
            case Run(schedule):
                return 0, await self._run(schedule, homes)

    def _here(self, homes: Collection[int]) -> set[int]:
        return {home for home in homes if home in self._roster.followed}

    async def _redrive(self, choice: Choice, homes: Collection[int]) -> tuple[int, set[int]]:
        running = self._roster.subscription(choice.subscription)
        now = self._clock.now()
        redriven = 0
        async with running.letters:
            here = self._here(homes)
            async for chosen in self._chosen(choice, here):
                for one in chosen:
                    await self._need_head(one)
                again = [x for x in chosen if not _is_resent(x)]
                resent = [x for x in chosen if _is_resent(x)]

                def fill(
                    commit: Commit, again: list[Letter] = again, resent: list[Letter] = resent
                ) -> None:
                    commit.letters += [resend.retried(x, now) for x in again]
                    commit.entries += [resend.sent_again(x.entry, now) for x in resent]
                    commit.settled += [_key_of(x) for x in resent]

                await self._write(fill, running, again)
                for x in again:
                    running.block((x.entry.shard, x.key), LetterStatus.RETRYING, now)
                redriven += len(chosen)
        return redriven, here

    async def _discard(self, choice: Choice, homes: Collection[int]) -> tuple[int, set[int]]:
        running = self._roster.subscriptions.get(choice.subscription)
        discarded = 0
        async with _letters_of(running):
            here = self._here(homes)
            async for chosen in self._chosen(choice, here):
                heads = [x for x in chosen if await self._is_head(x)]

                def fill(commit: Commit, chosen: list[Letter] = chosen) -> None:
                    commit.settled += [_key_of(x) for x in chosen]

                await self._write(fill, running, heads)
                for head in heads if running is not None else ():
                    assert running is not None
                    running.block((head.entry.shard, head.key), LetterStatus.RETRYING, 0)
                discarded += len(chosen)
        return discarded, here

    async def _reset(self, act: Reset, homes: Collection[int]) -> set[int]:
        subscription = self._roster.subscription(act.subscription)
        here, home = self._here(homes), self._store.placement.home
        ends = {shard: end for shard, end in subscription.ends.items() if home(shard) in here}
        if act.source:
            theirs = self._store.placement.of_topic(act.source)
            ends = {shard: end for shard, end in ends.items() if shard in theirs}
        reset = await subscription.reset(await _positions(subscription.tails, ends, act))
        return here - {home(shard) for shard in ends if shard not in reset}

    async def _run(self, schedule: str, homes: Collection[int]) -> set[int]:
        here, now = self._here(homes), self._clock.now()
        runs = [ticks.run(schedule, now, now, home) for home in here]
        if runs:
            await self._committer.write(lambda commit: commit.entries.extend(runs))
        return here

    async def _write(
        self, fill: Callable[[Commit], None], running: Subscription | None, heads: list[Letter]
    ) -> None:
        """Change letters. If that fails, it may be true all the same: the retries look what is
        there, else a key whose dead letter is gone would stay blocked."""
        try:
            await self._committer.write(fill)
        except BaseException:
            now = self._clock.now()
            for head in heads if running is not None else ():
                assert running is not None
                running.block((head.entry.shard, head.key), LetterStatus.RETRYING, now)
            raise

    async def _chosen(self, choice: Choice, here: Collection[int]) -> AsyncIterator[list[Letter]]:
        """Yield the letters an operator means, in order, in bounded portions."""
        home, parking = self._store.placement.home, self._store.parking
        subscription, key = choice.subscription, choice.key
        if choice.letter is not None:
            found = await letter_of(self._store, choice.letter)
            if found.subscription != subscription or key not in (None, found.key):
                raise NotFound(
                    f"letter {choice.letter!r} does not belong to {subscription!r}, {key!r}"
                )
            if home(found.entry.shard) in here:
                yield [found]
            return
        if key is not None and not choice.refused:
            for shard in self._roster.subscription(subscription).positions:
                if home(shard) not in here:
                    continue
                if queue := await parking.queue(subscription, shard, key, limit=1):
                    yield queue
            return
        status = LetterStatus.REFUSED if choice.refused else LetterStatus.DEAD
        after = (subscription, -1, 0)
        while page := await parking.letters(
            subscription=subscription, statuses=(status,), after=after, limit=LETTERS_AT_ONCE
        ):
            after = (subscription, page[-1].entry.shard, page[-1].entry.position)
            chosen = [x for x in page if key in (None, x.key) and home(x.entry.shard) in here]
            if chosen:
                yield chosen

    async def _is_head(self, letter: Letter) -> bool:
        if letter.status is LetterStatus.REFUSED:
            return False
        (head,) = await self._store.parking.queue(
            letter.subscription, letter.entry.shard, letter.key, limit=1
        )
        return head.entry.id == letter.entry.id

    async def _need_head(self, letter: Letter) -> None:
        if letter.status is LetterStatus.WAITING and not await self._is_head(letter):
            raise Conflict(
                f"letter {letter_id(letter)!r} waits behind another of key {letter.key!r}: redrive "
                "the key, or discard what is before it"
            )


async def letter_of(store: Store, id: str) -> Letter:
    """Return one letter by its id.

    Raises `InvalidPayload`, `NotFound`.
    """
    key = letter_key(id)
    found = await store.parking.letters(
        subscription=key.subscription,
        after=(key.subscription, key.shard, key.position - 1),
        limit=1,
    )
    if not found or letter_id(found[0]) != id:
        raise NotFound(f"no letter {id!r}: it was handled, redriven or discarded meanwhile")
    return found[0]


def letter_id(letter: Letter) -> str:
    """Return a letter's id: `subscription:shard:position`."""
    return f"{letter.subscription}:{letter.entry.shard}:{letter.entry.position}"


def letter_key(id: str) -> LetterKey:
    """Read a letter's id.

    Raises `InvalidPayload`.
    """
    subscription, _, rest = id.partition(":")
    shard, _, position = rest.partition(":")
    if not (subscription and _is_number(shard, 1 << 31) and _is_number(position, 1 << 63)):
        raise InvalidPayload(f"{id[:80]!r} is no letter's id: use subscription:shard:position")
    return LetterKey(subscription, int(shard), int(position))


def _is_number(text: str, beyond: int) -> bool:
    """Whether a text is a number that a store's columns hold."""
    return text.isascii() and text.isdecimal() and len(text) < 20 and int(text) < beyond


async def _positions(tails: Tails, ends: dict[int, int], act: Reset) -> dict[int, int]:
    if act.to == "time":
        return {shard: await tails.position_at(shard, act.time) for shard in ends}
    if act.to == "latest":
        return await tails.find_ends(ends)
    if act.to == "beginning":
        return dict.fromkeys(ends, 0)
    assert isinstance(act.to, int)
    return positions_at(act.to, ends)


def positions_at(position: int, ends: dict[int, int]) -> dict[int, int]:
    """Return a position that is given for the only shard.

    Raises `InvalidPayload` if there are several, or it is not in the journal.
    """
    if len(ends) > 1:
        raise InvalidPayload(f"it reads {len(ends)} shards: name a time instead")
    for end in ends.values():
        if not 0 <= position <= end:
            raise InvalidPayload(f"position {position} is outside the journal, which ends at {end}")
    return dict.fromkeys(ends, position)


@asynccontextmanager
async def _letters_of(running: Subscription | None) -> AsyncIterator[Any]:
    if running is None:
        yield
        return
    async with running.letters:
        yield


def _key_of(letter: Letter) -> LetterKey:
    return LetterKey(letter.subscription, letter.entry.shard, letter.entry.position)


def _is_resent(letter: Letter) -> bool:
    """Whether it is a command or a message that was refused: its place has been passed."""
    return letter.status is LetterStatus.REFUSED and (
        letter.entry.source == COMMANDS or letter.subscription == relay.NAME
    )


assert LETTERS_AT_ONCE <= limits.PARKED_MAX
