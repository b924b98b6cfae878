"""Streams about one entity: its changes, and queries kept up to date.

`GET /components/{component}/{id}/changes` sends the entity's entries as CloudEvents, each with its sequence as the event's id, so a
client that comes back with it as `Last-Event-ID` misses nothing. A query that is asked for as
`text/event-stream` sends its answer, and again whenever a change of the entity has made it another.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import aclosing
from functools import partial
from typing import Final

from eventmill.engine import cloudevent
from eventmill.engine.replicated import shown
from eventmill.errors import InvalidPayload
from eventmill.http import streams
from eventmill.http.wire import Scope, header_of, parameters_of, taken_from
from eventmill.model import cloudevents
from eventmill.model.entry import Entry
from eventmill.runtime.runtime import Runtime

ANSWER: Final = "answer"
"""Type of the events of a query that is kept up to date."""

Ask = Callable[[], Awaitable[bytes]]


class EntityStreams:
    """Answers followers of entities."""

    def __init__(self, runtime: Runtime, open_streams: streams.Streams) -> None:
        self._runtime = runtime
        self._streams = open_streams

    async def changes(self, scope: Scope, component: str, id: str) -> streams.EventStream:
        """Answer `GET …/changes`: from `Last-Event-ID`, or parameter `from`, or from now on.

        Raises `UnknownComponent`, `InvalidPayload`, `NotAcceptable`, `Overloaded`.
        """
        self._runtime.entities.definition(component)
        streams.accepted(header_of(scope, b"accept"), streams.CONTENT_TYPE)
        texts = parameters_of(scope)
        asked = taken_from(texts, "from")
        if texts:
            raise InvalidPayload(f"unknown parameter {min(texts)[:40]!r}: there is 'from'")
        start = header_of(scope, b"last-event-id") or asked or "latest"
        after = await self._after(component, id, start)
        return self._streams.answer(self._entries(component, id, after))

    async def live(self, component: str, id: str, ask: Ask) -> streams.EventStream:
        """Answer a query, and again when its answer changes.

        Raises `Overloaded`, and what the query raises.
        """
        return self._streams.answer(self._answers(component, id, await ask(), ask))

    async def _after(self, component: str, id: str, start: str) -> int:
        """Return the sequence that a stream starts behind."""
        if start == "latest":
            return await self._runtime.changes.last_sequence(component, id)
        if start == "beginning":
            return 0
        if not (start.isascii() and start.isdecimal() and len(start) < 19):
            raise InvalidPayload(
                f"{start[:40]!r} is no place in an entity: use a sequence, beginning or latest"
            )
        return int(start)

    async def _entries(self, component: str, id: str, after: int) -> streams.Items:
        source = cloudevent.entity_source(self._runtime.service.name, component)
        yield streams.heartbeat(str(after)), str(after)
        changes = self._runtime.changes
        show = partial(shown, self._runtime.entities.definition(component))
        async with aclosing(changes.follow(component, id, after, self._room)) as pages:
            async for page in pages:
                events = _events(map(show, page), source)
                del page  # slow clients hold what is on its way to them, not all that was read
                for frames, last in streams.chunks(events):
                    yield frames, last

    def _room(self) -> int:
        return self._streams.share

    async def _answers(self, component: str, id: str, answer: bytes, ask: Ask) -> streams.Items:
        yield streams.frame(answer, event=ANSWER), ""
        with self._runtime.changes.watching(component, id) as watched:
            while True:
                seen = watched.seen
                again = await ask()
                if again != answer:
                    yield streams.frame(again, event=ANSWER), ""
                answer = again
                await watched.beyond(seen)


def _events(entries: Iterable[Entry], source: str) -> Iterator[tuple[bytes, str]]:
    """Make events of a stream, each with its id."""
    for entry in entries:
        id = str(entry.sequence)
        event = cloudevents.encode_structured(cloudevent.of_entry(entry, source))
        yield streams.frame(event, id=id), id
