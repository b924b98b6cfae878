"""The reaction of a consumer: decode, call the user's function, collect the effects it returns.

Synchronous functions run one after the other; asynchronous ones in lanes: a key always goes to the
same lane, lanes run at the same time, so order is kept per key and concurrency is bounded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from eventmill.engine import outgoing
from eventmill.engine.causation import caused_by
from eventmill.engine.outgoing import Author, Expansion
from eventmill.errors import FAILURES, HandlerFailed, InvalidPayload, TopicFull
from eventmill.model import limits
from eventmill.model.definition import SKIP, ConsumerDefinition
from eventmill.model.effect import Effect
from eventmill.model.entry import Entry
from eventmill.ports.clock import Clock
from eventmill.ports.store import Store
from eventmill.runtime.dispatch import lanes
from eventmill.runtime.dispatch.handled import UNKNOWN, Early, Handled, Result
from eventmill.runtime.dispatch.reaction import Queue, Reacted, queue_of
from eventmill.runtime.dispatch.taking import event_of, skipped_by
from eventmill.runtime.dispatch.time_limit import within
from eventmill.runtime.room import Room
from eventmill.sdk import guards
from eventmill.sdk.context import Calls, Context

Place = tuple[int, Entry]
"""An entry, and which one it is of its batch."""


class ConsumerReaction:
    """Runs one consumer."""

    exclusive = False
    quiet = 0.0

    def __init__(
        self,
        definition: ConsumerDefinition,
        calls: Calls,
        store: Store,
        clock: Clock,
        room: Room,
        *,
        guarded: bool,
    ) -> None:
        self.definition = definition
        self.sources = frozenset({definition.source.id})
        self.skipped = skipped_by(definition.source, definition.route.types)
        self.retry = definition.retry
        self.batch = definition.batch_size
        self.whole = definition.route.is_batch
        self.waits = definition.is_async
        self._subscription = definition.subscription
        self._calls = calls
        self._store = store
        self._clock = clock
        self._room = room
        self._call = self._guarded_call if guarded else self._plain_call
        self._early: Early = {}
        """What was handled when a commit was full already."""

    async def react(self, entries: list[Entry], attempt: int) -> Reacted:
        reacted = await self._react(entries, attempt)
        for _, error in reacted.failed:
            if isinstance(error, TopicFull):
                raise error  # it is nobody's mistake: all is tried again until there is room
        return reacted

    async def _react(self, entries: list[Entry], attempt: int) -> Reacted:
        if self.definition.route.is_batch:
            return await self._whole(entries, attempt)
        handled = Handled(entries, self._early)
        places = list(enumerate(entries))
        if self.definition.is_async and len(entries) > 1:
            await lanes.run(
                lanes.split(places, _key_of, self.definition.concurrency),
                lambda lane: self._lane(lane, attempt, handled),
                self.definition.place,
            )
        else:
            await self._lane(places, attempt, handled)
        return handled.reacted(self._early)

    def committed(self) -> None:
        """What is kept between batches was not part of this one."""

    def taken(self, ends: Mapping[int, int]) -> None:
        """Others may have handled what this node had."""
        self._early.clear()

    async def _lane(self, places: list[Place], attempt: int, handled: Handled) -> None:
        failed: set[Queue] = set()
        for at, entry in places:
            if failed and queue_of(entry) in failed:
                continue
            result = handled.results[at]
            if result is UNKNOWN:
                if handled.is_full and not handled.has_room(at):
                    return
                result = await self._result(entry, attempt)
                handled.put(at, result)
            if isinstance(result, BaseException):
                failed.add(queue_of(entry))

    async def _result(self, entry: Entry, attempt: int) -> Result:
        try:
            arguments = self._arguments(entry, attempt)
            effect = await self._call(arguments) if arguments is not None else None
            if effect is None or not effect.outgoing:
                return None
            return self._expanded(effect, entry)
        except FAILURES as error:  # user code may raise anything; the entry is parked
            return error

    def _arguments(self, entry: Entry, attempt: int) -> tuple[Any, ...] | None:
        """Return what the function is called with; None if it does not take the entry."""
        definition = self.definition
        route = definition.route
        event = event_of(definition.source, entry, route.types, definition.ignore_unknown)
        if event is SKIP:
            return None
        return (event, self._context(entry, attempt)) if route.takes_context else (event,)

    async def _guarded_call(self, arguments: tuple[Any, ...]) -> Effect[Any] | None:
        with guards.watch(self.definition.place) as returned:
            effect = returned.effect = await self._plain_call(arguments)
        return effect

    async def _plain_call(self, arguments: tuple[Any, ...]) -> Effect[Any] | None:
        definition = self.definition
        try:
            result: Any = definition.route.function(*arguments)
            if definition.is_async:
                result = await within(definition.timeout, result)
        except asyncio.CancelledError as error:
            if lanes.is_ending():
                raise
            raise HandlerFailed(
                f"{definition.place} ended with CancelledError, but was not cancelled; "
                "catch it where the handler waits for a task or future of its own"
            ) from error
        if result is not None and not isinstance(result, Effect):
            raise HandlerFailed(
                f"{definition.place} returned {type(result).__name__}; return an effect "
                "(publish, send, schedule, cancel) or None",
                code="guard.no_effect",
            )
        effect: Effect[Any] | None = result
        return effect

    async def _whole(self, entries: list[Entry], attempt: int) -> Reacted:
        """Give a batch handler the whole list; if it fails, one by one to find the culprit."""
        reacted, taken, events = self._decoded(entries)
        if not events:
            return reacted
        try:
            effect = await self._call(self._batch_arguments(events, taken, attempt))
            if effect is not None and effect.outgoing:
                expansion = self._expanded(effect, taken[-1])
                reacted.fills.append(expansion.add_to)
                reacted.weight = expansion.weight
        except FAILURES as error:  # user code may raise anything; see below
            if len(taken) > 1:
                return await self._singly(entries, attempt)
            reacted.failed.append((taken[0], error))
        return reacted

    def _decoded(self, entries: list[Entry]) -> tuple[Reacted, list[Entry], list[Any]]:
        """Return what is no event, the entries that the handler takes, and their events."""
        definition, reacted, taken, events = self.definition, Reacted(), [], []
        failed: set[Queue] = set()
        for entry in entries:
            if failed and queue_of(entry) in failed:
                reacted.behind.append(entry)
                continue
            try:
                event = event_of(
                    definition.source, entry, definition.route.types, definition.ignore_unknown
                )
            except InvalidPayload as error:
                failed.add(queue_of(entry))
                reacted.failed.append((entry, error))
                continue
            if event is not SKIP:
                events.append(event)
                taken.append(entry)
        return reacted, taken, events

    async def _singly(self, entries: list[Entry], attempt: int) -> Reacted:
        reacted = Reacted()
        failed: set[Queue] = set()
        for at, entry in enumerate(entries):
            if reacted.weight >= limits.COMMIT_BYTES_MAX:
                reacted.left = entries[at:]
                break
            if queue_of(entry) in failed:
                reacted.behind.append(entry)
                continue
            one = await self._whole([entry], attempt)
            reacted.add(one)
            if one.failed:
                failed.add(queue_of(entry))
        return reacted

    def _batch_arguments(
        self, events: list[Any], entries: list[Entry], attempt: int
    ) -> tuple[Any, ...]:
        if not self.definition.route.takes_context:
            return (events,)
        return (events, self._context(entries[-1], attempt))

    def _context(self, entry: Entry, attempt: int) -> Context:
        definition = self.definition
        deadline = self._clock.monotonic() + definition.timeout if definition.is_async else None
        return Context(entry, self._subscription, self._calls, attempt, deadline)

    def _expanded(self, effect: Effect[Any], cause: Entry) -> Expansion:
        self._room.check_effects(effect.outgoing)
        # Done here, so that an event that its topic does not carry fails this entry alone.
        definition, placement = self.definition, self._store.placement
        home = placement.home(cause.shard)
        author = Author(definition.place, definition.topics, placement, home)
        return outgoing.expand(effect.outgoing, self._clock.now(), caused_by(cause), author)


def _key_of(place: Place) -> str:
    """Of one source, the subject tells the key."""
    return place[1].subject
