"""A subscription: follows its sources from an offset, reacts in batches, parks what fails.

Place on the road: dispatch. Tail → batch → reaction → one commit of everything the reaction
caused, the letters of what failed, and the new offset. Consumers, views, the courier of sent
commands and pushed subscriptions differ only in their `Reaction`. What is parked, `runtime.retries`
tries again.

Invariants: entries of one key are handled in order; an entry is behind the offset only if its
effects are committed or it is parked; a key is in `blocked` as long as it has a letter that is not
merely `refused`, and everything that arrives for it is parked behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from eventmill.engine import retry
from eventmill.errors import Conflict, Unavailable
from eventmill.model import limits
from eventmill.model.commit import Commit, LetterKey, LetterStatus, Offset
from eventmill.model.definition import Retry
from eventmill.model.entry import Entry
from eventmill.ports.clock import Clock
from eventmill.ports.store import Store
from eventmill.runtime.committer import Committer
from eventmill.runtime.reaction import Reacted, Reaction, key_of, letters_of, react
from eventmill.runtime.retries import Retries
from eventmill.runtime.tail import Tail

log = structlog.get_logger()

PAUSED = "paused/"
"""Begins the durable fact that a subscription is paused; its name follows."""

LAZY_POSITIONS = 10_000
"""Positions without anything of interest after which the offset is stored all the same."""


class Subscription:
    """Runs one reaction over one shard."""

    def __init__(
        self,
        name: str,
        reaction: Reaction,
        tail: Tail,
        store: Store,
        committer: Committer,
        clock: Clock,
        luck: Callable[[], float],
        *,
        offset: int,
        paused: bool = False,
    ) -> None:
        self.name = name
        self.reaction = reaction
        self._tail = tail
        self._store = store
        self._committer = committer
        self._clock = clock
        self._luck = luck
        self.stored = offset
        self.position = offset
        """How far it has come; `stored` lags when nothing of interest was seen."""
        self._parked = limits.PARKED_MAX + 1
        """At least as many as its letters: counted when it exceeds the bound, as at first."""
        self.arriving: set[str] = set()
        """Keys of which entries are being parked behind others."""
        self._writing: tuple[asyncio.Future[None], int] | None = None
        """The latest write of an offset, and that offset."""
        self.running = asyncio.Event()
        """Not set while it is paused."""
        if not paused:
            self.running.set()
        self.busy = asyncio.Lock()
        """Held while a batch is handled."""
        self.letters = asyncio.Lock()
        """Held by whoever changes letters of blocked keys: retries and operators. Taken before
        `busy`."""
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
    def lag(self) -> int:
        """Positions between it and the end of the journal."""
        return max(0, self._tail.position - self.position)

    @property
    def working(self) -> bool:
        """Whether a batch or a retry is under way."""
        return self.busy.locked() or self.letters.locked()

    def pause(self) -> None:
        """Stop reacting after the batch under way."""
        self.running.clear()
        self._tail.wake()

    def resume(self) -> None:
        """Go on."""
        self.running.set()
        self.retries.changed.set()

    def block(self, key: str, status: LetterStatus, due: int) -> None:
        """Note a key with a parked head, as found at start or made by an operator."""
        self.blocked.put(key, None if status is LetterStatus.DEAD else due)
        self.retries.changed.set()

    async def run(self) -> None:
        """React until cancelled."""
        failures = 0
        while True:
            await self.running.wait()
            try:
                if failures:
                    await self._look()
                moved = await self._step()
                failures = 0
            except (Unavailable, Conflict) as error:
                failures += 1
                log.warning("reaction not committed", subscription=self.name, error=str(error))
                await self._clock.sleep(retry.delay(Retry(), failures, self._luck()))
                continue
            if not moved:
                await self._tail.wait(self.position)

    async def _look(self) -> None:
        """After a failed commit, whose outcome may be unknown: go on from what is really stored."""
        async with self.busy:
            stored = (await self._store.offsets()).get((self.name, self._tail.shard), self.stored)
            if stored == self.stored:
                return
            self.stored = self.position = stored
            for head in await self._store.parking.heads([self._tail.shard]):
                if head.subscription == self.name:
                    self.block(head.key, head.status, head.due)

    async def _step(self) -> bool:
        if self._parked > limits.PARKED_MAX:
            self._parked = await self._store.parking.count(self.name, [self._tail.shard])
            if self._parked > limits.PARKED_MAX:
                await self._clock.sleep(1.0)  # bounded parking: wait for an operator, lose nothing
                return True
        async with self.busy:
            scan = await self._tail.read(
                self.position, limit=self.reaction.batch, sources=self.reaction.sources
            )
            if scan.position == self.position or self.paused:
                return False
            entries = scan.entries
            if skipped := self.reaction.skipped:
                entries = [e for e in entries if (e.source, e.type) not in skipped]
            if entries:
                await self._handle(entries, scan.position)
            elif scan.position - self.stored > LAZY_POSITIONS:
                await self._commit(self._mover(scan.position), scan.position)
            self.position = scan.position
        return True

    async def _handle(self, entries: list[Entry], position: int) -> None:
        ready = entries
        arrivals: list[Entry] = []
        if self.blocked:
            arrivals = [e for e in entries if key_of(e) in self.blocked]
            ready = [e for e in entries if key_of(e) not in self.blocked]
        self.arriving = {key_of(e) for e in arrivals}
        try:
            reacted = await react(self.name, self.reaction, ready, 1) if ready else Reacted()
            if reacted is None:
                await self._singly(entries)
                return
            now, policy = self._clock.now(), self.reaction.retry
            self.failures += len(reacted.failed)
            letters = await letters_of(self.name, reacted, 0, policy, now, self._luck)
            behind = [*reacted.behind, *arrivals]
            letters += [retry.park_behind(self.name, key_of(e), e, now) for e in behind]
            move = self._mover(position)

            def fill(commit: Commit) -> None:
                for part in reacted.fills:
                    part(commit)
                commit.letters += letters
                move(commit)

            await self._commit(fill, position)
            self._parked += len(letters)
            self.reaction.committed()
        finally:
            self.arriving = set()
        self.handled += len(entries)
        if letters:
            self.blocked.note(letters)
            self.retries.changed.set()

    async def _singly(self, entries: list[Entry]) -> None:
        """Handle each entry in a commit of its own."""
        for entry in entries:
            await self._handle([entry], entry.position)
            self.position = entry.position  # if the next one fails, this one is not repeated

    async def _commit(self, fill: Callable[[Commit], None], position: int) -> None:
        """Write effects and offset. A stop in the middle does not undo them: `flush` waits."""
        writing = self._committer.submit(fill)
        self._writing = (writing, position)
        await asyncio.shield(writing)
        self.stored = position

    def _mover(self, position: int) -> Callable[[Commit], None]:
        offset = Offset(self.name, self._tail.shard, self.stored, position)
        return lambda commit: commit.offsets.append(offset)

    async def reset(self, position: int) -> None:
        """Continue after `position`. Parked letters beyond it are dropped, because their entries
        will be read again; those before it stay parked."""
        async with self.letters, self.busy:
            again: list[LetterKey] = []
            kept: set[str] = set()
            after = (self.name, -1, 0)
            while letters := await self._store.parking.letters(
                subscription=self.name, after=after, limit=1_000
            ):
                for letter in letters:
                    entry = letter.entry
                    if entry.position > position:
                        again.append(LetterKey(self.name, entry.shard, entry.position))
                    elif letter.status is not LetterStatus.REFUSED:
                        kept.add(letter.key)
                after = (self.name, letters[-1].entry.shard, letters[-1].entry.position)

            def fill(commit: Commit) -> None:
                self._mover(position)(commit)
                commit.settled += again

            await self._committer.write(fill)
            self.stored = self.position = position
            self.blocked.keep(kept)
        self._tail.wake()

    async def flush(self) -> None:
        """Store the offset; done at a graceful stop, when the loops have ended."""
        if self._writing is not None:
            writing, position = self._writing
            await asyncio.wait({writing})
            if writing.exception() is None:
                self.stored = max(self.stored, position)
        if self.position > self.stored:
            await self._committer.write(self._mover(self.position))
            self.stored = self.position
