"""A subscription: follows its sources from an offset, reacts in batches, parks what fails.

Place on the road: dispatch. Tail → batch → reaction → one commit of everything the reaction
caused, the letters of what failed, and the new offset. Consumers, views, the courier of sent
commands and pushed subscriptions differ only in their `Reaction`.

Invariants: entries of one key are handled in order; an entry is behind the offset only if its
effects are committed or it is parked; a key is in `blocked` as long as it has a letter that is not
merely `refused`, and everything that arrives for it is parked behind.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from typing import Protocol

import structlog

from eventmill.engine import retry
from eventmill.errors import Conflict, Unavailable
from eventmill.model import limits
from eventmill.model.commit import Commit, Letter, LetterKey, LetterStatus, Offset
from eventmill.model.definition import Retry
from eventmill.model.entry import Entry
from eventmill.ports.clock import Clock
from eventmill.ports.store import Store
from eventmill.runtime.committer import Committer
from eventmill.runtime.tail import Tail

log = structlog.get_logger()

LAZY_POSITIONS = 10_000
"""Positions without anything of interest after which the offset is stored all the same."""

RETRY_KEYS_AT_ONCE = 16


class Reacted:
    """What a reaction made of a batch."""

    __slots__ = ("behind", "failed", "fills", "refused")

    def __init__(self) -> None:
        self.fills: list[Callable[[Commit], None]] = []
        self.failed: list[tuple[Entry, BaseException]] = []
        self.behind: list[Entry] = []
        """Entries of a key whose earlier entry failed in this batch."""
        self.refused: list[tuple[Entry, BaseException]] = []


class Reaction(Protocol):
    """What a subscription does with its entries."""

    sources: frozenset[str]
    skipped: frozenset[tuple[str, str]]
    """(source, type) of entries that it would do nothing with."""
    retry: Retry
    batch: int
    exclusive: bool
    """Whether a retry must not run beside a batch, because both change the same rows."""

    async def react(self, entries: list[Entry], attempt: int) -> Reacted:
        """Handle entries, in order per key.

        `Unavailable` and `Conflict` fail the whole batch for now. Any other error is a defect: the
        entries are given again one by one, and those that raise are parked.
        """
        ...

    def committed(self) -> None:
        """What the last `react` returned is durable; without this call it never became true."""
        ...


def key_of(entry: Entry) -> str:
    """Order is kept per source and subject."""
    return f"{entry.source}/{entry.subject}"


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
        self.blocked: dict[str, int | None] = {}
        """Key → when its head is due (microseconds), None while it is dead."""
        self._parked = limits.PARKED_MAX + 1
        """At least as many as its letters: counted when it exceeds the bound, as at first."""
        self._arriving: set[str] = set()
        self._writing: tuple[asyncio.Future[None], int] | None = None
        """The latest write of an offset, and that offset."""
        self._running = asyncio.Event()
        if not paused:
            self._running.set()
        self._due = asyncio.Event()
        self._busy = asyncio.Lock()
        self.letters = asyncio.Lock()
        """Held by whoever changes letters of blocked keys: retries and operators. Taken before
        `_busy`."""
        self.handled = 0
        self.failures = 0

    def __repr__(self) -> str:
        state = "paused" if self.paused else f"{self.lag} behind"
        return f"<Subscription {self.name} [{state}, {len(self.blocked)} keys blocked]>"

    @property
    def paused(self) -> bool:
        """Whether it waits for `resume`."""
        return not self._running.is_set()

    @property
    def lag(self) -> int:
        """Positions between it and the end of the journal."""
        return max(0, self._tail.position - self.position)

    @property
    def working(self) -> bool:
        """Whether a batch or a retry is under way."""
        return self._busy.locked() or self.letters.locked()

    def pause(self) -> None:
        """Stop reacting after the batch under way."""
        self._running.clear()
        self._tail.wake()

    def resume(self) -> None:
        """Go on."""
        self._running.set()
        self._due.set()

    def block(self, key: str, status: LetterStatus, due: int) -> None:
        """Note a key with a parked head, as found at start or made by an operator."""
        self.blocked[key] = None if status is LetterStatus.DEAD else due
        self._due.set()

    async def run(self) -> None:
        """React until cancelled."""
        failures = 0
        while True:
            await self._running.wait()
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
        async with self._busy:
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
        async with self._busy:
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
        self._arriving = {key_of(e) for e in arrivals}
        try:
            reacted = await self._react(ready, 1) if ready else Reacted()
            if reacted is None:
                await self._singly(entries)
                return
            letters = self._letters(reacted, 0) if reacted.failed or reacted.refused else []
            now = self._clock.now()
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
            self._arriving = set()
        self.handled += len(entries)
        self._note(letters)

    async def _react(self, entries: list[Entry], attempt: int) -> Reacted | None:
        """React; None if one of several entries makes the reaction raise what it must not."""
        try:
            return await self.reaction.react(entries, attempt)
        except (Unavailable, Conflict):
            raise
        except Exception as error:  # a defect of the reaction must not end the loop
            log.error("reaction raised", subscription=self.name, exc_info=error)
            if len(entries) > 1:
                return None
            reacted = Reacted()
            reacted.failed.append((entries[0], error))
            return reacted

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

    def _letters(self, reacted: Reacted, attempts: int) -> list[Letter]:
        now = self._clock.now()
        letters = []
        for entry, error in reacted.failed:
            self.failures += 1
            letter = retry.park(
                self.name,
                key_of(entry),
                entry,
                error,
                attempts + 1,
                self.reaction.retry,
                now,
                self._luck(),
            )
            log.warning(
                "parked" if letter.status is LetterStatus.RETRYING else "dead letter",
                subscription=self.name,
                entry=entry.id,
                key=letter.key,
                attempts=letter.attempts,
                error=letter.error,
            )
            letters.append(letter)
        for entry, error in reacted.refused:
            policy = self.reaction.retry
            letter = retry.park(self.name, key_of(entry), entry, error, 1, policy, now, 0.0)
            letters.append(_refused(letter))
        return letters

    def _note(self, letters: list[Letter]) -> None:
        for letter in letters:
            if letter.status is LetterStatus.RETRYING:
                self.blocked[letter.key] = letter.due
                self._due.set()
            elif letter.status is LetterStatus.DEAD:
                self.blocked[letter.key] = None

    async def run_retries(self) -> None:
        """Try parked heads again when they are due, until cancelled."""
        while True:
            await self._running.wait()
            due = [(at, key) for key, at in self.blocked.items() if at is not None]
            now = self._clock.now()
            ripe = heapq.nsmallest(RETRY_KEYS_AT_ONCE, (pair for pair in due if pair[0] <= now))
            if ripe:
                async with self.letters, asyncio.TaskGroup() as group:
                    for _, key in ripe:
                        group.create_task(self._retry(key))
                continue
            self._due.clear()
            if due:
                await self._clock.wait(self._due, (min(due)[0] - now) / 1e6)
            else:
                await self._due.wait()

    async def _retry(self, key: str) -> None:
        if self.reaction.exclusive:
            async with self._busy:
                await self._retry_queue(key)
        else:
            await self._retry_queue(key)

    async def _retry_queue(self, key: str) -> None:
        try:
            await self._attempt(key)
        except (Unavailable, Conflict) as error:
            log.warning("retry not committed", subscription=self.name, key=key, error=str(error))
            self.blocked[key] = self._clock.now() + 1_000_000

    async def _attempt(self, key: str) -> None:
        handled = self.handled
        queue = await self._store.parking.queue(
            self.name, self._tail.shard, key, limit=self.reaction.batch
        )
        if not queue:
            # What arrived meanwhile was parked behind a letter that is gone by now: look again.
            if key in self._arriving or self.handled != handled:
                self.blocked[key] = self._clock.now() + 1_000
            else:
                self.blocked.pop(key, None)
            return
        head = queue[0]
        attempt = head.attempts + 1
        while (reacted := await self._react([q.entry for q in queue], attempt)) is None:
            queue = queue[:1]
        attempts = head.attempts if reacted.failed[:1] and _is_head(reacted, head) else 0
        letters = self._letters(reacted, attempts)
        kept = {e.position for e, _ in reacted.failed} | {e.position for e in reacted.behind}
        settled = [
            LetterKey(self.name, q.entry.shard, q.entry.position)
            for q in queue
            if q.entry.position not in kept
            and q.entry.position not in {e.position for e, _ in reacted.refused}
        ]

        def fill(commit: Commit) -> None:
            for part in reacted.fills:
                part(commit)
            commit.letters += letters
            commit.settled += settled

        await self._committer.write(fill)
        self.reaction.committed()
        if reacted.failed:
            self._note(letters)
        else:
            self.blocked[key] = 0

    async def reset(self, position: int) -> None:
        """Continue after `position`. Parked letters beyond it are dropped, because their entries
        will be read again; those before it stay parked."""
        async with self.letters, self._busy:
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
            for key in self.blocked.keys() - kept:
                del self.blocked[key]
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


def _is_head(reacted: Reacted, head: Letter) -> bool:
    return reacted.failed[0][0].position == head.entry.position


def _refused(letter: Letter) -> Letter:
    return Letter(
        letter.subscription,
        letter.key,
        letter.entry,
        LetterStatus.REFUSED,
        letter.attempts,
        0,
        letter.parked,
        letter.code,
        letter.error,
        letter.traceback,
    )
