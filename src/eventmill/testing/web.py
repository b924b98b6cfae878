"""HTTP without a socket: requests, streams and WebSockets straight into an ASGI application.

answer = await host.web.post("/shop/carts/c1/items", {"sku": "x", "quantity": 1})
assert answer.json() == {"x": 1}

async with host.web.events("/shop/scores") as scores:
    assert (await scores.next()).data == {"ann": 3}
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlsplit

Asgi = Callable[[Any, Any, Any], Awaitable[None]]

PATIENCE_SECONDS = 10.0
"""How long a test waits for something that does not come."""

UNREAD_MAX = 16
"""Messages that a stream sends ahead of the test that reads it."""


class Answer(NamedTuple):
    """What was answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    def json(self) -> Any:
        """The body's JSON."""
        return json.loads(self.body)


class Heard(NamedTuple):
    """One event of a stream."""

    data: Any
    id: str
    event: str


class Web:
    """Asks an application as an HTTP client does; whatever it raises, the test gets."""

    def __init__(self, app: Asgi) -> None:
        self._app = app

    def __repr__(self) -> str:
        return f"<Web {self._app!r}>"

    async def get(self, path: str, *, headers: Mapping[str, str] | None = None) -> Answer:
        """Send GET."""
        return await self.request("GET", path, headers=headers)

    async def post(
        self, path: str, data: Any = None, *, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send POST, with data as JSON."""
        return await self.request("POST", path, data, headers=headers)

    async def request(
        self,
        method: str,
        path: str,
        data: Any = None,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request and wait for its whole answer.

        Parameters: `data` is sent as JSON, or else `body` as it is.
        """
        sent = dict(headers or {})
        if body is None:
            body = b"" if data is None else json.dumps(data).encode()
            if data is not None:
                sent.setdefault("content-type", "application/json")
        line = _Line(body, room=0)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self._app(_scope("http", method, path, sent), line.receive, line.send)
        return line.answer()

    @asynccontextmanager
    async def events(
        self, path: str, *, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[Events]:
        """Follow a stream; the client is gone at the end of the block."""
        line = _Line(b"")
        sent = {"accept": "text/event-stream", **(headers or {})}
        async with _running(
            self._app(_scope("http", "GET", path, sent), line.receive, line.send), line
        ):
            yield Events(line)

    @asynccontextmanager
    async def websocket(
        self, path: str, *, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[Talk]:
        """Open a WebSocket; it is closed at the end of the block."""
        line = _Line(None)
        scope = _scope("websocket", "GET", path, dict(headers or {}))
        async with _running(self._app(scope, line.receive, line.send), line):
            yield Talk(line)


class Events:
    """A stream that a test follows."""

    def __init__(self, line: _Line) -> None:
        self._line = line
        self._rest = b""

    async def begun(self) -> None:
        """Wait until it is there.

        Raises `AssertionError` if it is refused.
        """
        while b": heartbeat" not in self._rest:
            await self._take()

    async def next(self) -> Heard:
        """Wait for the next event; heartbeats are passed over.

        Raises `AssertionError` if the stream ends, or nothing comes.
        """
        while True:
            block, found, rest = self._rest.partition(b"\n\n")
            if found:
                self._rest = rest
                fields = dict(line.partition(": ")[::2] for line in block.decode().split("\n"))
                if "data" in fields:
                    data = json.loads(fields["data"])
                    return Heard(data, fields.get("id", ""), fields.get("event", ""))
                continue
            await self._take()

    async def _take(self) -> None:
        message = await self._line.next()
        if message["type"] == "http.response.body":
            assert message.get("more_body"), "the stream has ended"
            self._rest += message["body"]
        else:
            assert message["status"] == 200, f"answered with {message['status']}"


class Talk:
    """A WebSocket that a test talks over."""

    def __init__(self, line: _Line) -> None:
        self._line = line
        self._line.give({"type": "websocket.connect"})

    async def send(self, data: Any) -> None:
        """Send JSON."""
        self._line.give({"type": "websocket.receive", "text": json.dumps(data)})

    async def send_text(self, text: str) -> None:
        """Send a text as it is."""
        self._line.give({"type": "websocket.receive", "text": text})

    async def next(self) -> Any:
        """Wait for the next message and return its JSON.

        Raises `AssertionError` if it is closed, or nothing comes.
        """
        message = await self._said()
        assert message["type"] == "websocket.send", f"it was closed: {message}"
        return json.loads(message.get("text") or message["bytes"])

    async def closed(self) -> int:
        """Wait until it is closed; return the code."""
        message = await self._said()
        assert message["type"] == "websocket.close", f"it says {message}"
        code: int = message.get("code", 1000)
        return code

    async def _said(self) -> Any:
        message = await self._line.next()
        return await self._line.next() if message["type"] == "websocket.accept" else message


class _Line:
    """The server's side of one connection."""

    def __init__(self, body: bytes | None, room: int = UNREAD_MAX) -> None:
        self._in: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._out: asyncio.Queue[dict[str, Any]] = asyncio.Queue(room)
        self._is_gone = False
        self.is_socket = body is None
        if body is not None:
            self.give({"type": "http.request", "body": body, "more_body": False})

    def give(self, message: dict[str, Any]) -> None:
        self._in.put_nowait(message)

    def hang_up(self) -> None:
        kind = "websocket" if self.is_socket else "http"
        self._is_gone = True
        while not self._out.empty():  # who waits to be read is let go
            self._out.get_nowait()
        self.give({"type": f"{kind}.disconnect", "code": 1000})

    async def receive(self) -> dict[str, Any]:
        return await self._in.get()

    async def send(self, message: dict[str, Any]) -> None:
        if not self._is_gone:
            await self._out.put(message)
        elif self.is_socket:
            raise OSError("the client is gone")
        await asyncio.sleep(0)  # as a server does, which writes

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self._out.get()

    def answer(self) -> Answer:
        start = self._out.get_nowait()
        parts = []
        while not self._out.empty():
            parts.append(self._out.get_nowait().get("body", b""))
        headers = {name.decode(): value.decode("latin-1") for name, value in start["headers"]}
        return Answer(start["status"], headers, b"".join(parts))


@asynccontextmanager
async def _running(work: Awaitable[None], line: _Line) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        group.create_task(_awaited(work))
        yield
        line.hang_up()


async def _awaited(work: Awaitable[None]) -> None:
    await work


def _scope(kind: str, method: str, path: str, headers: dict[str, str]) -> dict[str, Any]:
    parts = urlsplit(path)
    given = {"host": "testserver", **{name.lower(): value for name, value in headers.items()}}
    return {
        "type": kind,
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http" if kind == "http" else "ws",
        "path": unquote(parts.path),
        "raw_path": quote(parts.path, safe="/%:@!$&'()*+,;=~").encode(),
        "query_string": parts.query.encode(),
        "root_path": "",
        "headers": [(n.encode(), v.encode("latin-1")) for n, v in given.items()],
        "server": ("testserver", 80),
        "client": ("testclient", 1),
        "subprotocols": [],
        "state": {},
    }
