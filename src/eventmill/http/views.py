"""`GET /views/{view}/{query}`: a view's rows, whole, line by line, or kept up to date.

The client's `Accept` chooses: `application/json` (an array, bounded for collecting),
`application/x-ndjson` (one row a line, bounded for streaming) or `text/event-stream` (an event
`rows` with the changed rows, as a JSON array, whenever there are some).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from eventmill.errors import NotFound
from eventmill.http import streams
from eventmill.http.wire import parameters_of
from eventmill.model import limits
from eventmill.runtime.runtime import Runtime

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"

_rows_of = msgspec.json.Decoder(list[msgspec.Raw]).decode


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
        texts = parameters_of(dict(request.scope))
        kind = streams.accepts(request, JSON, NDJSON, streams.CONTENT_TYPE)
        if kind == streams.CONTENT_TYPE:
            self._check(view, name, texts)
            return self._streams.answer(_items(self._runtime.watch_view(view, name, texts)))
        rows = await self._runtime.query_view(view, name, texts, kind == NDJSON)
        if kind == NDJSON:
            return StreamingResponse(_lines(rows), media_type=NDJSON)
        return Response(rows, media_type=JSON)

    def _check(self, view: str, name: str, texts: dict[str, str]) -> None:
        """Say what is wrong with a request before its stream begins."""
        definition = self._runtime.service.views.get(view)
        if definition is None:
            known = ", ".join(self._runtime.service.views) or "none"
            raise NotFound(f"no view {view!r}; there is {known}")
        query = definition.queries.get(name)
        if query is None:
            known = ", ".join(definition.queries) or "none"
            raise NotFound(f"view {view!r} has no query {name!r}; there is {known}")
        query.handler.parse_arguments(texts)


async def _items(changes: AsyncIterator[bytes]) -> streams.Items:
    async for rows in changes:
        yield streams.frame(rows, event="rows"), ""


async def _lines(answer: bytes) -> AsyncIterator[bytes]:
    """Cut an array into lines, sent in chunks; an answer that is one row is one line."""
    if not answer.startswith(b"["):
        yield answer + b"\n"
        return
    lines, size = [], 0
    for row in _rows_of(answer):
        lines.append(bytes(row))
        size += len(lines[-1])
        if size >= limits.STREAM_CHUNK_BYTES:
            yield b"\n".join([*lines, b""])
            lines, size = [], 0
    if lines:
        yield b"\n".join([*lines, b""])
