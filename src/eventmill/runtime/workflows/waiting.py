"""Waiting: finds the workflows that wait for an event, and sends it to them.

Place on the road: dispatch, a reaction like the others: one subscription for each source that workflows
of a component wait on. A wait is a row of the store, found by the source and the key; what is sent is a
command in the same commit as the offset, so it comes exactly once in effect, wherever the workflow lives.
What was read before there was a row is found by the wait itself (`looking_back`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING

import msgspec

from eventmill.engine.causation import caused_by
from eventmill.engine.workflows import rows
from eventmill.engine.workflows.rows import Due
from eventmill.model import limits
from eventmill.model.commit import Timer
from eventmill.model.definition import EntityDefinition, Retry, Source, Start
from eventmill.model.entry import COMMANDS, DELETED, STATE, Entry
from eventmill.model.orders import ARRIVED, OF_WORKFLOWS
from eventmill.ports.clock import Clock
from eventmill.ports.store import Store
from eventmill.runtime.dispatch.reaction import Reacted
from eventmill.runtime.turns.cells import Key
from eventmill.runtime.workflows.looking_back import LookBack
from eventmill.runtime.workflows.matching import event_of

if TYPE_CHECKING:
    from eventmill.runtime.runtime import Runtime

FIRST_PAGE = 8
"""Waits that are looked for at first."""

Found = dict[str, list[Timer]]
"""Waits by key."""


async def subscribe(runtime: Runtime, look_back: LookBack) -> None:
    """Follow what the workflows of a service wait on, from now on where that is new."""
    for entity in runtime.service.entities.values():
        for source in entity.workflow.sources.values() if entity.workflow else ():
            reaction = WaitReaction(entity, source, runtime.store, runtime.clock, look_back)
            name = f"$waits.{entity.id}.{source.id.replace('/', '.')}"
            await runtime.roster.subscribe(name, reaction, Start.LATEST)


class WaitReaction:
    """The reaction of the workflows of one component to the events of one source."""

    retry = Retry()
    batch = limits.DISPATCH_BATCH
    exclusive = False
    whole = False
    waits = False
    quiet = 0.0

    def __init__(
        self,
        definition: EntityDefinition,
        source: Source,
        store: Store,
        clock: Clock,
        look_back: LookBack,
    ) -> None:
        self.sources = frozenset({source.id})
        self.skipped = frozenset({(source.id, STATE), (source.id, DELETED)})
        self._component = definition.id
        self._source = source
        self._store = store
        self._clock = clock
        self._look_back = look_back

    async def react(self, entries: list[Entry], attempt: int) -> Reacted:
        reacted = Reacted()
        found = await self._few()
        if found is not None and not found:
            return reacted
        known: Found = found or {}
        commands: list[Entry] = []
        for at, entry in enumerate(entries):
            if reacted.weight >= limits.COMMIT_BYTES_MAX:
                reacted.left = entries[at:]
                break
            if found is None and entry.subject not in known:
                known[entry.subject] = await self._waits_for(entry.subject)
            for wait in known.get(entry.subject, ()):
                command = await self._command(entry, wait)
                if command is not None:
                    commands.append(command)
                    reacted.weight += len(command.payload) + len(command.metadata or b"")
        if commands:
            reacted.fills.append(lambda commit: commit.entries.extend(commands))
        return reacted

    async def _few(self) -> Found | None:
        """Return all waits for the source by key; None if these are many: then only those for the
        keys that came are read."""
        found: Found = {}
        async for number, wait in self._read(rows.waits_of(self._component, self._source.id)):
            if number >= limits.WAITS_AT_ONCE:
                return None
            _, _, due = rows.read(wait)
            found.setdefault(due.key, []).append(wait)
        return found

    async def _waits_for(self, key: str) -> list[Timer]:
        """Return all waits for a key: an event comes once, so none may be left out."""
        prefix = rows.waits_for(self._component, self._source.id, key)
        return [wait async for _, wait in self._read(prefix)]

    async def _read(self, prefix: str) -> AsyncIterator[tuple[int, Timer]]:
        """Yield waits by name, numbered from 0; few are read at first, because mostly there are none,
        and what follows in the order of names are timers of others."""
        number, after, limit = 0, prefix, FIRST_PAGE
        while page := await self._store.timers(after=after, limit=limit):
            for timer in page:
                if not timer.name.startswith(prefix):
                    return
                yield number, timer
                number += 1
            after, limit = page[-1].name, limits.WAITS_AT_ONCE

    async def _command(self, entry: Entry, wait: Timer) -> Entry | None:
        """Return the command that gives the event to the workflow, if it is the one."""
        component, id, due = rows.read(wait)
        event = event_of(self._source, due, entry)
        if event is None:
            return None
        if due.looks and (before := await self._before(entry, (component, id), due)) is not None:
            event, entry = before
        position = entry.position if due.types else 0
        arguments = (due.number, msgspec.Raw(event), position)
        payload = OF_WORKFLOWS[ARRIVED].encode_arguments(arguments)
        home = self._store.placement.home(entry.shard)
        now, cause = self._clock.now(), caused_by(entry)
        subject = wait.command.subject
        return Entry(COMMANDS, subject, 0, ARRIVED, 1, now, payload, cause, None, home)

    async def _before(self, entry: Entry, workflow: Key, due: Due) -> tuple[bytes, Entry] | None:
        """Return the first event of a wait that has not looked back yet: it may have come before."""
        if not due.types:
            return None
        found = await self._look_back.first(workflow, self._source, due, entry.position)
        return (found.event, found.entry) if found is not None and found.entry else None

    def committed(self) -> None:
        """Nothing is kept in memory between batches."""

    def taken(self, ends: Mapping[int, int]) -> None:
        """Nothing is kept in memory between batches."""
