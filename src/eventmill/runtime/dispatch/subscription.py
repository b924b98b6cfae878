"""A subscription: follows its sources from an offset, reacts in batches, parks what fails.

Place on the road: dispatch. Tail → batch → reaction → one commit of everything the reaction
caused, the letters of what failed, and the new offset (`runtime.dispatch.offsets`). Consumers, views,
the courier of sent commands and pushed subscriptions differ only in their `Reaction`. What is parked,
`runtime.dispatch.retries` tries again.

One loop serves all shards that this node holds: what is new in any of them is one batch and one
commit, with an offset for each.

Invariants: entries of one key are handled in order; an entry is behind the offset only if its
effects are committed or it is parked; a key is in `blocked` as long as it has a letter that is not
merely `refused`, and everything that arrives for it is parked behind.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from typing import NamedTuple

import structlog

from eventmill.engine import retry
from eventmill.errors import Conflict, Unavailable
from eventmill.model import limits
from eventmill.model.commit import Commit, LetterStatus
from eventmill.model.definition import Retry
from eventmill.model.entry import Entry
from eventmill.ports.clock import Clock
from eventmill.ports.store import Head, Store
from eventmill.runtime.committer import Committer
from eventmill.runtime.dispatch.offsets import Offsets
from eventmill.runtime.dispatch.reaction import (
    Queue,
    Reacted,
    Reaction,
    Rewinding,
    key_of,
    letters_of,
    queue_of,
    react,
)
from eventmill.runtime.dispatch.resetting import sort_letters
from eventmill.runtime.dispatch.retries import Retries
from eventmill.runtime.dispatch.tails import Positions, Tails

log = structlog.get_logger()

PAUSED = "paused/"
"""Begins the durable fact that a subscription is paused; its name follows."""

LAZY_POSITIONS = 10_000
"""Positions without anything of interest after which the offset is stored all the same."""


class _Taken(NamedTuple):
    """Shards that are to be followed."""

    offsets: Mapping[int, int]
    stored: Mapping[tuple[str, int], int]
    """Offsets of all subscriptions."""
    heads: list[Head]


class Subscription:
    """Runs one reaction over the shards that this node holds."""

    def __init__(
        self,
        name: str,
        reaction: Reaction,
        tails: Tails,
        store: Store,
        committer: Committer,
        clock: Clock,
        luck: Callable[[], float],
    ) -> None:
        self.name = name
        self.reaction = reaction
        self.tails = tails
        self.offsets = Offsets(name, committer)
        self._store = store
        self._clock = clock
        self._luck = luck
        self.positions: dict[int, int] = {}
        """How far it has come, by shard."""
        self._next_shard = 0
        """To be read first."""
        self.marks = self.offsets.marks
        self._parked = limits.PARKED_MAX + 1
        """At least as many as its letters: counted when it exceeds the bound, as at first."""
        self.arriving: set[Queue] = set()
        """Keys of which entries are being parked behind others."""
        self._in_doubt = False
        """A reset was not committed, as far as it is known."""
        self.running = asyncio.Event()
        """Not set while it is paused."""
        self.running.set()
        self._busy = asyncio.Lock()
        """Held while a batch is handled."""
        self._coming: list[_Taken] = []
        """What is taken up when the batch under way is done."""
        self.letters = asyncio.Lock()
        """Held by whoever changes letters of blocked keys: retries and operators. Taken before
        `_busy`."""
        self.retries = Retries(self, store, committer, clock, luck)
        self.blocked = self.retries.blocked
        self.handled = 0
        self.failures = 0

    def __repr__(self) -> str:
        state = "paused" if self.paused else f"{self.lag} behind"
        return f"<Subscription {self.name} [{state}, {len(self.blocked)} keys blocked]>"

    @property
    def paused(self) -> bool:
        """Whether it waits for `resume`."""
        return not self.running.is_set()

    @property
    def position(self) -> int:
        """How far it has come, all shards together."""
        return sum(self.positions.values())

    @property
    def lag(self) -> int:
        """Positions between it and the ends of its shards."""
        return self.tails.lag(self.positions)

    @property
    def ends(self) -> dict[int, int]:
        """Where its shards end."""
        return self.tails.ends(self.positions)

    @property
    def working(self) -> bool:
        """Whether a batch or a retry is under way."""
        return self._busy.locked() or self.letters.locked()

    def has_passed(self, positions: Positions) -> bool:
        """Whether it is at these positions, or beyond them, in each of its shards."""
        return not self._coming and all(
            at >= positions.get(shard, 0) for shard, at in self.positions.items()
        )

    def pause(self) -> None:
        """Stop reacting after the batch under way."""
        self.running.clear()
        self.tails.wake()

    def resume(self) -> None:
        """Go on."""
        self.running.set()
        self.retries.changed.set()

    def block(self, queue: Queue, status: LetterStatus, due: int) -> None:
        """Note a key with a parked head, as found in the store or made by an operator."""
        self.blocked.put(queue, None if status is LetterStatus.DEAD else due)
        self.retries.changed.set()

    def follow(
        self,
        offsets: Mapping[int, int],
        stored: Mapping[tuple[str, int], int],
        heads: Iterable[Head],
    ) -> None:
        """Take up shards where their offsets are, with what is stored of all subscriptions, and the
        letters that were parked: now, or when the batch under way is done. Nobody waits for that: it
        may itself wait for an entity of these shards."""
        self._coming.append(_Taken(offsets, stored, list(heads)))
        if not self._busy.locked():
            self._take_up()

    @contextlib.asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Handle no batch meanwhile."""
        async with self._busy:
            try:
                yield
            finally:
                self._take_up()

    def _take_up(self) -> None:
        if not self._coming:
            return
        for offsets, stored, heads in self._coming:
            self.reaction.taken(self.tails.ends(offsets))
            self.offsets.follow(offsets, stored)
            self.positions.update(offsets)
            self._parked = limits.PARKED_MAX + 1
            self._block(heads)
        self._coming.clear()
        self.tails.wake()

    async def leave(self, shards: Collection[int]) -> None:
        """Give shards up when the batch under way is done; somebody else goes on there."""
        async with self.letters, self.alone():
            left = [shard for shard in shards if shard in self.positions]
            try:
                await self.offsets.write_late({shard: self.positions[shard] for shard in left})
            except (Unavailable, Conflict) as error:
                # What was not stored is only read again, by whoever takes the shard.
                log.warning("offsets not stored", subscription=self.name, error=str(error))
            finally:
                for shard in left:
                    del self.positions[shard]
                    self.offsets.leave(shard)
                self.blocked.leave(left)

    async def run(self) -> None:
        """React until cancelled."""
        failures = 0
        while True:
            await self.running.wait()
            try:
                if failures or self._in_doubt:
                    self._in_doubt = False
                    await self._look()
                if quiet := self.reaction.quiet:
                    await self._clock.sleep(min(quiet, limits.QUIET_SECONDS))
                    continue
                moved = await self._step()
                failures = 0
            except (Unavailable, Conflict) as error:
                failures += 1
                log.warning("reaction not committed", subscription=self.name, error=str(error))
                await self._clock.sleep(retry.delay(Retry(), failures, self._luck()))
                continue
            if not moved and not self._in_doubt:
                await self.tails.wait(self.positions)

    async def _look(self) -> None:
        """After a failed commit, whose outcome may be unknown: go on from what is really stored."""
        async with self.alone():
            known, stored = self.offsets.stored, await self._store.offsets()
            found = {shard: stored.get((self.name, shard), at) for shard, at in known.items()}
            if found == known:
                return
            self.offsets.follow(found, stored)
            self.positions = found
            heads = [
                head
                for head in await self._store.parking.heads(list(found))
                if head.subscription == self.name
            ]
            self.blocked.keep({(head.shard, head.key) for head in heads})
            self._block(heads)

    def _block(self, heads: Iterable[Head]) -> None:
        for head in heads:
            if head.subscription == self.name:
                self.block((head.shard, head.key), head.status, head.due)

    async def _step(self) -> bool:
        if self._parked > limits.PARKED_MAX and not await self._may_park():
            return True
        async with self.alone():
            stretch = await self.tails.read(
                self.positions,
                limit=self.reaction.batch,
                sources=self.reaction.sources,
                first=self._next_shard,
            )
            if not stretch.positions or self.paused:
                return False
            entries = self.marks.take(stretch.entries)
            if skipped := self.reaction.skipped:
                entries = [e for e in entries if (e.source, e.type) not in skipped]
            positions: Positions = stretch.positions
            if entries:
                positions = await self._handle(entries, positions)
            elif self.offsets.late(positions, LAZY_POSITIONS):
                await self.offsets.write(positions)
            self.positions.update(positions)
            self.marks.passed(positions)
            self._next_shard = stretch.next
        return True

    async def _may_park(self) -> bool:
        """Count what is parked; if it is too much, wait for an operator, and lose nothing."""
        shards = set(self.positions)
        parked = await self._store.parking.count(self.name, shards)
        if shards != self.positions.keys():
            return False  # it is not all of them: count again
        self._parked = parked
        if parked > limits.PARKED_MAX:
            await self._clock.sleep(1.0)
        return parked <= limits.PARKED_MAX

    async def _handle(self, entries: list[Entry], positions: Positions) -> Positions:
        """Handle what was read up to these positions; return how far it came."""
        ready = entries
        arrivals: list[Entry] = []
        if self.blocked:
            arrivals = [e for e in entries if queue_of(e) in self.blocked]
            ready = [e for e in entries if queue_of(e) not in self.blocked]
        self.arriving = {queue_of(e) for e in arrivals}
        try:
            reacted = await react(self.name, self.reaction, ready, 1) if ready else Reacted()
            if reacted is None:
                await self._singly(entries)
                return positions
            if reacted.left:
                entries, positions = _before(reacted.left[0], entries, positions)
                arrivals = [e for e in entries if queue_of(e) in self.blocked]
            now, policy = self._clock.now(), self.reaction.retry
            self.failures += len(reacted.failed)
            letters = await letters_of(self.name, reacted, 0, policy, now, self._luck)
            behind = [*reacted.behind, *arrivals]
            letters += [retry.park_behind(self.name, key_of(e), e, now) for e in behind]

            def fill(commit: Commit) -> None:
                for part in reacted.fills:
                    part(commit)
                commit.letters += letters

            await self.offsets.write(positions, fill)
            self._parked += len(letters)
            if ready:  # else it would take what it did before, and was not committed, for durable
                self.reaction.committed()
        finally:
            self.arriving = set()
        self.handled += len(entries) - reacted.besides
        if letters:
            self.blocked.note(letters)
            self.retries.changed.set()
        return positions

    async def _singly(self, entries: list[Entry]) -> None:
        """Handle each entry in a commit of its own."""
        for entry in entries:
            await self._handle([entry], {entry.shard: entry.position})
            # If the next one fails, this one is not repeated.
            self.positions[entry.shard] = entry.position
            self.marks.passed({entry.shard: entry.position})

    async def reset(self, positions: Positions) -> Collection[int]:
        """Continue after these positions, in the shards among them that are followed here; return
        those. Parked letters beyond the positions are dropped, because their entries will be read
        again; those before them stay parked."""
        async with self.letters, self.alone():
            positions = {s: at for s, at in positions.items() if s in self.positions}
            letters = await sort_letters(self._store.parking, self.name, positions)
            rewind = None
            if isinstance(self.reaction, Rewinding):
                rewind = await self.reaction.rewind(positions)

            def fill(commit: Commit) -> None:
                commit.settled += letters.dropped
                if rewind is not None:
                    rewind(commit)

            unknown = self.marks.unknown(positions)
            try:
                await self.offsets.write(positions, fill, unknown)
            except BaseException:
                self._in_doubt = True
                self.tails.wake()
                raise
            self.positions.update(positions)
            self.marks.at.update(unknown)
            self.marks.begin(positions)
            self.reaction.taken(self.tails.ends(positions))
            self.blocked.keep(letters.blocking)
        self.tails.wake()
        return positions.keys()

    async def keep(self) -> None:
        """Store the offsets now, also where nothing of interest was seen."""
        async with self.alone():
            await self.offsets.write_late(self.positions)

    async def flush(self) -> None:
        """Store the offsets; done at a graceful stop, when the loops have ended."""
        await self.offsets.settle()
        await self.offsets.write_late(self.positions)


def _before(
    first: Entry, entries: list[Entry], positions: Positions
) -> tuple[list[Entry], Positions]:
    """Return the part of a stretch that is before one of its entries."""
    at = next(i for i, entry in enumerate(entries) if entry is first)
    not_all = {entry.shard for entry in entries[at:]}
    reached = {shard: end for shard, end in positions.items() if shard not in not_all}
    for entry in entries[:at]:
        if entry.shard in not_all:
            reached[entry.shard] = entry.position
    return entries[:at], reached
