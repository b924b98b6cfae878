"""Retries: a subscription's second loop, which tries the heads of its blocked keys again.

Place on the road: beside dispatch. A head that is due → reaction → one commit of everything the
reaction caused and of the letters that are settled by it or due again.

Invariants: letters of blocked keys change only under the subscription's lock `letters`, so a key is
tried once at a time and not while an operator redrives it; an operator waits for that lock as long
as `LETTERS_SECONDS` and one call of a handler take, not for a key's whole queue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from eventmill.errors import Conflict, Unavailable
from eventmill.model import limits
from eventmill.model.commit import Commit, Letter, LetterKey, LetterStatus
from eventmill.model.entry import Entry
from eventmill.ports.clock import Clock
from eventmill.ports.store import Store
from eventmill.runtime.committer import Committer
from eventmill.runtime.dispatch.blocked import Blocked
from eventmill.runtime.dispatch.reaction import Queue, Reacted, letters_of, react

if TYPE_CHECKING:
    from eventmill.runtime.dispatch.subscription import Subscription

log = structlog.get_logger()

KEYS_AT_ONCE = 16

FAILED_AGAIN_MICROSECONDS = 1_000_000
"""Wait after a retry that could not be committed."""

ARRIVING_MICROSECONDS = 1_000
"""Wait for a letter that is being written."""


class Retries:
    """Tries again what one subscription has parked."""

    def __init__(
        self,
        subscription: Subscription,
        store: Store,
        committer: Committer,
        clock: Clock,
        luck: Callable[[], float],
    ) -> None:
        self._subscription = subscription
        self._store = store
        self._committer = committer
        self._clock = clock
        self._luck = luck
        self.blocked = Blocked()
        self.changed = asyncio.Event()
        """Set when a key may be due earlier than before."""

    def __repr__(self) -> str:
        return f"<Retries of {self._subscription.name} [{self.blocked!r}]>"

    async def run(self) -> None:
        """Try parked heads again when they are due, until cancelled."""
        while True:
            await self._subscription.running.wait()
            self.changed.clear()
            due, now = self.blocked.next_due(), self._clock.now()
            if due is None:
                await self.changed.wait()
            elif due > now:
                await self._clock.wait(self.changed, (due - now) / 1e6)
            elif quiet := self._subscription.reaction.quiet:
                await self._clock.sleep(min(quiet, limits.QUIET_SECONDS))
            else:
                await self._pass(now)

    async def _pass(self, now: int) -> None:
        async with self._subscription.letters:
            places = self.blocked.take(now, KEYS_AT_ONCE)
            async with asyncio.TaskGroup() as group:
                for due, queue in places:
                    group.create_task(self._retry(queue, due))

    async def _retry(self, queue: Queue, due: int) -> None:
        if self._subscription.reaction.exclusive:
            async with self._subscription.alone():
                await self._retry_queue(queue, due)
        else:
            await self._retry_queue(queue, due)

    async def _retry_queue(self, queue: Queue, due: int) -> None:
        try:
            await self._attempt(queue, due)
        except (Unavailable, Conflict) as error:
            log.warning(
                "retry not committed",
                subscription=self._subscription.name,
                key=queue[1],
                error=str(error),
            )
            self.blocked.put(queue, self._clock.now() + FAILED_AGAIN_MICROSECONDS)

    async def _attempt(self, queue: Queue, due: int) -> None:
        name, reaction = self._subscription.name, self._subscription.reaction
        # A head that failed before is tried alone: the others matter when it has succeeded.
        limit = reaction.batch if due == 0 else 1
        handled = self._subscription.handled
        letters = await self._store.parking.queue(name, *queue, limit=limit)
        if not letters:
            # What arrived meanwhile was parked behind a letter that is gone by now: look again.
            if queue in self._subscription.arriving or self._subscription.handled != handled:
                self.blocked.put(queue, self._clock.now() + ARRIVING_MICROSECONDS)
            else:
                self.blocked.remove(queue)
            return
        if letters[0].status is LetterStatus.DEAD:
            self.blocked.put(queue, None)  # it waits for an operator
            return
        attempt = letters[0].attempts + 1
        entries = [letter.entry for letter in letters]
        if reaction.whole:
            reacted = await react(name, reaction, entries, attempt)
            while reacted is None:
                letters, entries = letters[:1], entries[:1]
                reacted = await react(name, reaction, entries, attempt)
        else:
            reacted = await self._in_time(entries, attempt)
        if len(reacted.left) == len(entries):
            self.blocked.put(queue, due)
        else:
            await self._settle(queue, letters, reacted)

    async def _in_time(self, entries: list[Entry], attempt: int) -> Reacted:
        """React to one entry after the other, as long as others may wait for the letters."""
        name, reaction = self._subscription.name, self._subscription.reaction
        end = self._clock.monotonic() + limits.LETTERS_SECONDS
        reacted = Reacted()
        for at, entry in enumerate(entries):
            one = None
            is_full = reacted.weight >= limits.COMMIT_BYTES_MAX
            if not at or (not is_full and self._clock.monotonic() < end):
                one = await react(name, reaction, [entry], attempt)
            if one is None or one.left:
                reacted.left = entries[at:]
                break
            reacted.add(one)
            if one.failed:
                reacted.behind += entries[at + 1 :]
                break
        return reacted

    async def _settle(self, queue: Queue, tried: list[Letter], reacted: Reacted) -> None:
        subscription, head = self._subscription, tried[0]
        attempts = head.attempts if _is_failed(head, reacted) else 0
        subscription.failures += len(reacted.failed)
        letters = await letters_of(
            subscription.name,
            reacted,
            attempts,
            subscription.reaction.retry,
            self._clock.now(),
            self._luck,
        )
        again = (*reacted.failed, *reacted.refused)
        parked = (*(entry for entry, _ in again), *reacted.behind, *reacted.left)
        kept = {entry.position for entry in parked}
        settled = [
            LetterKey(subscription.name, letter.entry.shard, letter.entry.position)
            for letter in tried
            if letter.entry.position not in kept
        ]

        def fill(commit: Commit) -> None:
            for part in reacted.fills:
                part(commit)
            commit.letters += letters
            commit.settled += settled

        await self._committer.write(fill)
        subscription.reaction.committed()
        if reacted.failed:
            self.blocked.note(letters)
        else:
            self.blocked.put(queue, 0)


def _is_failed(head: Letter, reacted: Reacted) -> bool:
    return any(entry.position == head.entry.position for entry, _ in reacted.failed[:1])
