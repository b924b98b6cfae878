"""One connection to NATS, for as long as its owner lives.

The client is nats-py's: handshake, TLS, pings, reconnecting are its own. Two things go around it,
because they cost ten times as much in it: commands are written as bytes (`wire`), and messages of
our subscriptions go straight from the parser to their sink, without a queue and a task each. For
that `_Client` touches what nats-py does not publish; `pyproject.toml` bounds its version.

Invariants: a lost connection is made again for ever, with growing pauses; if the client gives up
(a server's `-ERR` makes it do so), another one takes its place. Requests under way when the
connection is lost end at once, with an unknown outcome. Sinks never stop the reading.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import secrets
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import nats.errors
from nats.aio.client import Client
from nats.aio.transport import TcpTransport

from eventmill.adapters.nats import wire
from eventmill.errors import DeadlineExceeded, Unavailable, Unreachable
from eventmill.model.addresses import without_secrets

Sink = Callable[[str, str, bytes, bytes | None], None]
"""Takes a message: subject, reply subject, payload, header block."""

CONNECT_SECONDS: Final = 5.0
"""Within this time a server must answer when the node starts."""
PAUSE_SECONDS_FIRST: Final = 0.05
PAUSE_SECONDS_MAX: Final = 2.0
PING_SECONDS: Final = 5
"""A server that answers two of them not is given up."""
SETTLE_SECONDS: Final = 5
AT_ONCE_BYTES: Final = 16 << 10
"""So much is written at once; less waits for the flusher's task, together with what others send."""
PENDING_BYTES_MAX: Final = 16 << 20

_log = logging.getLogger("eventmill.nats")


class Reply(NamedTuple):
    """The answer to a request."""

    headers: bytes | None
    payload: bytes


class Connection:
    """A connection that comes back. Parameters: `servers` are URLs; `name` is shown by the server."""

    def __init__(self, servers: Sequence[str], name: str) -> None:
        self._servers = list(servers)
        self._name = name
        self._client = _Client()
        self._subscriptions: dict[str, tuple[str, Sink]] = {}
        self._waiting: dict[str, asyncio.Future[Reply]] = {}
        self._numbers = itertools.count(1)
        self._inbox = f"_INBOX.{secrets.token_hex(8)}"
        self._on_return: list[Callable[[], None]] = []
        self._revival: asyncio.Task[None] | None = None
        self._open = False
        self._said = ""
        """What went wrong last: the client goes on trying."""

    def __repr__(self) -> str:
        state = "connected" if self._client.is_connected else "not connected"
        return f"<nats.Connection {self._name} [{state}]>"

    @property
    def server_version(self) -> tuple[int, int]:
        """Major and minor version of the server."""
        version = self._client.connected_server_version
        return version.major, version.minor

    @property
    def max_payload(self) -> int:
        """Bytes of headers and payload that the server takes."""
        return self._client.max_payload

    def on_return(self, tell: Callable[[], None]) -> None:
        """Call this whenever the connection was lost and is there again."""
        self._on_return.append(tell)

    async def open(self) -> None:
        """Connect. Raises `Unreachable` if no server answers."""
        self._open = True
        self._client = _Client()
        try:
            await self._connect()
            await self.subscribe(f"{self._inbox}.*", self._answered)
        except (OSError, TimeoutError, nats.errors.Error) as error:
            await self.close()
            said = self._said or str(error) or "no answer in time"
            raise Unreachable(
                f"no NATS server answers at {', '.join(map(without_secrets, self._servers))} ({said}); start "
                "one, or mend the address, or its user and password"
            ) from error

    async def close(self) -> None:
        """Send what is pending, disconnect."""
        self._open = False
        if self._revival is not None:
            self._revival.cancel()
        await self.settle()
        await self._client.give_up()
        self._lost()

    async def subscribe(self, subject: str, sink: Sink, *, queue: str = "") -> None:
        """Give messages of a subject to a sink, also after the connection was lost."""
        self._subscriptions[subject] = (queue, sink)
        if self._client.is_connected or self._client.is_reconnecting:
            await self._client.sink(subject, queue, sink)

    async def unsubscribe(self, subject: str) -> None:
        """Let go of a subject; unknown ones are fine."""
        if self._subscriptions.pop(subject, None) is not None:
            await self._client.unsink(subject)

    async def settle(self) -> None:
        """Wait until the server has everything that was sent, subscriptions too.

        A message to ourselves comes back behind it all; nats-py's own `flush` overtakes what is pending.
        """
        number = str(next(self._numbers))
        back: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[number] = back
        try:
            self.post(wire.publish(f"{self._inbox}.{number}", b""))
            async with asyncio.timeout(SETTLE_SECONDS):
                await back
        except (TimeoutError, Unavailable):
            return  # lost: everything is subscribed again with the next connection
        finally:
            self._waiting.pop(number, None)

    def post(self, *commands: bytes) -> None:
        """Send commands soon, in this order. Raises `Unreachable` if there is no connection."""
        if not self._client.is_connected:
            raise Unreachable("the connection to NATS is lost; it is being made again")
        self._client.post(commands)

    def inbox(self, name: str) -> str:
        """Return a subject that is only this connection's."""
        return f"{self._inbox}.{name}.{next(self._numbers)}"

    async def request(
        self, subject: str, payload: bytes, seconds: float, *before: bytes, headers: bytes = b""
    ) -> Reply:
        """Send commands, then a request; return its answer.

        Raises `Unreachable` if nobody heard it, `DeadlineExceeded` if its outcome is unknown.
        """
        number = str(next(self._numbers))
        reply = f"{self._inbox}.{number}"
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            self.post(*before, wire.publish(subject, payload, reply=reply, headers=headers))
            async with asyncio.timeout(seconds):
                found = await answer
        except TimeoutError:
            raise DeadlineExceeded(
                f"no answer within {seconds:g} s; its outcome is unknown"
            ) from None
        finally:
            self._waiting.pop(number, None)
        if not found.payload and wire.status_of(found.headers)[:3] == wire.NO_RESPONDERS:
            raise Unreachable(f"nobody answers to {subject!r} now")
        return found

    def _answered(self, subject: str, reply: str, payload: bytes, headers: bytes | None) -> None:
        answer = self._waiting.get(subject[len(self._inbox) + 1 :])
        if answer is not None and not answer.done():
            answer.set_result(Reply(headers, payload))

    async def _connect(self) -> None:
        client = self._client
        async with asyncio.timeout(CONNECT_SECONDS):
            await client.connect(
                self._servers,
                name=self._name,
                connect_timeout=2,
                allow_reconnect=True,
                max_reconnect_attempts=-1,
                reconnect_time_wait=round(PAUSE_SECONDS_MAX),
                reconnect_to_server_handler=_next_server,
                ping_interval=PING_SECONDS,
                max_outstanding_pings=2,
                pending_size=PENDING_BYTES_MAX,
                error_cb=self._on_error,
                disconnected_cb=self._on_disconnect,
                reconnected_cb=self._on_reconnect,
                closed_cb=self._on_closed,
            )
        for subject, (queue, sink) in list(self._subscriptions.items()):
            await client.sink(subject, queue, sink)

    async def _on_error(self, error: Exception) -> None:
        # A server that refuses says why, and hangs up: the second is no news.
        if not (self._said and isinstance(error, ConnectionError)):
            self._said = str(error)
        _log.debug("NATS: %s", error)

    async def _on_disconnect(self) -> None:
        if self._open:
            _log.warning("the connection to NATS is lost; it is made again")
        self._lost()

    async def _on_reconnect(self) -> None:
        _log.info("connected to NATS again")
        for tell in self._on_return:
            tell()

    async def _on_closed(self) -> None:
        if self._open and (self._revival is None or self._revival.done()):
            self._revival = asyncio.get_running_loop().create_task(self._revive())

    async def _revive(self) -> None:
        """Put another client in the place of one that gave up."""
        pause = PAUSE_SECONDS_FIRST
        while self._open:
            self._client = _Client()
            try:
                await self._connect()
            except (OSError, TimeoutError, nats.errors.Error) as error:
                _log.warning("NATS cannot be reached: %s", error)
                await self._client.give_up()
                await asyncio.sleep(pause)
                pause = min(2 * pause, PAUSE_SECONDS_MAX)
            else:
                await self._on_reconnect()
                return

    def _lost(self) -> None:
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(
                    DeadlineExceeded("the connection was lost before the answer; outcome unknown")
                )
                answer.exception()  # whoever waits may be gone: not worth a warning


class _Client(Client):
    """nats-py's client, with a way past its queues."""

    def __init__(self) -> None:
        super().__init__()
        self._sinks: dict[int, Sink] = {}
        self._sids: dict[str, int] = {}

    async def sink(self, subject: str, queue: str, sink: Sink) -> None:
        if subject in self._sids:
            return
        sid = self._sid + 1  # of the subscription made next: no message may come before its sink
        self._sinks[sid] = sink
        self._sids[subject] = sid
        await self.subscribe(subject, queue)

    async def unsink(self, subject: str) -> None:
        sid = self._sids.pop(subject, 0)
        subscription = self._subs.get(sid)
        if subscription is not None:
            with contextlib.suppress(nats.errors.Error):
                await subscription.unsubscribe()
        self._sinks.pop(sid, None)

    def post(self, commands: Sequence[bytes]) -> None:
        self._pending.extend(commands)
        self._pending_data_size += sum(map(len, commands))
        if self._pending_data_size >= AT_ONCE_BYTES and isinstance(self._transport, TcpTransport):
            self._transport.writelines(self._pending)  # type: ignore[no-untyped-call]
            self._pending = []
            self._pending_data_size = 0
            return
        queue = self._flush_queue
        if queue is not None and queue.empty():
            queue.put_nowait(asyncio.get_running_loop().create_future())

    async def give_up(self) -> None:
        """Close, whatever state it is in."""
        if self._flush_queue is None:
            return  # it was never connected
        with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
            await self.close()

    async def _connect_to_server(self, s: Any) -> None:
        if self._transport:  # of an attempt that failed after it was connected
            self._transport.close()  # type: ignore[no-untyped-call]
        await super()._connect_to_server(s)

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None
    ) -> None:
        sink = self._sinks.get(sid)
        if sink is None:
            return
        try:
            sink(subject.decode(), reply.decode(), data, headers)
        except Exception:  # else nats-py would stop reading
            _log.exception("a message on %r could not be taken", subject)


def _next_server(pool: list[Any], info: dict[str, Any]) -> tuple[Any, float]:
    """Choose the server that failed least, and how long to wait before it is tried."""
    server = min(pool, key=lambda candidate: candidate.reconnects)
    tries = min(server.reconnects, 16)
    return server, min(PAUSE_SECONDS_FIRST * 2**tries, PAUSE_SECONDS_MAX) if tries else 0.0
