"""`GET /topics/{topic}`: a topic's messages as a stream of CloudEvents.

Each event has the id `shard:position`; a client that comes back with it as `Last-Event-ID` gets
what it missed, in order, without gaps. Heartbeats carry the id of what was looked at last.
"""

from __future__ import annotations

import asyncio

from starlette.requests import Request

from eventmill.engine import cloudevent
from eventmill.errors import InvalidPayload
from eventmill.http import streams
from eventmill.http.wire import parameters_of
from eventmill.model import cloudevents, limits
from eventmill.model.entry import Entry
from eventmill.runtime.runtime import Runtime


class Following:
    """Answers followers of topics."""

    def __init__(self, runtime: Runtime, open_streams: streams.Streams) -> None:
        self._runtime = runtime
        self._streams = open_streams

    async def follow(self, request: Request) -> streams.EventStream:
        """Answer `GET /topics/{topic}`, from `Last-Event-ID` or parameter `from`, or the end.

        Raises `NotFound`, `InvalidPayload`, `NotAcceptable`, `Overloaded`.
        """
        topic = self._runtime.topic(request.path_params["topic"])
        streams.accepts(request, streams.CONTENT_TYPE)
        texts = parameters_of(request.scope)
        start = request.headers.get("last-event-id") or texts.pop("from", "latest")
        if texts:
            raise InvalidPayload(f"unknown parameter {min(texts)[:40]!r}: there is 'from'")
        return self._streams.answer(self._items(topic.id, self._position(start)))

    def _position(self, text: str) -> int:
        end = self._runtime.tail.position
        if text == "latest":
            return end
        if text == "beginning":
            return 0
        shard, _, position = text.rpartition(":")
        if shard not in ("", str(self._runtime.tail.shard)) or not _is_number(position):
            raise InvalidPayload(
                f"cannot start from {text[:40]!r}: use an event's id, a position, 'beginning' or "
                "'latest'"
            )
        return min(int(position), end)

    async def _items(self, topic: str, position: int) -> streams.Items:
        tail = self._runtime.tail
        sources = frozenset({topic})
        source = cloudevent.topic_source(self._runtime.service.name, topic)
        start = f"{tail.shard}:{position}"
        yield streams.heartbeat(start), start
        while True:
            scan = await tail.read(position, limit=limits.DISPATCH_BATCH, sources=sources)
            for frames, id in _frames(scan.entries, source):
                yield frames, id
            if scan.position == position:
                await tail.wait(position)
            position = scan.position
            yield b"", f"{tail.shard}:{position}"
            await asyncio.sleep(0)  # a long way to the end must not hold up the node's work


def _frames(entries: list[Entry], source: str) -> list[tuple[bytes, str]]:
    chunks, parts, size = [], [], 0
    for entry in entries:
        event = cloudevents.encode_structured(cloudevent.of_entry(entry, source))
        parts.append(streams.frame(event, id=entry.id))
        size += len(event)
        if size >= limits.STREAM_CHUNK_BYTES or entry is entries[-1]:
            chunks.append((b"".join(parts), entry.id))
            parts, size = [], 0
    return chunks


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19
