"""The reaction of a pushed subscription: one CloudEvent in one HTTP request per event.

Place on the road: dispatch. Order per key, retries, parking, dead letters, pause and offsets are
those of every subscription (`runtime.dispatch.subscription`); `runtime.pushing.pushes` makes and ends them.

Invariants: a key's next event is sent only after the one before was taken or parked; the payload
goes out as it is stored; an event has the same id, source and time at every delivery; nothing waits
here for a sink that wants to be left alone: whoever gives the entries does (`quiet`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from eventmill.engine import cloudevent, messages
from eventmill.engine.filters import compile_filters
from eventmill.engine.messages import MALFORMED
from eventmill.errors import DeliveryFailed, InvalidPayload, Rejected, Unavailable
from eventmill.model import limits
from eventmill.model.cloudevents import (
    STRUCTURED_TYPE,
    CloudEvent,
    encode_binary,
    encode_structured,
)
from eventmill.model.cloudevents.json_format import attributes_of
from eventmill.model.definition import Retry
from eventmill.model.entry import Entry
from eventmill.model.pushing import Pushing
from eventmill.ports.clock import Clock
from eventmill.ports.sender import UNREACHABLE, Answer, Sender
from eventmill.runtime.dispatch import lanes
from eventmill.runtime.dispatch.reaction import Queue, Reacted, key_of, queue_of

REFUSED: Final = frozenset((400, 405, 406, 410, 411, 413, 414, 415, 417, 422, 431))
"""The sink says that this request will never do: a dead letter at once. All other answers that are
no success may be different next time, also 401, 403 and 404: somebody mends the sink."""


class _Sink:
    """What one batch learns of the sink."""

    reached = False
    away: DeliveryFailed | Rejected | None = None

    def __init__(self) -> None:
        self.taken: set[str] = set()
        """Ids of entries."""
        self.unsent: set[str] = set()
        """Those at which lanes ended, because the sink wants to be left alone."""


class PushReaction:
    """Sends what a subscription wants to its sink."""

    exclusive = False
    whole = False
    waits = True
    batch = limits.PUSH_BATCH

    def __init__(
        self,
        pushing: Pushing,
        sources: dict[str, str],
        skipped: frozenset[tuple[str, str]],
        sender: Sender,
        clock: Clock,
    ) -> None:
        config = pushing.config
        self.pushing = pushing
        self.sources = frozenset(sources)
        self.skipped = skipped
        self.retry = Retry(config.attempts, config.backoff, 2.0, config.backoffmax)
        self._paths = sources
        self._fits = compile_filters(pushing.filters)
        self._types = None if pushing.types is None else frozenset(pushing.types)
        self._sender = sender
        self._clock = clock
        self.outages = 0
        """Batches that met a sink which could not be reached."""
        self._quiet_until = 0.0
        """Monotonic time until which the sink wants to be left alone."""
        self._taken: set[str] = set()
        """Ids of entries that were left, but that the sink has taken: not to be sent again."""

    @property
    def quiet(self) -> float:
        return max(0.0, self._quiet_until - self._clock.monotonic())

    async def react(self, entries: list[Entry], attempt: int) -> Reacted:
        reacted, sink = Reacted(), _Sink()
        for entry in entries:
            if entry.type == MALFORMED:
                reacted.failed.append((entry, InvalidPayload(messages.reason_of(entry))))
        events = [
            (e, cloudevent.of_entry(e, self._paths[e.source]))
            for e in entries
            if e.type != MALFORMED
        ]
        wanted = [pair for pair in events if self._wants(pair[1])]
        await lanes.run(
            lanes.split(wanted, lambda pair: key_of(pair[0]), self.pushing.config.concurrency),
            lambda lane: self._lane(lane, reacted, sink),
            self.pushing.sink,
        )
        if sink.away is not None:
            # Its outage is not the fault of any event: all wait in the journal, none is parked.
            self.outages += 1
            raise Unavailable(sink.away.message) from sink.away
        if sink.unsent:
            self._leave(entries, reacted, sink)
        return reacted

    def _leave(self, entries: list[Entry], reacted: Reacted, sink: _Sink) -> None:
        """End the batch before the first entry that was not sent."""
        start = next(at for at, entry in enumerate(entries) if entry.id in sink.unsent)
        reacted.left = entries[start:]
        left = {entry.id for entry in reacted.left}
        reacted.failed = [pair for pair in reacted.failed if pair[0].id not in left]
        reacted.behind = [entry for entry in reacted.behind if entry.id not in left]
        self._taken |= sink.taken & left

    def committed(self) -> None:
        """Nothing is kept in memory between batches."""

    def taken(self, ends: Mapping[int, int]) -> None:
        self._taken.clear()

    def _wants(self, event: CloudEvent) -> bool:
        if self._types is not None and event.type not in self._types:
            return False
        return not self.pushing.filters or self._fits(
            {name: _text(value) for name, value in attributes_of(event).items()}
        )

    async def _lane(
        self, events: list[tuple[Entry, CloudEvent]], reacted: Reacted, sink: _Sink
    ) -> None:
        failed: set[Queue] = set()
        for entry, event in events:
            if sink.away is not None:
                return  # the whole batch is repeated
            if queue_of(entry) in failed:
                reacted.behind.append(entry)
                continue
            if entry.id in self._taken:
                self._taken.discard(entry.id)
                sink.taken.add(entry.id)
                continue
            if self.quiet:
                sink.unsent.add(entry.id)
                return
            try:
                await self._deliver(event)
                sink.reached = True
                sink.taken.add(entry.id)
            except (DeliveryFailed, Rejected) as error:
                if error.code == UNREACHABLE and not sink.reached:
                    sink.away = error
                    return
                sink.reached |= error.code != UNREACHABLE
                failed.add(queue_of(entry))
                reacted.failed.append((entry, error))

    async def _deliver(self, event: CloudEvent) -> None:
        """Send one event.

        Raises `DeliveryFailed` to try it again later, `Rejected` if that is no use.
        """
        pushing, settings = self.pushing, self.pushing.protocolsettings
        if settings.mode == "binary":
            pairs, body = encode_binary(event)
            headers = {name.decode(): value.decode() for name, value in pairs}
        else:
            headers, body = {"content-type": STRUCTURED_TYPE}, encode_structured(event)
        try:
            answer = await self._sender.send(
                pushing.sink,
                {**settings.headers, **headers},
                body,
                method=settings.method,
                seconds=settings.timeout,
            )
        except asyncio.CancelledError as error:
            if lanes.is_ending():
                raise
            raise DeliveryFailed(f"{pushing.sink}: the request was cancelled midway") from error
        if not 200 <= answer.status < 300:
            self._refuse(answer)

    def _refuse(self, answer: Answer) -> None:
        text = f"{self.pushing.sink} answered {answer.status}"
        if answer.status in REFUSED:
            raise Rejected(f"{text}: it does not take this event", code="push.refused")
        wait = answer.retry_after or 0.0
        if answer.status in (429, 503) and wait:
            self._quiet_until = max(self._quiet_until, self._clock.monotonic() + wait)
        raise DeliveryFailed(text, retry_after_seconds=wait)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
