"""A WebSocket's connection, with our limits.

The server tells of a client that is gone only to who receives. So somebody always does, a few words
ahead of the function: one that only sends hears of it as well, instead of sending to nobody.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from eventmill.http import streams
from eventmill.http.wire import Message, Receive, Send, check_answer
from eventmill.model import limits

NORMAL: Final = 1000
GOING_AWAY: Final = 1001
REFUSED: Final = 1008
TOO_LARGE: Final = 1009
FAILED: Final = 1011
LATER: Final = 1013
"""Codes of RFC 6455, and of its registry."""


class Line:
    """One client's connection."""

    def __init__(
        self, receive: Receive, send: Send, open_streams: streams.Streams, held: streams.Held
    ) -> None:
        self._receive = receive
        self._send = send
        self._streams = open_streams
        self._held = held
        self._words: deque[Message] = deque()
        """Not received by the function yet."""
        self._bytes = 0
        self._is_gone = False
        self._unheard = 0
        """Messages sent while the client's words waited without an end."""
        self._moved = asyncio.Event()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Receive what the client says meanwhile."""
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(self._listen())
            try:
                yield
            finally:
                listening.cancel()

    async def receive(self) -> Message:
        """Return the next word."""
        while not self._words:
            self._moved.clear()
            await self._moved.wait()
        message = self._words.popleft()
        self._bytes -= _size_of(message)
        self._unheard = 0
        self._moved.set()
        return message

    async def send(self, message: Message) -> None:
        """Send a message.

        Raises `OSError` if the client is gone, or says so much unheard that nobody would know it.
        """
        if self._is_full:
            self._unheard += 1
        if self._is_gone or self._unheard > limits.SOCKET_WORDS_AHEAD:
            raise OSError("the client is gone, or says what nobody receives")
        check_answer(message)
        with self._streams.sending(self._held, _size_of(message)):
            await self._send(message)
        # The server takes what is for nobody without waiting: the word of it has to come through.
        await asyncio.sleep(0)

    @property
    def _is_full(self) -> bool:
        is_long = len(self._words) >= limits.SOCKET_WORDS_AHEAD
        return is_long or self._bytes >= limits.SOCKET_BYTES_AHEAD

    async def _listen(self) -> None:
        while not self._is_gone:
            message = await self._receive()
            size = _size_of(message)
            if size > limits.SOCKET_BYTES_MAX:
                await self._send({"type": "websocket.close", "code": TOO_LARGE})
                message, size = {"type": "websocket.disconnect", "code": TOO_LARGE}, 0
            self._is_gone = message["type"] == "websocket.disconnect"
            self._words.append(message)
            self._bytes += size
            self._moved.set()
            while self._is_full:
                self._moved.clear()
                await self._moved.wait()


def _size_of(message: Message) -> int:
    word = message.get("bytes") or message.get("text") or ""
    return len(word if isinstance(word, bytes) or word.isascii() else word.encode())
