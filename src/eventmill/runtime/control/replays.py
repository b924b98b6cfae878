"""Replays: consumers run again over the past, each in a shadow group of its own, on all nodes.

Place on the road: beside it. A replay is a subscription of the runtime whose reaction is a
`ShadowReaction` (`runtime.dispatch.shadow`) and whose tails end where it ends; the consumer goes on
meanwhile as if there were none.

Invariants: a replay is a durable fact `replay/<its name>`, and every node runs what the facts
say. It is finished when all its shards have passed their ends and nothing of it is being retried; from
then on it holds nothing up, and only what came of it is left. One that was forgotten is a fact, too, until no
node runs it any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from eventmill.errors import Conflict, InvalidPayload, NotFound, Overloaded, Unavailable
from eventmill.model import limits
from eventmill.model.commit import Commit, LetterStatus
from eventmill.model.definition import ConsumerDefinition
from eventmill.model.replaying import Replay, Tally
from eventmill.runtime.dispatch.bounded import BoundedTails
from eventmill.runtime.dispatch.marks import names_of
from eventmill.runtime.dispatch.shadow import ShadowReaction, facts_of, tally_in
from eventmill.runtime.dispatch.subscription import PAUSED
from eventmill.runtime.facts import Changes

if TYPE_CHECKING:
    from eventmill.runtime.runtime import Runtime

log = structlog.get_logger()

FACT: Final = "replay/"

LOOK_SECONDS: Final = 1.0
"""How often it is looked whether a replay has come to its end."""


class ReplayStatus(msgspec.Struct, frozen=True):
    """How a replay is doing, and what came of it so far, in all shards."""

    name: str
    consumer: str
    effects: bool
    """Whether what the function returned happened."""
    finished: bool
    lag: int
    """Positions that are left."""
    dead: int
    """Events that its function could not handle."""
    tally: Tally


class Replays:
    """All replays, as this node runs them."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._all: dict[str, Replay] = {}
        """Those that are known, by name."""
        self._tails: dict[str, BoundedTails] = {}
        """Of those that run here."""
        self._news = asyncio.Event()
        """Set when there is something to look after."""

    def __repr__(self) -> str:
        return f"<Replays [{len(self._all)}, {len(self._tails)} run here]>"

    async def start(self) -> None:
        """Run what is to be replayed, now and from now on."""
        await self._runtime.facts.follow(FACT, self._act)
        self._runtime.supervisor.start("replays", self._watch())

    async def create(
        self,
        consumer: str,
        group: str,
        begins: Mapping[int, int],
        ends: Mapping[int, int],
        *,
        effects: bool,
    ) -> Replay:
        """Replay what a consumer's shards have behind some positions, up to others; durable when it
        returns.

        Raises `Conflict` for a group that is replayed already, `Overloaded`.
        """
        replay = Replay(consumer, group, dict(begins), dict(ends), effects)
        if replay.name in self._all:
            raise Conflict(f"replay {replay.name!r} is there: forget it, or name another group")
        if len(self._all) >= limits.REPLAYS_MAX:
            raise Overloaded(f"{limits.REPLAYS_MAX} replays at most: forget some")
        await self._change(replay, None)
        return replay

    async def statuses(self) -> list[ReplayStatus]:
        """How all replays are doing."""
        store = self._runtime.store
        facts, offsets = await store.registry(), await store.offsets()
        heads = await store.parking.heads(store.placement.all())
        return [
            ReplayStatus(
                name,
                replay.consumer,
                replay.effects,
                bool(replay.finished),
                0 if replay.finished else _left(replay, offsets),
                sum(h.subscription == name and h.status is LetterStatus.DEAD for h in heads),
                tally_in(facts, name),
            )
            for name, replay in sorted(self._all.items())
            if not replay.ended
        ]

    async def forget(self, name: str) -> None:
        """End a replay, and let go of what came of it.

        Raises `NotFound`.
        """
        replay = self._all.get(name)
        if replay is None or replay.ended:
            raise NotFound(f"no replay {name!r}; there is {', '.join(sorted(self._all)) or 'none'}")
        await self._change(msgspec.structs.replace(replay, ended=True), replay)
        await self._look_kindly()

    def definition(self, consumer: str) -> ConsumerDefinition:
        """Return a consumer that can be replayed.

        Raises `NotFound`, `InvalidPayload`.
        """
        service = self._runtime.service
        definition = service.consumers.get(consumer)
        if consumer in service.views:
            raise InvalidPayload(f"{consumer!r} is a view: it is rebuilt, not replayed")
        if consumer in service.transforms or consumer in service.actions:
            kind = "a transform" if consumer in service.transforms else "an action"
            raise InvalidPayload(f"{consumer!r} is {kind}: only consumers are replayed")
        if definition is None:
            known = ", ".join(service.consumers) or "none"
            raise NotFound(f"no consumer {consumer!r}; there is {known}")
        if definition.stream:
            raise InvalidPayload(f"{consumer!r} fills a stream: only what was published is public")
        return definition

    async def _change(self, replay: Replay, before: Replay | None) -> None:
        fact = FACT + replay.name
        expected = None if before is None else msgspec.json.encode(before)
        try:
            await self._runtime.facts.change(
                Commit(registry={fact: msgspec.json.encode(replay)}, expected={fact: expected})
            )
        except Conflict as error:
            what = "is there already" if before is None else "was changed by somebody else"
            raise Conflict(f"replay {replay.name!r} {what}") from error

    async def _act(self, changes: Changes) -> None:
        for fact, value in changes.items():
            name = fact.removeprefix(FACT)
            if value is None:
                self._all.pop(name, None)
                await self._end(name)
                continue
            self._all[name] = replay = msgspec.json.decode(value, type=Replay)
            if replay.ended or replay.finished:
                await self._end(name)
            elif name not in self._tails:
                await self._run(replay)
        if self._unsettled():
            self._news.set()

    async def _run(self, replay: Replay) -> None:
        runtime = self._runtime
        definition = runtime.service.consumers.get(replay.consumer)
        if definition is None:  # one of several nodes is of another version
            log.error("a replay cannot run here: there is no such consumer", replay=replay.name)
            return
        reaction = ShadowReaction(
            definition,
            replay,
            runtime,
            runtime.store,
            runtime.clock,
            runtime.room,
            guarded=runtime.guarded,
        )
        tails = BoundedTails(runtime.tails, replay.ends)
        self._tails[replay.name] = tails
        await runtime.roster.subscribe(replay.name, reaction, replay.begins, tails=tails)

    async def _end(self, name: str) -> None:
        if (tails := self._tails.pop(name, None)) is not None:
            await self._runtime.roster.unsubscribe(name)
            tails.detach()

    def _unsettled(self) -> list[Replay]:
        return [replay for replay in self._all.values() if replay.ended or not replay.finished]

    async def _watch(self) -> None:
        """Look as long as there is something to wait for, until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._unsettled():
                await self._runtime.clock.sleep(LOOK_SECONDS)
                await self._look_kindly()

    async def _look_kindly(self) -> None:
        try:
            await self._look()
        except (Unavailable, Conflict) as error:  # another node was faster, or it is tried again
            log.info("replays not looked after", error=str(error))

    async def _look(self) -> None:
        for replay in self._unsettled():
            if replay.ended:
                await self._let_go(replay)
            elif replay.name in self._tails and await self._is_at_end(replay):
                now = self._runtime.clock.now()
                await self._change(msgspec.structs.replace(replay, finished=now), replay)

    async def _is_at_end(self, replay: Replay) -> bool:
        """Whether everything is handled, on all nodes; what this one has is stored for the others."""
        store, subscription = self._runtime.store, self._runtime.subscription(replay.name)
        if not subscription.has_passed(replay.ends) or subscription.paused:
            return False
        await subscription.keep()
        if _left(replay, await store.offsets()):
            return False
        heads = await store.parking.heads(list(replay.ends))
        mine = [head for head in heads if head.subscription == replay.name]
        return all(head.status is LetterStatus.DEAD for head in mine)

    async def _let_go(self, replay: Replay) -> None:
        """Remove what is left of a replay as soon as no node runs it."""
        name, runtime = replay.name, self._runtime
        if name in await runtime.in_use_elsewhere():
            return
        fact, offsets = FACT + name, await runtime.store.offsets()
        gone = [fact, PAUSED + name, *facts_of(await runtime.store.registry(), name)]
        await runtime.facts.change(
            Commit(
                registry=dict.fromkeys(gone),
                expected={fact: msgspec.json.encode(replay)},
                forgotten=names_of(name, offsets),
            )
        )


def _left(replay: Replay, offsets: Mapping[tuple[str, int], int]) -> int:
    """Return how many positions are not passed yet."""
    return sum(
        max(0, end - offsets.get((replay.name, shard), replay.begins.get(shard, 0)))
        for shard, end in replay.ends.items()
    )
