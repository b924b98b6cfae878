"""`GET /topics/{topic}`: a topic's messages as a stream of CloudEvents.

Each event has a cursor as its id: how far all shards of the topic have been sent. A client that
comes back with it as `Last-Event-ID` gets what it missed, in order, without gaps. Heartbeats carry the id of what was looked at last.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from starlette.requests import Request

from eventmill.engine import cloudevent
from eventmill.engine.messages import MALFORMED
from eventmill.errors import InvalidPayload
from eventmill.http import streams
from eventmill.http.wire import parameters_of, taken_from
from eventmill.model import cloudevents, cursor, limits
from eventmill.model.entry import Entry
from eventmill.ports.store import Scan
from eventmill.runtime.dispatch.tails import within
from eventmill.runtime.operating.inspection import Inspection
from eventmill.runtime.runtime import Runtime


class Following:
    """Answers followers of topics."""

    def __init__(self, runtime: Runtime, open_streams: streams.Streams) -> None:
        self._runtime = runtime
        self._streams = open_streams
        self._looks = Inspection(runtime)

    async def follow(self, request: Request) -> streams.EventStream:
        """Answer `GET /topics/{topic}`, from `Last-Event-ID` or parameter `from`, or the end.

        Raises `NotFound`, `InvalidPayload`, `NotAcceptable`, `Overloaded`.
        """
        topic = self._runtime.topic(request.path_params["topic"])
        streams.accepts(request, streams.CONTENT_TYPE)
        texts = parameters_of(request.scope)
        asked = taken_from(texts, "from")
        start = request.headers.get("last-event-id") or ("latest" if asked is None else asked)
        if texts:
            raise InvalidPayload(f"unknown parameter {min(texts)[:40]!r}: there is 'from'")
        positions = await self._looks.cursor(topic.id, start)
        return self._streams.answer(self._items(topic.id, positions))

    async def _items(self, topic: str, positions: dict[int, int]) -> streams.Items:
        tails = self._runtime.tails
        sources = frozenset({topic})
        source = cloudevent.topic_source(self._runtime.service.name, topic)
        start = cursor.write(positions)
        yield streams.heartbeat(start), start
        first = 0
        async with self._runtime.following(topic):
            while True:
                stretch = await tails.read(
                    positions, limit=limits.DISPATCH_BATCH, sources=sources, first=first
                )
                ahead = self._streams.share
                part = within(Scan(stretch.entries, 0), ahead).entries
                is_cut = len(part) < len(stretch.entries)
                first = stretch.entries[len(part)].shard if is_cut else stretch.next
                reached = {} if is_cut else stretch.positions
                is_end = not stretch.positions
                del stretch  # slow clients hold their share, not all that was read
                for frames, id in streams.chunks(_events(part, positions, source)):
                    yield frames, id
                if is_end:
                    await tails.wait(positions)
                positions.update(reached)
                yield b"", cursor.write(positions)
                await asyncio.sleep(0)  # a long way to the end must not hold up the node's work


def _events(
    entries: list[Entry], positions: dict[int, int], source: str
) -> Iterator[tuple[bytes, str]]:
    """Make events of a stream, each with its id; moves `positions`."""
    for entry in entries:
        positions[entry.shard] = entry.position
        if entry.type == MALFORMED:
            continue
        event = cloudevents.encode_structured(cloudevent.of_entry(entry, source))
        id = cursor.write(positions)
        yield streams.frame(event, id=id), id
