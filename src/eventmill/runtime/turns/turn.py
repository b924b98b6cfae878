"""Turns: one command after the other per entity, pipelined over the commits.

Place on the road: between the router and the committer. `execute` finds the entity in memory or
loads it, runs the user's handler on its state, and adds the decision to the open batch; the caller
waits for that batch. The next command of the same entity runs at once, on the new state.

Invariants: a turn has no `await` between reading the state and adding to the batch, so turns of
one entity never interleave; an answer that depends on uncommitted state waits for that state's
commit; after a failed commit or a torn fold the entity is thrown out (`runtime.turns.cells`) and loaded
anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Collection
from typing import Any, Protocol

import msgspec

from eventmill.engine import entity as engine
from eventmill.engine.workflows import deciding
from eventmill.engine.workflows.moving import NotNow
from eventmill.errors import (
    FAILURES,
    Busy,
    DeadlineExceeded,
    Deleted,
    EventmillError,
    HandlerFailed,
    NotOwner,
    Rejected,
    UnknownComponent,
    UnknownHandler,
    described,
)
from eventmill.model import codec, limits
from eventmill.model.commit import Outcome
from eventmill.model.definition import EntityDefinition
from eventmill.model.effect import Effect
from eventmill.model.envelope import Envelope
from eventmill.model.handler import Handler
from eventmill.model.orders import EXPIRE, LOCAL, PURGE
from eventmill.ports.clock import Clock
from eventmill.ports.store import Store
from eventmill.runtime.claims import Claims
from eventmill.runtime.committer import Batch, Committer
from eventmill.runtime.room import Room
from eventmill.runtime.turns.cells import Cell, Cells, Key
from eventmill.runtime.turns.guards import Guards


class Lease(Protocol):
    """What a node's shards are held under."""

    def has_expired(self) -> bool: ...


class Steps(Protocol):
    """The steps of workflows that run on this node."""

    def is_busy(self, key: Key, cell: Cell) -> bool: ...
    def hold(self, key: Key, envelope: Envelope, once: bytes | None) -> asyncio.Future[bytes]: ...
    def moved(self, key: Key, cell: Cell) -> None: ...


class Entities:
    """All entities of this node: runs their turns.

    Parameters: `held` are the home shards whose work is done here, now.
    """

    def __init__(
        self,
        definitions: dict[str, EntityDefinition],
        store: Store,
        committer: Committer,
        clock: Clock,
        guards: Guards,
        held: Collection[int],
        room: Room,
        *,
        cache_entities: int = limits.CACHE_ENTITIES,
        cache_bytes: int = limits.CACHE_BYTES,
        cells: Cells | None = None,
    ) -> None:
        self.definitions = {id: guards.watched(d) for id, d in definitions.items()}
        self._store = store
        self._committer = committer
        self._clock = clock
        self._guards = guards
        self._held = held
        self.lease: Lease | None = None
        """Of a node that is one of several."""
        self.steps: Steps | None = None
        """Of a service that has workflows."""
        self._room = room
        self.cells = (
            cells
            if cells is not None
            else Cells(self.definitions, store, entities_max=cache_entities, bytes_max=cache_bytes)
        )
        self._claims: Claims[tuple[str, str, str], bytes] = Claims()
        committer.on_failure.append(self.cells.forget)

    def __repr__(self) -> str:
        return f"<Entities [{self.cells!r}]>"

    def holds(self, shard: int) -> bool:
        """Whether the turns of a home shard run here."""
        return shard in self._held

    def definition(self, component: str) -> EntityDefinition:
        """Find an entity component.

        Raises `UnknownComponent`.
        """
        definition = self.definitions.get(component)
        if definition is None:
            raise UnknownComponent(
                f"no entity component {component!r} runs here; there is "
                f"{', '.join(self.definitions) or 'none'}"
            )
        return definition

    def handler(self, component: str, name: str) -> Handler[Any, Any]:
        """Find a command or query.

        Raises `UnknownComponent` or `UnknownHandler`.
        """
        definition = self.definitions.get(component)
        if definition is None:
            definition = self.definition(component)
        handler = definition.handlers.get(name)
        if handler is None:
            raise UnknownHandler(
                f"{component!r} has no command or query {name!r}; there is "
                f"{', '.join(definition.handlers) or 'none'}"
            )
        return handler

    def addressed(self, component: str, name: str) -> Handler[Any, Any]:
        """Find a command or query, or what the platform itself sends.

        Raises `UnknownComponent` or `UnknownHandler`.
        """
        definition = self.definitions.get(component)
        if definition is not None:
            handler = definition.handlers.get(name) or definition.built_in.get(name)
            if handler is not None:
                return handler
        return self.handler(component, name)

    def execute(self, envelope: Envelope) -> Awaitable[bytes]:
        """Run one command or query; its encoded reply is there when all it caused is durable.

        Raises, here or when it is waited for, `Rejected`, `Deleted`, `HandlerFailed`,
        `DeadlineExceeded`, `Overloaded`, `StoreUnavailable` and their kin.
        """
        key = (envelope.component, envelope.id)
        cell = self.cells.get(key)
        if cell is None or envelope.idempotency_key is not None or envelope.origin is not None:
            return self._execute(envelope)
        answer = self._turn(key, cell, envelope, None)  # the usual case, without a coroutine more
        return _known(answer) if isinstance(answer, bytes) else answer

    async def submit(
        self, envelope: Envelope, once: bytes | None = None
    ) -> bytes | asyncio.Future[bytes]:
        """Run the turn; return the reply, or the future of a reply that waits for its commit.

        For a sent command (`origin`) an error is raised at once, so that its sender can hold back
        what comes behind it, and its future, which nobody may cancel, is that of all in the commit;
        other errors wait for the commit that they depend on.
        """
        key = (envelope.component, envelope.id)
        while (cell := self.cells.get(key)) is None:
            if envelope.component not in self.definitions:
                self.handler(envelope.component, envelope.name)
            await self.cells.load(key)
        return self._turn(key, cell, envelope, once)

    def submit_at_once(
        self, envelope: Envelope, once: bytes | None = None
    ) -> bytes | asyncio.Future[bytes] | None:
        """As `submit`, for an entity whose turns run here and that is in memory, the usual case;
        None for any other."""
        key = (envelope.component, envelope.id)
        cell = self.cells.get(key)
        if cell is None or cell.shard not in self._held:
            return None
        return self._turn(key, cell, envelope, once)

    def settled(self) -> asyncio.Future[bytes]:
        """Return a future that is done with the commit of everything decided so far."""
        return self._committer.open_batch().later(engine.NULL)

    async def _execute(self, envelope: Envelope) -> bytes:
        if envelope.idempotency_key is not None:
            # A key belongs to a command: the same one with another is no repetition.
            return await self._execute_once(envelope, f"{envelope.name} {envelope.idempotency_key}")
        try:
            answer = await self.submit(envelope)
        except (Rejected, Deleted, HandlerFailed):
            if envelope.origin is not None:
                # Whoever delivers it is elsewhere, and hears of no state that may never be true.
                await self.settled()
            raise
        if isinstance(answer, bytes):
            return answer
        # Others may wait for what a sent command waits for.
        return await (answer if envelope.origin is None else asyncio.shield(answer))

    async def _execute_once(self, envelope: Envelope, text: str) -> bytes:
        key = (envelope.component, envelope.id, text)
        claim = self._claims.get(key)
        if claim is None:
            claim = self._claims.start([key], self._first_time(envelope, text.encode()))
        return await asyncio.shield(claim)

    async def _first_time(self, envelope: Envelope, key: bytes) -> bytes:
        now = self._clock.now()
        for outcome in await self._outcomes(envelope, key):
            if outcome.expires > now:
                return repeat(outcome)
        answer = await self.submit(envelope, key)
        return answer if isinstance(answer, bytes) else await answer

    async def _outcomes(self, envelope: Envelope, key: bytes) -> list[Outcome]:
        place = self._place_of_outcomes(envelope.component, envelope.id)
        return await self._store.journal.outcomes(*place, [key])

    def _place_of_outcomes(self, component: str, id: str) -> tuple[str, str]:
        """Under which source and subject an entity's outcomes are kept."""
        return component, id

    def _turn(
        self, key: Key, cell: Cell, envelope: Envelope, once: bytes | None
    ) -> bytes | asyncio.Future[bytes]:
        if cell.shard not in self._held or (self.lease is not None and self.lease.has_expired()):
            raise NotOwner(f"shard {cell.shard} is not held here")
        if envelope.deadline is not None and self._clock.monotonic() >= envelope.deadline:
            raise DeadlineExceeded()
        if envelope.origin is not None and cell.knows(envelope.origin):
            return self._released(cell, engine.NULL)
        handler = cell.definition.handlers.get(envelope.name)
        if handler is None:
            return self._built_in(key, cell, envelope)
        if cell.progress is not None and handler.writes and self._must_wait(key, cell, envelope):
            assert self.steps is not None
            return self.steps.hold(key, envelope, once)
        identity = cell.identity
        identity.now = self._clock.now()
        identity.metadata = envelope.metadata
        try:
            if cell.deleted:
                raise Deleted(f"{key[0]}/{key[1]} was deleted")
            if not handler.writes:
                reply = self._guards.ask(cell, handler, envelope.arguments)
                return self._released(cell, reply)
            effect = self._guards.run(cell, handler, envelope.arguments)
        except FAILURES as error:  # user code may raise anything; the caller hears which handler
            return self._answer_failure(cell, handler, envelope, error, once)
        return self._decide(key, cell, handler, effect, envelope, once)

    def _answer_failure(
        self,
        cell: Cell,
        handler: Handler[Any, Any],
        envelope: Envelope,
        error: BaseException,
        once: bytes | None,
    ) -> bytes | asyncio.Future[bytes]:
        if not isinstance(error, EventmillError):
            error = failure_of(handler, error)
        error = self._guards.disclosed(handler, error)
        if envelope.origin is not None:
            if isinstance(error, Rejected | Deleted):
                # Later commands move the entity's mark past this one: a second delivery must
                # find that it was refused, not take it for done.
                outcome = self._rejection(cell, error, envelope.origin.encode())
                self._committer.open_batch().commit.outcomes.append(outcome)
            raise error from error.__cause__
        if isinstance(error, Rejected) and once is not None and envelope.keeps_rejection:
            return self._refused(cell, error, once)
        return self._released(cell, error)

    def _decide(
        self,
        key: Key,
        cell: Cell,
        handler: Handler[Any, Any],
        effect: Effect[Any],
        envelope: Envelope,
        once: bytes | None,
    ) -> bytes | asyncio.Future[bytes]:
        if self._room.full:
            self._room.check_effects(effect.outgoing)
        batch = self._committer.open_batch()
        size, now = cell.bytes, cell.identity.now
        sequence = cell.identity.sequence
        try:
            decide = engine.decide if cell.progress is None else deciding.decide
            reply = decide(
                cell, handler, effect, now, envelope.metadata, envelope.origin, batch.commit
            )
        except NotNow as refusal:
            return self._answer_failure(cell, handler, envelope, refusal, once)
        except FAILURES as error:
            # A fold may have torn the state; what was decided before is in batches and safe.
            self.cells.drop(key, cell, after=cell.batch)
            if isinstance(error, EventmillError):
                raise self._guards.disclosed(handler, error) from error.__cause__
            raise failure_of(handler, error) from error
        if once is not None:
            batch.commit.outcomes.append(self._outcome(cell, once, reply, None))
            batch.commit.bytes += len(reply)
        elif not (effect.events or changes_anything(effect)):
            return self._released(cell, reply)
        elif cell.progress is not None and cell.identity.sequence == sequence:
            return self._released(cell, reply)  # a start that had happened before
        elif envelope.origin is not None and not (effect.events or changes_state(effect)):
            # Without an entry of its own the entity keeps no mark: the outcome is the mark.
            key_of_origin = envelope.origin.encode()
            batch.commit.outcomes.append(self._outcome(cell, key_of_origin, reply, None))
        promise = self._promise(cell, batch, reply, is_sent=envelope.origin is not None)
        self.cells.grow(cell.bytes - size)
        if effect.transition is not None and self.steps is not None:
            self.steps.moved(key, cell)
        return promise

    def _promise(
        self, cell: Cell, batch: Batch, reply: Any, *, is_sent: bool = False
    ) -> asyncio.Future[bytes]:
        """Answer when the batch, which holds what the entity just decided, is durable. Nobody reads
        the reply to a command that was sent."""
        if cell.batch is not batch:
            cell.batch = batch
            batch.holders.append(cell)
        return batch.durable(engine.NULL) if is_sent else batch.later(reply)

    def _released(self, cell: Cell, answer: Any) -> bytes | asyncio.Future[bytes]:
        """Answer now, or with the commit of what the answer depends on."""
        batch = cell.batch
        if batch is None or batch.done:
            if isinstance(answer, Exception):
                raise answer
            return answer  # type: ignore[no-any-return]
        return batch.later(answer)

    def _refused(self, cell: Cell, rejection: Rejected, once: bytes) -> asyncio.Future[bytes]:
        batch = self._committer.open_batch()
        batch.commit.outcomes.append(self._rejection(cell, rejection, once))
        return self._promise(cell, batch, rejection)

    def _rejection(self, cell: Cell, error: EventmillError, key: bytes) -> Outcome:
        problem = codec.encode({"message": error.message, "details": error.details})
        return self._outcome(cell, key, problem, error.code)

    def _outcome(self, cell: Cell, key: bytes, reply: bytes, rejection: str | None) -> Outcome:
        expires = cell.identity.now + limits.IDEMPOTENCY_SECONDS * 1_000_000
        place = self._place_of_outcomes(cell.definition.id, cell.id)
        return Outcome(*place, key, expires, reply, rejection)

    def _built_in(self, key: Key, cell: Cell, envelope: Envelope) -> bytes | asyncio.Future[bytes]:
        if cell.progress is not None and envelope.name not in (EXPIRE, PURGE):
            return self._built_in_of_workflow(key, cell, envelope)
        if envelope.name not in (EXPIRE, PURGE):
            self.handler(key[0], envelope.name)
        is_current = envelope.arguments == (cell.identity.sequence,)
        if envelope.name == EXPIRE and is_current and not cell.deleted:
            batch = self._committer.open_batch()
            size, now = cell.bytes, self._clock.now()
            decide = engine.decide if cell.progress is None else deciding.decide
            decide(cell, _EXPIRY, _GONE, now, None, envelope.origin, batch.commit)
            promise = self._promise(cell, batch, engine.NULL)
            self.cells.grow(cell.bytes - size)
            return promise
        if envelope.name == PURGE and cell.deleted:
            batch = self._committer.open_batch()
            batch.commit.purged.append(key)
            promise = self._promise(cell, batch, engine.NULL)
            self.cells.drop(key, cell, after=batch)
            return promise
        return self._released(cell, engine.NULL)

    def _must_wait(self, key: Key, cell: Cell, envelope: Envelope) -> bool:
        """Whether a step of the workflow has begun and its outcome must come first."""
        if self.steps is None or cell.deleted or not self.steps.is_busy(key, cell):
            return False
        if envelope.origin is not None:
            raise Busy(f"a step of {key[0]}/{key[1]} is running")
        return True

    def _built_in_of_workflow(
        self, key: Key, cell: Cell, envelope: Envelope
    ) -> bytes | asyncio.Future[bytes]:
        if envelope.name not in cell.definition.built_in and envelope.name not in LOCAL:
            self.handler(key[0], envelope.name)
        effect = deciding.effect_of(cell, envelope.name, envelope.arguments)
        if effect is None:
            return self._released(cell, engine.NULL)
        cell.identity.now = self._clock.now()
        cell.identity.metadata = envelope.metadata
        return self._decide(key, cell, _WORKFLOW, effect, envelope, None)


def changes_state(effect: Effect[Any]) -> bool:
    """Whether an effect leads to entries of the entity."""
    return bool(
        effect.events
        or effect.deleted
        or effect.changes is not None
        or effect.transition is not None
    )


def changes_anything(effect: Effect[Any]) -> bool:
    """Whether an effect leads to a commit."""
    return bool(effect.outgoing) or changes_state(effect)


def failure_of(handler: Handler[Any, Any], error: BaseException) -> HandlerFailed:
    """Wrap what a handler raised, naming the handler."""
    failure = HandlerFailed(
        f"{handler.function.__qualname__} raised {described(error)}",
        details={"handler": handler.name, "component": handler.component},
    )
    failure.__cause__ = error
    return failure


def repeat(outcome: Outcome) -> bytes:
    """Answer as the first time; raises `Rejected` if that was the answer."""
    if outcome.rejection is None:
        return outcome.reply
    problem = msgspec.json.decode(outcome.reply)
    raise Rejected(problem["message"], code=outcome.rejection, details=problem["details"])


async def _known(answer: bytes) -> bytes:
    return answer


def _expire(entity: Any) -> None:
    """The built-in expiry."""


_GONE: Effect[None] = Effect(deleted=True)
_EXPIRY: Handler[Any, Any] = Handler(_expire)


def _go_on(workflow: Any) -> None:
    """What happens to a workflow from outside."""


_WORKFLOW: Handler[Any, Any] = Handler(_go_on)
