"""Inspection: what an operator may see of a running node. Reads the store, changes nothing.

Place on the road: beside it. Entities are folded here from what is committed, never taken from the
turns' memory, which may be ahead of the store; so looking neither fills nor disturbs the cache.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import datetime
from itertools import islice
from typing import NamedTuple

import msgspec

from eventmill.engine.difference import Difference, differences
from eventmill.engine.entity import Live
from eventmill.errors import InvalidPayload, NotFound, UnknownComponent
from eventmill.model import cursor, limits
from eventmill.model.commit import Timer
from eventmill.model.definition import EntityDefinition
from eventmill.model.entry import DELETED, Entry, size_of, size_of_all
from eventmill.ports.store import is_last
from eventmill.runtime.dispatch.tails import Positions, Stretch
from eventmill.runtime.keeping import Keeping, keeping_of
from eventmill.runtime.runtime import Runtime
from eventmill.runtime.turns import past
from eventmill.runtime.turns.restoring import restore

PAGE_MAX = 1_000
"""Rows of one page."""

_BEHIND_OURS = "$\x7f"
"""Sorts behind the names of the platform's own timers, `$tick/…` and such, and before all others that do."""

WAIT_SECONDS_MAX = 30.0
"""How long one tail request may wait for something new."""

SCANS_MAX = 1_024
"""Stretches of the journal looked at in one request to find a topic's messages."""


class Component(msgspec.Struct, frozen=True):
    """An entity component."""

    id: str
    kind: str
    commands: list[str]
    queries: list[str]
    events: list[str]


class Instance(msgspec.Struct, frozen=True):
    """One entity of a component."""

    id: str
    sequence: int
    deleted: bool


class Moment(NamedTuple):
    """When an entity is looked at: after a sequence, at a time, or now."""

    sequence: int | None = None
    time: datetime | None = None


class State(msgspec.Struct, frozen=True):
    """An entity as it was after an event."""

    component: str
    id: str
    sequence: int
    deleted: bool
    time: int
    """Of its latest event, microseconds since the epoch."""
    state: msgspec.Raw


class Comparison(msgspec.Struct, frozen=True):
    """Two states of an entity beside each other."""

    before: State
    after: State
    differences: list[Difference]
    is_whole: bool
    """Whether these are all."""


class TopicFacts(msgspec.Struct, frozen=True):
    """A topic."""

    id: str
    types: list[str]
    key: str
    end: int
    """Where its shards end, together; its messages have positions up to there."""
    service: str = ""
    """Whose it is, if it is another's."""
    waiting: str = ""
    """Why nothing of it is read now."""
    keeping: Keeping = Keeping()
    """How its messages are kept, if it is this service's."""


class Messages(msgspec.Struct, frozen=True):
    """A stretch of a topic."""

    messages: list[Entry]
    position: str
    """Continue after this cursor."""
    start: int
    """Positions up to this one, of all shards together, were not looked at."""
    is_end: bool
    """Whether there was nothing behind it."""


class Inspection:
    """Looks at one runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def components(self) -> list[Component]:
        """The entity components of the service."""
        return [_component(d) for d in self._runtime.service.entities.values()]

    async def instances(
        self, component: str, *, after: str = "", limit: int = 100
    ) -> list[Instance]:
        """List entities of a component by id, above `after`; deleted ones until they are removed.

        Raises `UnknownComponent`.
        """
        self._definition(component)
        journal = self._runtime.store.journal
        rows = await journal.subjects(component, after=after, limit=min(limit, PAGE_MAX))
        found = []
        for id, sequence in rows:
            last = await journal.history(component, id, after=sequence - 1, limit=1)
            found.append(Instance(id, sequence, any(entry.type == DELETED for entry in last)))
        return found

    async def state(
        self,
        component: str,
        id: str,
        *,
        sequence: int | None = None,
        time: datetime | None = None,
    ) -> State:
        """Fold an entity, as it is or as it was after a sequence or at a time.

        Raises `UnknownComponent`, `NotFound` for an entity without events up to there or for a
        sequence that it has not reached, `Conflict` for the past of a key-value entity, which has no history.
        """
        definition = self._definition(component)
        journal = self._runtime.store.journal
        if sequence is None and time is None:
            live = Live(definition, id)
            await restore(journal, live)
            if self._runtime.replication is not None and definition.replicated is not None:
                live.state.hold((await self._runtime.replication.log.load(component, id))[0])
        else:
            until = round(time.timestamp() * 1e6) if time is not None else None
            live = await past.restore(journal, definition, id, sequence=sequence, time=until)
        if live.identity.sequence == 0:
            when = "" if sequence is None and time is None else " up to there"
            raise NotFound(f"{component}/{id} has no events{when}")
        return State(
            component,
            id,
            live.identity.sequence,
            live.deleted,
            live.identity.now,
            msgspec.Raw(definition.show_state(live.state)),
        )

    async def difference(
        self, component: str, id: str, before: Moment, after: Moment | None = None
    ) -> Comparison:
        """Compare an entity as it was at two moments; without the second, as it was and as it is.

        Raises as `state`.
        """
        old, new = [
            await self.state(component, id, sequence=moment.sequence, time=moment.time)
            for moment in (before, after or Moment())
        ]
        states = [msgspec.json.decode(state.state) for state in (old, new)]
        found = list(islice(differences(*states), limits.DIFFERENCES_MAX + 1))
        is_whole = len(found) <= limits.DIFFERENCES_MAX
        return Comparison(old, new, found[: limits.DIFFERENCES_MAX], is_whole)

    async def events(
        self,
        component: str,
        id: str,
        *,
        after: int = 0,
        limit: int = 100,
        wait_seconds: float = 0.0,
    ) -> list[Entry]:
        """List an entity's entries with a sequence above `after`: up to `limit`, and not many more
        than bring `PAGE_BYTES_MAX` bytes; wait for the first if there is none. Only an empty page is the last.

        Raises `UnknownComponent`.
        """
        self._definition(component)
        if wait_seconds <= 0:
            return await self._page_of(component, id, after, limit)
        watching = self._runtime.changes.watching(component, id)
        with watching as watched, contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(wait_seconds, WAIT_SECONDS_MAX)):
                while self._runtime.ready:
                    seen = watched.seen
                    if found := await self._page_of(component, id, after, limit):
                        return found
                    await watched.beyond(seen)
        return []

    async def _page_of(self, component: str, id: str, after: int, limit: int) -> list[Entry]:
        journal = self._runtime.store.journal
        found: list[Entry] = []
        limit = min(limit, PAGE_MAX)
        while True:
            left = limit - len(found)
            page = await journal.history(component, id, after=after, limit=left)
            found += page
            if is_last(page, left) or len(found) >= limit or _is_full(found):
                return found
            after = page[-1].sequence
            await asyncio.sleep(0)  # large events must not hold up the node's work

    async def topics(self) -> list[TopicFacts]:
        """The topics of the service, and those of others that it follows."""
        tails, placement = self._runtime.tails, self._runtime.store.placement
        service, foreign = self._runtime.service, self._runtime.foreign
        waiting = foreign.waiting if foreign is not None else {}
        return [
            TopicFacts(
                topic.id,
                [kind.name for kind in topic.event_types()],
                topic.key if isinstance(topic.key, str) else topic.key.__name__,
                sum((await tails.find_ends(placement.of_topic(topic.id))).values()),
                topic.service,
                waiting.get(topic.id, ""),
                keeping_of(topic),
            )
            for topic in (*service.topics.values(), *service.foreign.values())
        ]

    async def messages(
        self, topic: str, *, after: str, limit: int = 100, wait_seconds: float = 0.0
    ) -> Messages:
        """Read a topic's messages after a cursor or a position; wait for the first if there is
        none.

        Raises `NotFound` for an unknown topic, `InvalidPayload` for a cursor of something else.
        """
        self._check_topic(topic)
        limit, start = min(limit, PAGE_MAX), await self.cursor(topic, after)
        async with self._runtime.following(topic):
            found, positions = await self._forward(topic, start, limit)
            if not found and wait_seconds > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(wait_seconds, WAIT_SECONDS_MAX)):
                        while not found and self._runtime.ready:
                            await self._runtime.tails.wait(positions)
                            found, positions = await self._forward(topic, positions, limit)
            return self._page(found, positions, start)

    async def last_messages(self, topic: str, *, limit: int) -> Messages:
        """Read a topic's last messages: up to `limit`, as many as bring `PAGE_BYTES_MAX` bytes, as
        far back as `SCANS_MAX` stretches.

        Raises `NotFound` for an unknown topic.
        """
        self._check_topic(topic)
        limit = min(limit, PAGE_MAX)
        shards = self._runtime.store.placement.of_topic(topic)
        ends = await self._runtime.tails.find_ends(shards)
        found: list[Entry] = []
        starts: dict[int, int] = {}
        for shard, end in ends.items():
            last, starts[shard] = await self._backward(topic, shard, end, limit, len(ends))
            found += last
        if len(ends) > 1:
            found.sort(key=lambda entry: entry.time)
        return self._page(_newest(found, limit), ends, starts)

    async def cursor(self, topic: str, text: str) -> dict[int, int]:
        """Read where somebody wants to begin: `beginning`, `latest`, an id, or a position where the
        topic has one shard.

        Raises `InvalidPayload`.
        """
        shards = self._runtime.store.placement.of_topic(topic)
        ends = await self._runtime.tails.find_ends(shards)
        if text == "latest":
            return ends
        if text in ("beginning", "0"):
            return dict.fromkeys(shards, 0)
        if text.isascii() and text.isdecimal() and len(shards) == 1:
            text = f"{shards[0]}:{text}"
        positions = cursor.read(text)
        if not positions.keys() <= ends.keys():
            raise InvalidPayload(f"{text[:40]!r} is no place in topic {topic!r}")
        return {shard: min(positions.get(shard, 0), end) for shard, end in ends.items()}

    def _page(self, found: list[Entry], positions: Positions, start: Positions) -> Messages:
        is_end = not self._runtime.tails.lag(positions)
        return Messages(found, cursor.write(positions), sum(start.values()), is_end)

    async def timers(
        self, *, after: str = "", limit: int = 100, everything: bool = False
    ) -> list[Timer]:
        """List users' timers by name; with `everything` also the platform's own."""
        store, limit = self._runtime.store, min(limit, PAGE_MAX)
        found = await store.timers(after=after, limit=limit)
        if everything or not found:
            return found
        users = [timer for timer in found if not timer.name.startswith("$")]
        # A page of nothing but the platform's: they stand together, users' go on behind them.
        return users or await store.timers(after=_BEHIND_OURS, limit=limit)

    def _check_topic(self, id: str) -> None:
        """Raise `NotFound` for a topic that is neither the service's nor one that it follows."""
        service = self._runtime.service
        if id not in service.topics and id not in service.foreign:
            known = ", ".join([*service.topics, *service.foreign]) or "none"
            raise NotFound(f"no topic {id!r}; there is {known}")

    def _definition(self, component: str) -> EntityDefinition:
        definition = self._runtime.service.entities.get(component)
        if definition is None:
            known = ", ".join(self._runtime.service.entities) or "none"
            raise UnknownComponent(f"no entity component {component!r}; there is {known}")
        return definition

    async def _backward(
        self, topic: str, shard: int, end: int, limit: int, shards: int
    ) -> tuple[list[Entry], int]:
        """Read a shard's last messages of a topic; say from where on was looked."""
        found: list[Entry] = []
        high, step = end, limit
        for _ in range(SCANS_MAX // shards):
            if high == 0 or len(found) >= limit or _is_full(found):
                break
            low = max(0, high - step)
            found = _newest([*await self._between(topic, shard, low, high, limit), *found], limit)
            high, step = low, min(2 * step, limits.SCAN_ROWS)
        return found, high

    async def _between(
        self, topic: str, shard: int, low: int, high: int, limit: int
    ) -> list[Entry]:
        """Read a topic's last messages of one stretch of a shard."""
        tails, sources = self._runtime.tails, frozenset({topic})
        found: list[Entry] = []
        while low < high:
            scan = await tails.between(shard, low, high, sources)
            found = _newest([*found, *scan.entries], limit)
            low = scan.position
            await asyncio.sleep(0)  # a long way back must not hold up the node's work
        return found

    async def _forward(
        self, topic: str, after: Positions, limit: int
    ) -> tuple[list[Entry], dict[int, int]]:
        """Read up to `limit` messages of a topic, or as many as fill a page; say up to where was
        looked."""
        tails, sources = self._runtime.tails, frozenset({topic})
        found: list[Entry] = []
        positions = dict(after)
        stretch = Stretch([], {})
        for _ in range(SCANS_MAX):
            stretch = await tails.read(
                positions, limit=limits.SCAN_ROWS, sources=sources, first=stretch.next
            )
            if not stretch.positions:
                break
            room = limit - len(found)
            found += stretch.entries[:room]
            positions.update(stretch.positions)
            for entry in reversed(stretch.entries[room:]):
                positions[entry.shard] = entry.position - 1
            if len(found) >= limit or _is_full(found):
                break
            await asyncio.sleep(0)  # a long scan must not hold up the node's work
        return found, positions


def _is_full(page: list[Entry]) -> bool:
    return size_of_all(page) >= limits.PAGE_BYTES_MAX


def _newest(entries: list[Entry], limit: int) -> list[Entry]:
    """Return the last entries that one page takes."""
    room, left = limits.PAGE_BYTES_MAX, limit
    for entry in reversed(entries):
        if room <= 0 or left == 0:
            break
        room -= size_of(entry)
        left -= 1
    return entries[len(entries) - (limit - left) :]


def _component(definition: EntityDefinition) -> Component:
    return Component(
        definition.id,
        definition.kind,
        list(definition.commands),
        list(definition.queries),
        sorted({kind.name for kind in definition.event_types.values()}),
    )
