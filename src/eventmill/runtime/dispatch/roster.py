"""The roster: this node's subscriptions, and the shards that each of them follows.

Place on the road: dispatch. Subscriptions come and go (consumers at start, versions of views and
pushed ones at any time), and so do shards (`runtime.cluster.cluster`): each follows each other here.

Invariant: a subscription runs where its fact `paused/<name>` is not, on every node (`runtime.facts`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime

from eventmill.errors import NotFound
from eventmill.model.commit import Commit, Offset
from eventmill.model.definition import Start, StartAt
from eventmill.model.placement import EVERY_SHARD
from eventmill.ports.clock import Clock
from eventmill.ports.store import Store
from eventmill.runtime.committer import Committer
from eventmill.runtime.dispatch.reaction import Reaction
from eventmill.runtime.dispatch.subscription import PAUSED, Subscription
from eventmill.runtime.dispatch.tails import Tails
from eventmill.runtime.facts import Changes, Facts
from eventmill.runtime.supervisor import Supervisor


class Roster:
    """All subscriptions of a node.

    Shards are taken and left through it.
    """

    def __init__(
        self,
        store: Store,
        tails: Tails,
        committer: Committer,
        facts: Facts,
        supervisor: Supervisor,
        clock: Clock,
        luck: Callable[[], float],
    ) -> None:
        self.subscriptions: dict[str, Subscription] = {}
        self.followed: set[int] = set()
        """Home shards that they follow here, now."""
        self._store = store
        self._tails = tails
        self._committer = committer
        self._facts = facts
        self._supervisor = supervisor
        self._clock = clock
        self._luck = luck
        self._starts: dict[str, StartAt] = {}
        """Where subscriptions begin in shards that nobody has read for them yet."""
        self._changing = asyncio.Lock()
        """Held while subscriptions or shards come or go: each one follows each other."""

    def __repr__(self) -> str:
        return f"<Roster [{len(self.subscriptions)} subscriptions, {len(self.followed)} shards]>"

    async def start(self) -> None:
        """Heed what is paused, from now on."""
        await self._facts.follow(PAUSED, self._heed)

    async def take(self, homes: Collection[int]) -> None:
        """Let every subscription follow home shards."""
        async with self._changing:
            await self._follow(list(self.subscriptions.values()), homes)
            self.followed.update(homes)

    async def leave(self, homes: Collection[int]) -> None:
        """Let no subscription follow home shards any more. Only who leaves waits for the batches that
        are under way: shards may be taken meanwhile, which such a batch may wait for."""
        async with self._changing:
            self.followed.difference_update(homes)
            leaving = list(self.subscriptions.values())
        # Those that may take long first: the others go on with the shards meanwhile.
        for waits in (True, False):
            async with asyncio.TaskGroup() as group:
                for one in leaving:
                    if one.reaction.waits == waits:
                        group.create_task(one.leave(self._shards(one, homes)))

    async def subscribe(
        self,
        name: str,
        reaction: Reaction,
        start: StartAt = Start.BEGINNING,
        *,
        tails: Tails | None = None,
    ) -> Subscription:
        """Start a subscription where it left off, or at `start` where it is new.

        Parameter: `tails` are what it reads, if not what all read.
        """
        subscription = Subscription(
            name,
            reaction,
            tails or self._tails,
            self._store,
            self._committer,
            self._clock,
            self._luck,
        )
        async with self._changing:
            self._starts[name] = start
            await self._follow([subscription], self.followed)
            self.subscriptions[name] = subscription
        if PAUSED + name in self._facts.known:
            subscription.pause()
        self._supervisor.start(f"subscription {name}", subscription.run())
        self._supervisor.start(f"retries {name}", subscription.retries.run())
        return subscription

    async def unsubscribe(self, name: str) -> None:
        """End a subscription's loops; its offset stays."""
        subscription = self.subscription(name)
        await self._supervisor.stop(f"subscription {name}", f"retries {name}")
        await subscription.flush()
        await self._committer.drained()  # a retry may have been cut off from its commit
        async with self._changing:
            del self.subscriptions[name], self._starts[name]

    def subscription(self, name: str) -> Subscription:
        """Return a running subscription.

        Raises `NotFound`.
        """
        found = self.subscriptions.get(name)
        if found is None:
            raise NotFound(
                f"no subscription {name!r}; there is {', '.join(self.subscriptions) or 'none'}"
            )
        return found

    async def pause(self, name: str) -> None:
        """Pause a subscription on every node; it stays paused across restarts.

        Raises `NotFound`.
        """
        self.subscription(name)
        await self._facts.change(Commit(registry={PAUSED + name: b"1"}))

    async def resume(self, name: str) -> None:
        """Resume a paused subscription on every node.

        Raises `NotFound`.
        """
        self.subscription(name)
        await self._facts.change(Commit(registry={PAUSED + name: None}))

    async def _heed(self, changes: Changes) -> None:
        for fact, value in changes.items():
            subscription = self.subscriptions.get(fact.removeprefix(PAUSED))
            if subscription is not None and value is None:
                subscription.resume()
            elif subscription is not None:
                subscription.pause()

    async def _follow(self, subscriptions: list[Subscription], homes: Iterable[int]) -> None:
        if not subscriptions:
            return
        shards = {one.name: self._shards(one, homes) for one in subscriptions}
        read = {shard for numbers in shards.values() for shard in numbers}
        stored, heads = await asyncio.gather(self._store.offsets(), self._store.parking.heads(read))
        begun = {
            one.name: await self._begun(one, shards[one.name], stored) for one in subscriptions
        }
        first = [offset for _, offsets in begun.values() for offset in offsets]
        if first:
            # Stored at once: a restart before the first event must not skip what came between.
            await self._committer.write(lambda commit: commit.offsets.extend(first))
        for one in subscriptions:
            one.follow(begun[one.name][0], stored, heads)

    def _shards(self, subscription: Subscription, homes: Iterable[int]) -> list[int]:
        read_by = self._store.placement.read_by
        return [s for home in homes for s in read_by(home, subscription.reaction.sources)]

    async def _begun(
        self, subscription: Subscription, shards: list[int], stored: Mapping[tuple[str, int], int]
    ) -> tuple[dict[int, int], list[Offset]]:
        """Return where a subscription goes on in shards, and what of that is to be stored."""
        name, tails = subscription.name, subscription.tails
        start = self._starts[name]
        offsets = {shard: stored[name, shard] for shard in shards if (name, shard) in stored}
        new = {s: await _begin(tails, s, start) for s in shards if s not in offsets}
        if (came := stored.get((name, EVERY_SHARD))) is not None:
            # Positions in the broker are other numbers than in the store that it came from.
            new |= dict.fromkeys(filter(tails.is_stored, new), came)
        # Of an empty shard too: else its end at the next start would be where it begins. And where
        # there are several, it is known from then on which of them are read.
        is_whole = start is Start.LATEST or bool(self._store.placement.topics)
        first = [Offset(name, shard, 0, at) for shard, at in new.items() if at or is_whole]
        return {**offsets, **new}, first


async def _begin(tails: Tails, shard: int, start: StartAt) -> int:
    match start:
        case Start.BEGINNING:
            return 0
        case Start.LATEST:
            return await tails.find_end(shard)
        case datetime():
            return await tails.position_at(shard, round(start.timestamp() * 1e6))
        case _:
            return start.get(shard, 0)
