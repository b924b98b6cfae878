"""The pushed subscriptions of a node: made, changed and ended at run time.

Place on the road: beside it. Each becomes a subscription of the runtime whose reaction is a
`PushReaction` (`runtime.push`).

Invariant: a subscription is a durable fact `subscription/<id>`, which says where it began.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from typing import Final, Protocol

import msgspec

from eventmill.engine import cloudevent
from eventmill.errors import (
    Conflict,
    InvalidPayload,
    NotFound,
    Overloaded,
)
from eventmill.model import limits
from eventmill.model.commit import Commit
from eventmill.model.definition import ServiceDefinition, Start, StartAt
from eventmill.model.entry import DELETED, STATE
from eventmill.model.pushing import Pushing, Standing, stored
from eventmill.ports.clock import Clock
from eventmill.ports.sender import Sender
from eventmill.ports.store import Store
from eventmill.runtime.committer import Committer
from eventmill.runtime.marks import names_of
from eventmill.runtime.push import PushReaction
from eventmill.runtime.reaction import Reaction
from eventmill.runtime.subscription import Subscription
from eventmill.runtime.tails import Tails

FACT: Final = "subscription/"
NAME: Final = "push@"


class Host(Protocol):
    """What of the runtime is needed here."""

    service: ServiceDefinition
    store: Store
    clock: Clock
    committer: Committer
    tails: Tails

    async def subscribe(
        self, name: str, reaction: Reaction, start: StartAt = Start.BEGINNING
    ) -> Subscription: ...
    async def unsubscribe(self, name: str) -> None: ...
    def subscription(self, name: str) -> Subscription: ...
    async def pause(self, name: str) -> None: ...
    async def resume(self, name: str) -> None: ...


class Pushes:
    """All pushed subscriptions of a node."""

    def __init__(self, host: Host, sender: Sender | None, luck: Callable[[], float]) -> None:
        self._host = host
        self._sender = sender
        self._luck = luck
        self._all: dict[str, Standing] = {}
        self._changing = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<Pushes [{len(self._all)} subscriptions]>"

    async def start(self) -> None:
        """Go on with what was subscribed before."""
        for name, fact in (await self._host.store.registry()).items():
            if name.startswith(FACT):
                await self._follow(stored(fact))

    async def stop(self) -> None:
        """Give the sender's connections back."""
        if self._sender is not None:
            await self._sender.close()

    def list(self) -> list[Pushing]:
        """All subscriptions, by id."""
        return [self._all[id].pushing for id in sorted(self._all)]

    def get(self, id: str) -> Pushing:
        """Return one subscription.

        Raises `NotFound`.
        """
        return self._standing(id).pushing

    def is_paused(self, id: str) -> bool:
        """Whether a subscription waits for `resume`."""
        self.get(id)
        return self._host.subscription(NAME + id).paused

    async def create(self, pushing: Pushing) -> Pushing:
        """Subscribe; durable when it returns. An id is made up if none is proposed.

        Raises `InvalidPayload`, `NotFound` for an unknown source, `Conflict` for an id that is
        taken, `Overloaded` when there are too many.
        """
        async with self._changing:
            if len(self._all) >= limits.SUBSCRIPTIONS_MAX:
                raise Overloaded(f"{limits.SUBSCRIPTIONS_MAX} subscriptions at most; delete some")
            if pushing.id in self._all:
                raise Conflict(f"there is a subscription {pushing.id!r} already")
            pushing = msgspec.structs.replace(pushing, id=pushing.id or self._new_id())
            reaction = self._reaction(pushing)  # refuses what cannot be
            begins = await self._start_of(pushing.config.start, reaction.sources)
            standing = Standing(pushing, begins)
            await self._store(standing)
            await self._follow(standing)
            return pushing

    async def replace(self, id: str, pushing: Pushing) -> Pushing:
        """Change a subscription; it goes on where it is.

        Raises what `create` raises, and `InvalidPayload` for another id.
        """
        async with self._changing:
            standing = self._standing(id)
            if pushing.id not in ("", id):
                raise InvalidPayload("id: it cannot be changed")
            pushing = msgspec.structs.replace(pushing, id=id)
            reaction = self._reaction(pushing)
            standing = Standing(pushing, standing.begins)
            await self._store(standing)
            self._host.subscription(NAME + id).reaction = reaction
            self._all[id] = standing
            return pushing

    async def delete(self, id: str) -> Pushing:
        """End a subscription; its offset and letters go with it.

        Raises `NotFound`.
        """
        async with self._changing:
            standing = self._standing(id)
            await self._host.resume(NAME + id)  # a later one of that id must not begin paused
            await self._host.unsubscribe(NAME + id)

            def fill(commit: Commit) -> None:
                commit.registry[FACT + id] = None
                commit.forgotten += names_of(NAME + id)

            try:
                await self._host.committer.write(fill)
            except BaseException:
                # It may stand in the store: then it goes on after the next start, so it goes on
                # now, and can be deleted again.
                await self._follow(standing)
                raise
            del self._all[id]
            return standing.pushing

    async def pause(self, id: str) -> Pushing:
        """Hold a subscription, also across restarts.

        Raises `NotFound`.
        """
        pushing = self.get(id)
        await self._host.pause(NAME + id)
        return pushing

    async def resume(self, id: str) -> Pushing:
        """Go on where it was paused.

        Raises `NotFound`.
        """
        pushing = self.get(id)
        await self._host.resume(NAME + id)
        return pushing

    async def _follow(self, standing: Standing) -> None:
        pushing = standing.pushing
        reaction = self._reaction(pushing, known=False)
        await self._host.subscribe(NAME + pushing.id, reaction, standing.begins)
        self._all[pushing.id] = standing

    def _standing(self, id: str) -> Standing:
        found = self._all.get(id)
        if found is None:
            raise NotFound(f"no subscription {id!r}")
        return found

    def _reaction(self, pushing: Pushing, *, known: bool = True) -> PushReaction:
        if self._sender is None:
            raise InvalidPayload("this node sends nothing: it was started without a sender")
        if known:
            self._sender.check(pushing.sink)
        sources = sources_of(self._host.service, pushing.source)
        if known and not sources:
            there = ", ".join(sources_of(self._host.service, None)) or "nothing"
            raise NotFound(f"source {pushing.source!r}: there is {there}")
        skipped = _skipped(self._host.service, sources, pushing.types)
        return PushReaction(pushing, sources, skipped, self._sender, self._host.clock)

    async def _store(self, standing: Standing) -> None:
        fact = {FACT + standing.pushing.id: msgspec.json.encode(standing)}
        await self._host.committer.write(lambda commit: commit.registry.update(fact))

    def _new_id(self) -> str:
        while (id := f"s-{int(self._luck() * 2**52):013x}") in self._all:
            pass
        return id

    async def _start_of(self, text: str, sources: frozenset[str]) -> dict[int, int]:
        """Read where a subscription shall begin: positions of the shards that it reads."""
        store = self._host.store
        placement = store.placement
        shards = [s for home in range(placement.shards) for s in placement.read_by(home, sources)]
        if text == "beginning":
            return {}
        ends = await self._host.tails.find_ends(shards)
        if text == "latest":
            return ends
        if text.isascii() and text.isdecimal() and len(shards) == 1:
            return {shard: min(int(text[:18]), end) for shard, end in ends.items()}
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            raise InvalidPayload(
                "config.start is 'beginning', 'latest', a time with its zone, or a position where "
                "the journal has one shard"
            )
        time = round(moment.timestamp() * 1e6)
        return {shard: await self._host.tails.position_at(shard, time) for shard in shards}


def sources_of(service: ServiceDefinition, source: str | None) -> dict[str, str]:
    """Return what a subscription's `source` names: id of topic or entity → CloudEvents source.

    It names a topic or an entity component by its id or by its CloudEvents source; None is all.
    """
    every = {id: cloudevent.topic_source(service.name, id) for id in service.topics}
    every |= {id: cloudevent.entity_source(service.name, id) for id in service.entities}
    if source is None:
        return every
    return {id: path for id, path in every.items() if source in (id, path)}


def _skipped(
    service: ServiceDefinition, sources: Iterable[str], types: Collection[str] | None
) -> frozenset[tuple[str, str]]:
    """Return (source, stored type) of what is not wanted for its type alone."""
    if types is None:
        return frozenset()
    stored_types: dict[str, set[str]] = {
        id: {kind.name for kind in topic.event_types()} for id, topic in service.topics.items()
    }
    for id, entity in service.entities.items():
        stored_types[id] = {*entity.event_types, STATE, DELETED}
    return frozenset(
        (id, type)
        for id in sources
        for type in stored_types[id]
        if cloudevent.BUILT_IN.get(type, type) not in types
    )
