"""The shadow of a consumer: its function run again over the past, in a group of its own.

Place on the road: dispatch, as the reaction of a replay (`runtime.control.replays`). What the
function returns is counted and summed up into a digest; it happens only if the replay is to have
effects. The function is told (`ctx.replay`), and its calls to the outside carry the keys of the first
time.

Invariant: a tally is written in the commit that moves the offset, by the node that holds the shard,
so each event counts once, whatever was repeated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import msgspec

from eventmill.engine.outgoing import Expansion
from eventmill.errors import Rejected
from eventmill.model.commit import Commit
from eventmill.model.definition import ConsumerDefinition
from eventmill.model.effect import Effect, Outgoing
from eventmill.model.entry import COMMANDS, Entry
from eventmill.model.handler import Handler
from eventmill.model.replaying import DIGESTS, Replay, Tally
from eventmill.model.topic import Topic
from eventmill.ports.clock import Clock
from eventmill.ports.store import Store
from eventmill.runtime.dispatch.consumer import ConsumerReaction
from eventmill.runtime.dispatch.reaction import Reacted
from eventmill.runtime.room import Room
from eventmill.sdk.context import Calls, Context, Request

FACT = "tally/"
"""Begins the durable fact what came of a replay in a home shard: its name and the shard follow."""


class ShadowReaction(ConsumerReaction):
    """Runs a consumer's function for a replay."""

    exclusive = True
    """A retry beside a batch would count into the same tally."""

    def __init__(
        self,
        definition: ConsumerDefinition,
        replay: Replay,
        calls: Calls,
        store: Store,
        clock: Clock,
        room: Room,
        *,
        guarded: bool,
    ) -> None:
        calls = calls if replay.effects else _Dry(calls)
        super().__init__(definition, calls, store, clock, room, guarded=guarded)
        self._replay = replay
        self._made: dict[tuple[int, int], Tally] = {}
        """Of entries that have effects and were not committed yet."""
        self._tallies: dict[int, Tally] = {}
        """By home shard, as they are stored."""
        self._added: dict[int, Tally] = {}
        """By the batch under way."""

    async def react(self, entries: list[Entry], attempt: int) -> Reacted:
        home = self._store.placement.home
        if self._added:  # what became of the last commit is not known
            self._tallies.clear()
        await self._load({home(entry.shard) for entry in entries})
        reacted = await super().react(entries, attempt)
        undone = {id(entry) for entry, _ in reacted.failed}
        undone.update(map(id, (*reacted.behind, *reacted.left)))
        self._added = {}
        for entry in entries:
            if id(entry) not in undone:
                made = self._made.pop((entry.shard, entry.position), Tally())
                before = self._added.get(home(entry.shard), Tally())
                self._added[home(entry.shard)] = before.plus(made).plus(Tally(1))
        reacted.fills.append(self._note)
        return reacted

    def committed(self) -> None:
        for home, added in self._added.items():
            self._tallies[home] = self._tallies[home].plus(added)
        self._added = {}

    def taken(self, ends: Mapping[int, int]) -> None:
        super().taken(ends)
        self._tallies.clear()
        self._made.clear()

    async def _load(self, homes: set[int]) -> None:
        if homes <= self._tallies.keys():
            return
        stored = await self._store.registry()
        for home in homes - self._tallies.keys():
            fact = stored.get(_fact(self._replay.name, home), b"{}")
            self._tallies[home] = msgspec.json.decode(fact, type=Tally)

    def _note(self, commit: Commit) -> None:
        for home, added in self._added.items():
            whole = self._tallies[home].plus(added)
            commit.registry[_fact(self._replay.name, home)] = msgspec.json.encode(whole)

    def _context(self, entry: Entry, attempt: int) -> Context:
        context = super()._context(entry, attempt)
        context.replay = True
        return context

    def _expanded(self, effect: Effect[Any], cause: Entry) -> Expansion:
        expansion = super()._expanded(effect, cause)
        self._made[cause.shard, cause.position] = _tally_of(expansion, cause)
        return expansion if self._replay.effects else Expansion()


class _Dry:
    """The rest of the node for a replay without effects: it answers queries, nothing else."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def call(
        self,
        handler: Handler[Any, Any],
        id: str,
        arguments: tuple[Any, ...],
        idempotency_key: str | None,
        cause: Entry | None,
    ) -> Any:
        if handler.writes:
            raise _refused(f"{handler.component}.{handler.name}")
        return await self._calls.call(handler, id, arguments, idempotency_key, cause)

    async def query(self, handler: Handler[Any, Any], arguments: tuple[Any, ...]) -> Any:
        return await self._calls.query(handler, arguments)

    async def ask(self, request: Request) -> bytes:
        raise _refused(f"{request.service}/{request.component}.{request.name}")

    async def publish(self, topic: Topic[Any], events: tuple[Any, ...], key: str | None) -> None:
        raise _refused(f"ctx.publish to {topic.id!r}")

    async def set_timer(self, change: Outgoing, cause: Entry | None) -> None:
        raise _refused("ctx.schedule or ctx.cancel")


def tally_in(facts: Mapping[str, bytes], name: str) -> Tally:
    """Add up what came of a replay, of all that is stored."""
    whole = Tally()
    for fact in facts_of(facts, name):
        whole = whole.plus(msgspec.json.decode(facts[fact], type=Tally))
    return whole


def facts_of(facts: Mapping[str, bytes], name: str) -> list[str]:
    """Return the names of a replay's tallies."""
    return [fact for fact in facts if fact.rpartition("/")[0] == FACT + name]


def _fact(name: str, home: int) -> str:
    return f"{FACT}{name}/{home}"


def _refused(what: str) -> Rejected:
    return Rejected(
        f"this is a replay without effects: {what} is not called. Replay with effects, or return an "
        "effect instead of calling",
        code="replay.dry",
    )


def _tally_of(expansion: Expansion, cause: Entry) -> Tally:
    """Count effects; sum up what they are, but for the time at which they were made."""
    counts = Counter(_kind_of(entry) for entry in expansion.entries)
    told: list[Any] = [_told(entry) for entry in expansion.entries]
    for name, timer in expansion.timers.items():
        counts["cancel" if timer is None else f"schedule {_command_of(timer.command)}"] += 1
        told.append((name, None if timer is None else _told(timer.command)))
    content = msgspec.msgpack.encode((cause.id, told))
    number = int.from_bytes(blake2b(content, digest_size=8).digest(), "big")
    return Tally(0, dict(counts), number % DIGESTS)


def _told(entry: Entry) -> tuple[Any, ...]:
    return (entry.source, entry.subject, entry.type, entry.version, entry.payload)


def _kind_of(entry: Entry) -> str:
    return f"send {_command_of(entry)}" if entry.source == COMMANDS else f"publish {entry.source}"


def _command_of(entry: Entry) -> str:
    return f"{entry.subject.partition('/')[0]}.{entry.type}"
