"""Inspection: what an operator may see of a running node. Reads the store, changes nothing.

Place on the road: beside it. Entities are folded here from what is committed, never taken from the
turns' memory, which may be ahead of the store; so looking neither fills nor disturbs the cache.
"""

from __future__ import annotations

import asyncio
from datetime import datetime

import msgspec

from eventmill.engine.entity import Live
from eventmill.errors import NotFound, UnknownComponent
from eventmill.model import limits
from eventmill.model.commit import Timer
from eventmill.model.definition import EntityDefinition
from eventmill.model.entry import Entry
from eventmill.runtime import past
from eventmill.runtime.runtime import Runtime

PAGE_MAX = 1_000
"""Rows of one page."""

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


class State(msgspec.Struct, frozen=True):
    """An entity as it was after an event."""

    component: str
    id: str
    sequence: int
    deleted: bool
    time: int
    """Of its latest event, microseconds since the epoch."""
    state: msgspec.Raw


class TopicFacts(msgspec.Struct, frozen=True):
    """A topic."""

    id: str
    types: list[str]
    key: str
    end: int
    """The journal's end; a topic's messages have positions up to it."""


class Messages(msgspec.Struct, frozen=True):
    """A stretch of a topic."""

    messages: list[Entry]
    position: int
    """Continue after it."""
    start: int
    """Positions up to this one were not looked at."""


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
        """List entities of a component by id, above `after`.

        Raises `UnknownComponent`.
        """
        self._definition(component)
        journal = self._runtime.store.journal
        rows = await journal.subjects(component, after=after, limit=min(limit, PAGE_MAX))
        return [Instance(id, sequence) for id, sequence in rows]

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
        if sequence is None and time is None:
            live = await self._restore(Live(definition, id))
        else:
            until = round(time.timestamp() * 1e6) if time is not None else None
            journal = self._runtime.store.journal
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
            msgspec.Raw(definition.encode_state(live.state)),
        )

    async def events(
        self, component: str, id: str, *, after: int = 0, limit: int = 100
    ) -> list[Entry]:
        """List an entity's entries with a sequence above `after`.

        Raises `UnknownComponent`.
        """
        self._definition(component)
        journal = self._runtime.store.journal
        return await journal.history(component, id, after=after, limit=min(limit, PAGE_MAX))

    def topics(self) -> list[TopicFacts]:
        """The topics of the service."""
        end = self._runtime.tail.position
        return [
            TopicFacts(
                topic.id,
                [kind.name for kind in topic.event_types()],
                topic.key if isinstance(topic.key, str) else topic.key.__name__,
                end,
            )
            for topic in self._runtime.service.topics.values()
        ]

    async def messages(
        self, topic: str, *, after: int, limit: int = 100, wait_seconds: float = 0.0
    ) -> Messages:
        """Read a topic's messages after a position; wait for the first if there is none.

        Raises `NotFound` for an unknown topic.
        """
        self._runtime.topic(topic)
        limit = min(limit, PAGE_MAX)
        found, position = await self._forward(topic, after, limit)
        if not found and wait_seconds > 0:
            try:
                async with asyncio.timeout(min(wait_seconds, WAIT_SECONDS_MAX)):
                    while not found and self._runtime.ready:
                        await self._runtime.tail.wait(position)
                        found, position = await self._forward(topic, position, limit)
            except TimeoutError:
                return Messages([], position, after)
        return Messages(found, position, after)

    async def last_messages(self, topic: str, *, limit: int) -> Messages:
        """Read a topic's last messages, as far back as `SCANS_MAX` stretches.

        Raises `NotFound` for an unknown topic.
        """
        self._runtime.topic(topic)
        tail = self._runtime.tail
        end = high = tail.position
        found: list[Entry] = []
        for _ in range(SCANS_MAX):
            if high == 0 or len(found) >= limit:
                break
            low = max(0, high - limits.SCAN_ROWS)
            scan = await self._runtime.store.journal.read(
                tail.shard, low, limit=high - low, sources=frozenset({topic})
            )
            found = [*scan.entries, *found]
            high = low
            await asyncio.sleep(0)  # a long way back must not hold up the node's work
        return Messages(found[-min(limit, PAGE_MAX) :] if limit else [], end, high)

    async def timers(self, *, after: str = "", limit: int = 100) -> list[Timer]:
        """List timers by name."""
        return await self._runtime.store.timers(after=after, limit=min(limit, PAGE_MAX))

    def _definition(self, component: str) -> EntityDefinition:
        definition = self._runtime.service.entities.get(component)
        if definition is None:
            known = ", ".join(self._runtime.service.entities) or "none"
            raise UnknownComponent(f"no entity component {component!r}; there is {known}")
        return definition

    async def _restore(self, live: Live) -> Live:
        journal, definition = self._runtime.store.journal, live.definition
        snapshot, entries = await journal.load(definition.id, live.id)
        if snapshot is not None and snapshot.schema != definition.schema:
            return await past.restore(journal, definition, live.id, sequence=None, time=None)
        live.restore(snapshot, entries)
        latest = entries[-1] if entries else snapshot
        live.identity.now = latest.time if latest is not None else 0
        return live

    async def _forward(self, topic: str, after: int, limit: int) -> tuple[list[Entry], int]:
        """Read up to `limit` messages of a topic; say up to where was looked."""
        tail = self._runtime.tail
        found: list[Entry] = []
        for _ in range(SCANS_MAX):
            scan = await tail.read(after, limit=limits.SCAN_ROWS, sources=frozenset({topic}))
            if scan.position == after:
                break
            found += scan.entries
            after = scan.position
            if len(found) >= limit:
                found = found[:limit]
                return found, found[-1].position
            await asyncio.sleep(0)  # a long scan must not hold up the node's work
        return found, after


def _component(definition: EntityDefinition) -> Component:
    return Component(
        definition.id,
        "key-value entity" if definition.is_key_value else "event-sourced entity",
        list(definition.commands),
        list(definition.queries),
        sorted({kind.name for kind in definition.event_types.values()}),
    )
