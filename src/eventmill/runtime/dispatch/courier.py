"""The courier: delivers sent commands to their entities, exactly once in effect.

A sent command is an entry of source `$commands` with subject `component/id`; that of an action becomes
an entry of the action's own source, in the commit that moves the offset. The entity remembers
the position of the last one that had an effect, together with that effect, so a second delivery
after a crash does nothing. A rejection is an answer nobody waits for: it is kept as a `refused`
letter and blocks nobody.

Commands for entities of other nodes travel at the same time, those of one entity one after the
other: its mark says that everything up to it was done. The offset moves when all of a batch are
done, refused or parked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import TYPE_CHECKING, Final

from eventmill.engine import causation
from eventmill.engine.entity import NULL
from eventmill.engine.outgoing import call_of
from eventmill.errors import Deleted, Rejected, Unavailable
from eventmill.model import limits
from eventmill.model.commit import Commit
from eventmill.model.definition import Retry
from eventmill.model.entry import COMMANDS, Entry
from eventmill.model.envelope import Envelope
from eventmill.model.transform import IDLE
from eventmill.ports.store import Store
from eventmill.runtime.committer import look_at
from eventmill.runtime.dispatch import lanes
from eventmill.runtime.dispatch.reaction import Queue, Reacted
from eventmill.runtime.turns.turn import Entities, repeat

if TYPE_CHECKING:
    from eventmill.runtime.replicated.replicas import Replicas

NAME: Final = "$courier"

Execute = Callable[[Envelope], Awaitable[bytes]]
"""Runs a command wherever its entity lives."""


class _Delivery:
    """One batch on its way."""

    def __init__(self, doubtful: Mapping[int, int]) -> None:
        self.doubtful = doubtful
        """By shard: up to this position a command may have been delivered before."""
        self.reacted = Reacted()
        self.failed: set[Queue] = set()
        self.waiting: set[asyncio.Future[bytes]] = set()
        """Commits, most of them of many commands."""
        self.latest: dict[Queue, asyncio.Future[bytes]] = {}
        """Of each entity and shard, the latest command that waits for its commit."""
        self.trouble: BaseException | None = None
        """Why the whole batch must be repeated."""


class Courier:
    """The reaction to `$commands`."""

    sources = frozenset({COMMANDS})
    skipped = frozenset({(COMMANDS, IDLE)})  # transforms take them
    retry = Retry()
    batch = limits.DISPATCH_BATCH
    exclusive = False
    whole = False
    waits = False
    quiet = 0.0

    def __init__(
        self,
        entities: Entities,
        execute: Execute,
        store: Store,
        actions: Collection[str] = (),
        replicas: Replicas | None = None,
    ) -> None:
        self._entities = entities
        self._actions = actions
        self._execute = execute
        self._store = store
        self._replicas = replicas
        self._doubtful: dict[int, int] = {}
        """By shard: up to this position a command may have been delivered before, by whoever held
        the shard then, or by an attempt whose commit failed."""

    async def react(self, entries: list[Entry], attempt: int) -> Reacted:
        delivery = _Delivery(self._tried(entries))
        if self._actions:
            entries = self._passed_on(entries, delivery.reacted)
        away = [] if self._is_alone() else [e for e in entries if not self._is_here(e)]
        if not away:
            await self._lane(entries, delivery)
        else:
            here = [entry for entry in entries if self._is_here(entry)]
            remote = lanes.split(away, _subject, limits.COURIER_LANES)
            await lanes.run([here, *remote], lambda lane: self._lane(lane, delivery), NAME)
        if failures := await _failures(delivery.waiting):
            # One failed commit fails the whole batch; what did commit is known by its marks.
            delivery.trouble = delivery.trouble or failures[0]
        if delivery.trouble is not None:
            raise delivery.trouble
        return delivery.reacted

    def _passed_on(self, entries: list[Entry], reacted: Reacted) -> list[Entry]:
        """Let the calls of actions go to these; return the commands of entities."""
        calls: list[Entry] = []
        others: list[Entry] = []
        for entry in entries:
            is_call = entry.subject.partition("/")[0] in self._actions
            (calls if is_call else others).append(entry)

        def fill(commit: Commit) -> None:
            commit.entries += [call_of(call) for call in calls]

        if calls:
            reacted.fills.append(fill)
        return others

    async def _lane(self, entries: list[Entry], delivery: _Delivery) -> None:
        """Deliver one after the other. A batch that will be repeated begins with no more."""
        reacted, failed = delivery.reacted, delivery.failed
        for entry in entries:
            if delivery.trouble is not None:
                return
            queue = entry.shard, entry.subject
            if queue in failed:
                reacted.behind.append(entry)
                continue
            try:
                envelope = self._envelope(entry)
                answer = self._at_once(entry, envelope, queue, delivery)
                if answer is None:
                    answer = await self._deliver(entry, envelope, queue, delivery)
                if not isinstance(answer, bytes):
                    delivery.waiting.add(answer)
                    delivery.latest[queue] = answer
            except Unavailable as error:
                delivery.trouble = error
            except (Rejected, Deleted) as error:
                reacted.refused.append((entry, error))
                self._await_later(delivery)
            except Exception as error:  # the handler's defect, whatever it is: the entry is parked
                failed.add(queue)
                reacted.failed.append((entry, error))

    def _at_once(
        self, entry: Entry, envelope: Envelope, queue: Queue, delivery: _Delivery
    ) -> bytes | asyncio.Future[bytes] | None:
        """Deliver without waiting for anything, if that is possible: the usual case."""
        if entry.position <= delivery.doubtful[entry.shard]:
            return None
        before = delivery.latest.get(queue)
        if before is not None and before.done():
            return None
        return self._entities.submit_at_once(envelope)

    async def _deliver(
        self, entry: Entry, envelope: Envelope, queue: Queue, delivery: _Delivery
    ) -> bytes | asyncio.Future[bytes]:
        is_doubtful = entry.position <= delivery.doubtful[entry.shard]
        if is_doubtful and await self._is_done(envelope):
            return NULL
        before = delivery.latest.get(queue)
        if before is not None and (
            before.done() or (envelope.component, envelope.id) not in self._entities.cells
        ):
            # If the earlier one failed, this one must not pass it: its mark, once committed, says
            # that everything up to it was done.
            await asyncio.shield(before)
        return await self._submit(envelope)

    def _is_alone(self) -> bool:
        """Whether there is one home shard: then all entities are where their commands are."""
        return self._store.placement.shards == 1

    def _is_here(self, entry: Entry) -> bool:
        _, _, id = entry.subject.partition("/")
        return self._entities.holds(self._store.placement.entity(id))

    async def _submit(self, envelope: Envelope) -> bytes | asyncio.Future[bytes]:
        if self._is_replicated(envelope):
            assert self._replicas is not None
            return await self._replicas.submit(envelope)
        shard = self._store.placement.entity(envelope.id)
        if self._entities.holds(shard):
            return await self._entities.submit(envelope)
        return await self._execute(envelope)

    def _is_replicated(self, envelope: Envelope) -> bool:
        return self._replicas is not None and envelope.component in self._replicas.definitions

    def _await_later(self, delivery: _Delivery) -> None:
        """Let the batch wait for all that is decided by now: a command may have been refused by a
        state that is not committed yet, and never will be."""
        try:
            delivery.waiting.add(self._entities.settled())
        except Unavailable as error:
            delivery.trouble = error

    def _tried(self, entries: list[Entry]) -> dict[int, int]:
        """Note that entries are being delivered; return what was doubtful before."""
        doubtful = dict(self._doubtful)
        for shard, last in {entry.shard: entry.position for entry in entries}.items():
            self._doubtful[shard] = max(doubtful[shard], last)
        return doubtful

    async def _is_done(self, envelope: Envelope) -> bool:
        """Whether it had an effect that left no entry of the entity, and so no mark.

        Raises `Rejected` again for one that was refused.
        """
        if self._is_replicated(envelope):
            assert self._replicas is not None
            return await self._replicas.is_done(envelope)
        assert envelope.origin is not None
        key = envelope.origin.encode()
        outcomes = await self._store.journal.outcomes(envelope.component, envelope.id, [key])
        for outcome in outcomes:
            repeat(outcome)
        return bool(outcomes)

    def committed(self) -> None:
        """Nothing is kept in memory between batches."""

    def taken(self, ends: Mapping[int, int]) -> None:
        self._doubtful.update(ends)

    def _envelope(self, entry: Entry) -> Envelope:
        component, _, id = entry.subject.partition("/")
        handler = self._entities.addressed(component, entry.type)
        arguments = handler.decode_arguments(entry.payload)
        metadata = causation.of_command(entry)
        return Envelope(component, id, entry.type, arguments, None, None, metadata, entry.id)


def _subject(entry: Entry) -> str:
    return entry.subject


async def _failures(waiting: set[asyncio.Future[bytes]]) -> list[BaseException]:
    """Wait for every answer; return those that are errors: a batch that is repeated must find the
    marks of its first try, not overlap it."""
    if not waiting:
        return []
    try:
        done, _ = await asyncio.wait(waiting)
    except asyncio.CancelledError:
        for answer in waiting:
            answer.add_done_callback(look_at)
        raise
    return [error for answer in done if (error := answer.exception()) is not None]
