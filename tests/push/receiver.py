"""A program that receives pushed events: a real HTTP server on loopback, scripted by the test."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

from eventmill.model.cloudevents import CloudEvent, decode

PATIENCE_SECONDS = 20.0


@dataclass
class Delivered:
    """One request."""

    event: CloudEvent
    headers: dict[str, str]
    method: str


class Receiver:
    """Answers 204, or what `answer` says; `taken` holds the events that got a success."""

    def __init__(self) -> None:
        self.requests: list[Delivered] = []
        self.taken: list[CloudEvent] = []
        self.answer: Callable[[CloudEvent], web.Response] = lambda event: web.Response(status=204)
        self.gate = asyncio.Event()
        """Requests wait while it is not set."""
        self.gate.set()
        self.most_at_once = 0
        self.url = ""
        self._now = 0
        self._changed = asyncio.Condition()

    async def handle(self, request: web.Request) -> web.Response:
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        pairs = [(name.lower(), value) for name, value in request.raw_headers]
        headers = {name.decode().lower(): value.decode() for name, value in request.raw_headers}
        (event,) = decode(pairs, await request.read())
        self.requests.append(Delivered(event, headers, request.method))
        await self._notify()
        await self.gate.wait()
        answer = self.answer(event)
        if 200 <= answer.status < 300:
            self.taken.append(event)
        self._now -= 1
        await self._notify()
        return answer

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition that requests make true."""
        async with asyncio.timeout(PATIENCE_SECONDS), self._changed:
            await self._changed.wait_for(condition)

    def by_subject(self) -> dict[str | None, list[CloudEvent]]:
        """Events that were taken, by subject, in order."""
        found: dict[str | None, list[CloudEvent]] = defaultdict(list)
        for event in self.taken:
            found[event.subject].append(event)
        return found

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()


@asynccontextmanager
async def receiving(port: int = 0) -> AsyncIterator[Receiver]:
    """A receiver that listens."""
    receiver = Receiver()
    app = web.Application()
    app.router.add_route("*", "/in", receiver.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    host, port = runner.addresses[0][:2]
    receiver.url = f"http://{host}:{port}/in"
    try:
        yield receiver
    finally:
        receiver.gate.set()
        await runner.cleanup()
