"""A valve: a connection's way through this process, which can be shut as a network is cut.

While it is shut nothing passes and nothing is closed: both ends wait, as they do for packets that
are lost on the way. What was on its way arrives when it is opened.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

CHUNK = 64 * 1024

Reach = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


class Valve:
    """Listens on a port of its own and passes everything on. Parameter: `reach` connects to where."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._open = asyncio.Event()
        self._open.set()
        self._server: asyncio.Server | None = None
        self._ways: set[asyncio.Task[None]] = set()
        self.held_up = 0
        """Pieces that found it shut."""

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None, "not started"
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    def shut(self) -> None:
        """Let nothing pass."""
        self._open.clear()

    def open(self) -> None:
        """Let everything pass again."""
        self._open.set()

    async def close(self) -> None:
        """Listen no more; end what is connected."""
        assert self._server is not None, "not started"
        self._server.close()
        for way in list(self._ways):
            way.cancel()
        await asyncio.gather(*self._ways, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        way = asyncio.current_task()
        assert way is not None
        self._ways.add(way)
        try:
            await self._passing()
            there = await self._reach()
            try:
                await _first(self._pass(reader, there[1]), self._pass(there[0], writer))
            finally:
                there[1].close()
        except (OSError, asyncio.CancelledError):
            pass  # one of the ends is gone, or the test is over
        finally:
            writer.close()
            self._ways.discard(way)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(CHUNK):
                await self._passing()
                writer.write(chunk)
                await writer.drain()
            await self._passing()

    async def _passing(self) -> None:
        if not self._open.is_set():
            self.held_up += 1
            await self._open.wait()


async def _first(*directions: Awaitable[None]) -> None:
    """Return when one direction has ended: the other one is of no use to anybody then."""
    tasks = [asyncio.ensure_future(direction) for direction in directions]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
