"""`GET /views/{view}/{query}`: a view's rows, whole, line by line, or kept up to date.

The client's `Accept` chooses: `application/json` (an array, bounded for collecting),
`application/x-ndjson` (one row a line, bounded for streaming) or `text/event-stream` (an event
`rows` with all rows as a JSON array at first, then with those that are new or changed).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from eventmill.http import streams
from eventmill.http.wire import JSON, NDJSON, parameters_of, timeout_of
from eventmill.model import limits
from eventmill.runtime.runtime import Runtime
from eventmill.runtime.views.state import Running, Stopped

FROZEN: Final = "eventmill-view-frozen"
"""Header of an answer from a version that does not follow the journal any more."""


class Views:
    """Answers queries of views."""

    def __init__(self, runtime: Runtime, open_streams: streams.Streams) -> None:
        self._runtime = runtime
        self._streams = open_streams

    async def query(self, request: Request) -> Response | streams.EventStream:
        """Answer `GET /views/{view}/{query}`.

        Raises `NotFound`, `InvalidPayload`, `NotAcceptable`, `DeadlineExceeded`, `Overloaded`.
        """
        view, name = request.path_params["view"], request.path_params["query"]
        texts = parameters_of(request.scope)
        timeout_of(request.scope)  # only looked at: a view's query begins at once or is refused
        # Lines have no place for a page's token: more rows would seem to be all.
        lines = () if self._runtime.is_paged(view, name) else (NDJSON,)
        kind = streams.accepts(request, JSON, *lines, streams.CONTENT_TYPE)
        if kind == streams.CONTENT_TYPE:
            return self._streams.answer(_items(self._runtime.watch_view(view, name, texts)))
        if kind == NDJSON:
            rows, version = await self._runtime.stream_view(view, name, texts)
            return StreamingResponse(_lines(rows), headers=_headers(version), media_type=NDJSON)
        reply, version = await self._runtime.query_view(view, name, texts)
        return Response(reply, headers=_headers(version), media_type=JSON)


def _headers(version: Running | Stopped) -> dict[str, str]:
    """Say so if the rows are those of a position in the past."""
    if isinstance(version, Running):
        return {}
    return {FROZEN: f"version={version.number}, position={version.position}"}


async def _items(changes: AsyncIterator[list[bytes]]) -> streams.Items:
    async for rows in changes:
        yield _told(rows), ""


def _told(rows: list[bytes]) -> bytes:
    frame = streams.frame(b"[%s]" % b",".join(rows), event="rows")
    rows.clear()  # they may be large, and it may take long until the view changes again
    return frame


async def _lines(rows: Iterable[bytes]) -> AsyncIterator[bytes]:
    lines: list[bytes] = []
    size = 0
    for row in rows:
        lines.append(row)
        size += len(row)
        if size >= limits.STREAM_CHUNK_BYTES:
            yield b"\n".join([*lines, b""])
            lines, size = [], 0
    if lines:
        yield b"\n".join([*lines, b""])
