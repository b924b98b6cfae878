"""The pushed subscriptions: made, changed and ended at run time, on all nodes.

Place on the road: beside it. Each becomes a subscription of the runtime whose reaction is a
`PushReaction` (`runtime.pushing.push`).

Invariants: a subscription is a durable fact `subscription/<id>`, which says where it began; every
node runs what the facts say. One that has ended is a fact, too, until no node runs it any more:
only then its offsets and letters go, and its id may be used again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from typing import Final, Protocol

import msgspec
import structlog

from eventmill.engine import cloudevent
from eventmill.errors import (
    Conflict,
    EventmillError,
    InvalidPayload,
    NotFound,
    Overloaded,
    Unavailable,
)
from eventmill.model import limits
from eventmill.model.commit import Commit
from eventmill.model.definition import ServiceDefinition
from eventmill.model.pushing import Pushing, Standing, stored
from eventmill.ports.clock import Clock
from eventmill.ports.sender import Sender
from eventmill.ports.store import Store
from eventmill.runtime.dispatch.marks import names_of
from eventmill.runtime.dispatch.roster import Roster
from eventmill.runtime.dispatch.subscription import PAUSED
from eventmill.runtime.dispatch.tails import Tails
from eventmill.runtime.facts import Changes, Facts
from eventmill.runtime.pushing.push import PushReaction
from eventmill.runtime.supervisor import Supervisor

log = structlog.get_logger()

FACT: Final = "subscription/"
NAME: Final = "push@"

FORGETTING: Final = "forgetting subscriptions"
"""Name of the task that removes what is left of those that have ended."""


class Host(Protocol):
    """What of the runtime is needed here."""

    service: ServiceDefinition
    store: Store
    clock: Clock
    tails: Tails
    facts: Facts
    roster: Roster
    supervisor: Supervisor

    async def in_use_elsewhere(self) -> set[str]: ...


class Pushes:
    """All pushed subscriptions, as this node runs them."""

    def __init__(self, host: Host, sender: Sender | None, luck: Callable[[], float]) -> None:
        self._host = host
        self._sender = sender
        self._luck = luck
        self._all: dict[str, Standing] = {}
        """Those that run here."""
        self._ended: set[str] = set()
        """Ids of those that have ended, as long as something of them is left."""

    def __repr__(self) -> str:
        return f"<Pushes [{len(self._all)} subscriptions]>"

    async def start(self) -> None:
        """Run what is subscribed, now and from now on."""
        await self._host.facts.follow(FACT, self._act)

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
        return self._host.roster.subscription(NAME + id).paused

    async def create(self, pushing: Pushing) -> Pushing:
        """Subscribe; durable when it returns. An id is made up if none is proposed.

        Raises `InvalidPayload`, `NotFound` for an unknown source, `Conflict` for an id that is
        taken, `Overloaded` when there are too many.
        """
        if len(self._all) >= limits.SUBSCRIPTIONS_MAX:
            raise Overloaded(f"{limits.SUBSCRIPTIONS_MAX} subscriptions at most; delete some")
        pushing = msgspec.structs.replace(pushing, id=pushing.id or self._new_id())
        if pushing.id in self._ended:
            raise Conflict(f"subscription {pushing.id!r} is still being ended; try again")
        reaction = self._reaction(pushing)  # refuses what cannot be
        begins = await self._start_of(pushing.config.start, reaction.sources)
        await self._change(pushing.id, Standing(pushing, begins), None)
        return pushing

    async def replace(self, id: str, pushing: Pushing) -> Pushing:
        """Change a subscription; it goes on where it is.

        Raises what `create` raises, and `InvalidPayload` for another id.
        """
        standing = self._standing(id)
        if pushing.id not in ("", id):
            raise InvalidPayload("id: it cannot be changed")
        pushing = msgspec.structs.replace(pushing, id=id)
        self._reaction(pushing)  # refuses what cannot be
        await self._change(id, msgspec.structs.replace(standing, pushing=pushing), standing)
        return pushing

    async def delete(self, id: str) -> Pushing:
        """End a subscription; its offset and letters go with it.

        Raises `NotFound`.
        """
        standing = self._standing(id)
        await self._change(id, msgspec.structs.replace(standing, ended=True), standing)
        try:
            await self._forget()
        except (Unavailable, Conflict) as error:  # `_forgetting` goes on with it
            log.info("a subscription has ended, not everywhere yet", id=id, error=str(error))
        return standing.pushing

    async def pause(self, id: str) -> Pushing:
        """Hold a subscription, also across restarts.

        Raises `NotFound`.
        """
        pushing = self.get(id)
        await self._host.roster.pause(NAME + id)
        return pushing

    async def resume(self, id: str) -> Pushing:
        """Go on where it was paused.

        Raises `NotFound`.
        """
        pushing = self.get(id)
        await self._host.roster.resume(NAME + id)
        return pushing

    async def _change(self, id: str, standing: Standing, before: Standing | None) -> None:
        """Change the fact of a subscription, and do here what follows from it."""
        name = FACT + id
        expected = msgspec.json.encode(before) if before else None
        commit = Commit(registry={name: msgspec.json.encode(standing)}, expected={name: expected})
        try:
            await self._host.facts.change(commit)
        except Conflict as error:
            what = "was changed by somebody else: look again" if before else "is there already"
            raise Conflict(f"subscription {id!r} {what}") from error

    async def _act(self, changes: Changes) -> None:
        for name, fact in changes.items():
            id = name.removeprefix(FACT)
            standing = stored(fact) if fact is not None else None
            if standing is None or standing.ended:
                await self._end(id)
            else:
                await self._run(id, standing)
            self._ended.discard(id)
            if standing is not None and standing.ended:
                self._ended.add(id)
        if self._ended and FORGETTING not in self._host.supervisor.names():
            self._host.supervisor.start(FORGETTING, self._forgetting())

    async def _run(self, id: str, standing: Standing) -> None:
        try:
            reaction = self._reaction(standing.pushing, known=False)
        except EventmillError as error:  # one of several nodes is set up in another way
            log.error("a subscription cannot run here", id=id, error=error.message)
            return
        if id in self._all:
            self._host.roster.subscription(NAME + id).reaction = reaction
        else:
            await self._host.roster.subscribe(NAME + id, reaction, standing.begins)
        self._all[id] = standing

    async def _end(self, id: str) -> None:
        if id in self._all:
            await self._host.roster.unsubscribe(NAME + id)
            del self._all[id]

    async def _forgetting(self) -> None:
        """Remove what is left of subscriptions that have ended, as soon as no node runs them."""
        while self._ended:
            await self._host.clock.sleep(limits.FACTS_SECONDS)
            try:
                await self._forget()
            except (Unavailable, Conflict) as error:
                log.warning("ended subscriptions are still there", error=str(error))

    async def _forget(self) -> None:
        in_use = await self._host.in_use_elsewhere()
        facts, offsets = self._host.facts, await self._host.store.offsets()
        for id in [id for id in self._ended if NAME + id not in in_use]:
            fact = facts.known.get(FACT + id)
            if fact is None or not stored(fact).ended:
                continue  # another node did it
            await facts.change(
                Commit(
                    registry={FACT + id: None, PAUSED + NAME + id: None},
                    expected={FACT + id: fact},
                    forgotten=names_of(NAME + id, offsets),
                )
            )

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
            service = self._host.service
            there = ", ".join([*sources_of(service, None), *service.foreign]) or "nothing"
            raise NotFound(f"source {pushing.source!r}: there is {there}")
        skipped = _skipped(self._host.service, sources, pushing.types)
        return PushReaction(pushing, sources, skipped, self._sender, self._host.clock)

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
        await self._host.tails.look()  # other nodes append, too
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

    It names a topic or an entity component by its id or by its CloudEvents source; None is all of
    this service itself.
    """
    every = {id: cloudevent.topic_source(service.name, id) for id in service.topics}
    every |= {
        id: cloudevent.entity_source(service.name, id)
        for id, entity in service.entities.items()
        if entity.replicated is None  # what it stores says nothing to others
    }
    if source is None:
        return every
    foreign = service.foreign.items()
    every |= {id: cloudevent.topic_source(topic.service, topic.name) for id, topic in foreign}
    return {id: path for id, path in every.items() if source in (id, path)}


def _skipped(
    service: ServiceDefinition, sources: Iterable[str], types: Collection[str] | None
) -> frozenset[tuple[str, str]]:
    """Return (source, stored type) of what is not wanted for its type alone."""
    if types is None:
        return frozenset()
    stored_types: dict[str, set[str]] = {
        id: {kind.name for kind in topic.event_types()}
        for id, topic in (*service.topics.items(), *service.foreign.items())
    }
    for id, entity in service.entities.items():
        stored_types[id] = {*entity.event_types, *entity.own_types}
    return frozenset(
        (id, type)
        for id in sources
        for type in stored_types[id]
        if cloudevent.BUILT_IN.get(type, type) not in types
    )
