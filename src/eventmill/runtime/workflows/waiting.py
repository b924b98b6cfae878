"""Waiting: finds the workflows that wait for an event, and sends it to them.

Place on the road: dispatch, a reaction like the others: one subscription for each source that workflows
of a component wait on. A wait is a row of the store, found by the source and the key; what is sent is a
command in the same commit as the offset, so it comes exactly once in effect, wherever the workflow lives.
What was read before there was a row is found by the wait itself (`looking_back`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

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
from eventmill.runtime.workflows.looking_back import LookBack
from eventmill.runtime.workflows.matching import event_of

if TYPE_CHECKING:
    from eventmill.runtime.runtime import Runtime

FIRST_PAGE = 8
"""Waits that are looked for at first."""


class Waiting(NamedTuple):
    """A wait, as it is stored."""

    row: Timer
    due: Due


class Gift(NamedTuple):
    """What a wait is given."""

    wait: Waiting
    event: bytes
    entry: Entry


Found = dict[str, list[Waiting]]
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
        gifts: list[Gift] = []
        for at, entry in enumerate(entries):
            if reacted.weight >= limits.COMMIT_BYTES_MAX:
                reacted.left = entries[at:]
                break
            if found is None and entry.subject not in known:
                known[entry.subject] = await self._waits_for(entry.subject)
            if known.get(entry.subject):
                new = self._gifts(entry, known)
                reacted.weight += sum(len(gift.event) + len(entry.metadata or b"") for gift in new)
                gifts += new
                await asyncio.sleep(0)  # many waits for one key must not hold up the node's work
        if gifts:
            commands = await self._commands(gifts)
            reacted.fills.append(lambda commit: commit.entries.extend(commands))
        return reacted

    def _gifts(self, entry: Entry, known: Found) -> list[Gift]:
        """Find out who is given an entry; whoever is takes none of those behind it."""
        gifts: list[Gift] = []
        left: list[Waiting] = []
        store = self._store.placement.store
        for wait in known[entry.subject]:
            was_taken = wait.due.took(entry.position, store)
            event = None if was_taken else event_of(self._source, wait.due, entry)
            if event is None:
                left.append(wait)
            else:
                gifts.append(Gift(wait, event, entry))
        known[entry.subject] = left
        return gifts

    async def _few(self) -> Found | None:
        """Return all waits for the source by key; None if these are many: then only those for the
        keys that came are read."""
        found: Found = {}
        async for number, wait in self._read(rows.waits_of(self._component, self._source.id)):
            if number >= limits.WAITS_AT_ONCE:
                return None
            found.setdefault(wait.due.key, []).append(wait)
        return found

    async def _waits_for(self, key: str) -> list[Waiting]:
        """Return all waits for a key: an event comes once, so none may be left out."""
        prefix = rows.waits_for(self._component, self._source.id, key)
        return [wait async for _, wait in self._read(prefix)]

    async def _read(self, prefix: str) -> AsyncIterator[tuple[int, Waiting]]:
        """Yield waits by name, numbered from 0; few are read at first, because mostly there are none,
        and what follows in the order of names are timers of others."""
        number, after, limit = 0, prefix, FIRST_PAGE
        while page := await self._store.timers(after=after, limit=limit):
            for timer in page:
                if not timer.name.startswith(prefix):
                    return
                yield number, Waiting(timer, rows.read(timer)[2])
                number += 1
            after, limit = page[-1].name, limits.WAITS_AT_ONCE

    async def _commands(self, gifts: list[Gift]) -> list[Entry]:
        """Return the commands that give workflows what they wait for."""
        looking = [gift for gift in gifts if gift.wait.due.looks and gift.wait.due.types]
        before = await asyncio.gather(*(self._before(gift) for gift in looking))
        firsts = {gift.wait.row.name: first for gift, first in zip(looking, before, strict=True)}
        return [self._command(firsts.get(gift.wait.row.name) or gift) for gift in gifts]

    def _command(self, gift: Gift) -> Entry:
        due, entry = gift.wait.due, gift.entry
        position = entry.position if due.types else 0
        arguments = (due.number, msgspec.Raw(gift.event), position)
        payload = OF_WORKFLOWS[ARRIVED].encode_arguments(arguments)
        home = self._store.placement.home(entry.shard)
        now, cause = self._clock.now(), caused_by(entry)
        subject = gift.wait.row.command.subject
        return Entry(COMMANDS, subject, 0, ARRIVED, 1, now, payload, cause, None, home)

    async def _before(self, gift: Gift) -> Gift | None:
        """Return what comes first of a wait that has not looked back yet: it may have come before."""
        component, id, due = rows.read(gift.wait.row)
        until = gift.entry.position
        found = await self._look_back.first((component, id), self._source, due, until)
        if found is None or found.entry is None:
            return None
        return Gift(gift.wait, found.event, found.entry)

    def committed(self) -> None:
        """Nothing is kept in memory between batches."""

    def taken(self, ends: Mapping[int, int]) -> None:
        """Nothing is kept in memory between batches."""
