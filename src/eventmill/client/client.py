"""The client: commands, queries and events over HTTP, typed by the methods themselves.

Place on the road: before the ingress, in another process. Whoever has the component classes calls
them as inside a service; whoever has not, speaks HTTP (`docs/http.md`).

Invariants: every command carries an idempotency key and every event an id that stay the same when a
request is repeated, so a repetition has no second effect (G8); what the service answers as a
problem is raised as the error class that it was there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime
from secrets import SystemRandom, token_hex
from types import TracebackType
from typing import Any, Final, ParamSpec, Self, TypeVar, overload
from urllib.parse import quote, urlencode

import msgspec
from yarl import URL

from eventmill import errors
from eventmill.client.addresses import Address, Addresses, Found
from eventmill.client.connections import LOST, TIMED_OUT, Connections, error_of
from eventmill.client.streams import Change, Frame, frames, lines, reader_of
from eventmill.engine.cloudevent import VERSION
from eventmill.engine.retry import delay
from eventmill.errors import InvalidPayload, TooLarge, Unavailable
from eventmill.model import cloudevents, limits
from eventmill.model.definition import Retry
from eventmill.model.handler import Handler
from eventmill.model.topic import Topic
from eventmill.sdk.component import id_of
from eventmill.sdk.handlers import Query, SqlQuery
from eventmill.sdk.view import View

E = TypeVar("E")
P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
V = TypeVar("V", bound=View)

RETRY: Final = Retry(attempts=3, initial=0.1, factor=2.0, maximum=20.0, jitter=0.2)
"""Three attempts and at most 20 seconds between two, as the AWS SDKs' standard retry mode."""

TIMEOUT_SECONDS: Final = 30.0
"""One attempt: as long as a handler may take on the other side (`limits.HANDLER_SECONDS`)."""

_luck = SystemRandom().random
_JSON: Final = {"content-type": "application/json"}
_ACCEPT: Final = {"accept": "application/json"}


@dataclass(frozen=True, slots=True)
class Published:
    """What became of published events."""

    accepted: int
    duplicates: int


class Client:
    """Calls a service at `url`.

    Use it as `async with Client("http://…") as client`, or `close` it. It may be shared by all
    tasks of a loop.

    Parameters: `timeout_seconds` bounds one attempt; `retry` says how often and when a request is
    repeated after a lost connection, an attempt that took too long, or an answer that says "later"
    (429 and 503; a longer Retry-After is waited for, up to `retry.maximum`); `source` is the
    CloudEvents source of what is published; `new_id`, `luck` and `sleep` are for tests.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
        retry: Retry = RETRY,
        source: str = "/eventmill/client",
        new_id: Callable[[], str] = lambda: token_hex(16),
        luck: Callable[[], float] = _luck,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._addresses: Addresses = Address(url.rstrip("/"))
        self._connections = Connections(timeout_seconds)
        self._retry = retry
        self._source = source
        self._new_id = new_id
        self._luck = luck
        self._sleep = sleep
        self._headers: dict[str, str] = {}
        self._moment: dict[str, str] = {}
        """When entities are looked at, as parameters of a URL; empty: now."""

    def __repr__(self) -> str:
        return f"<Client {self._addresses}>"

    @classmethod
    def of(
        cls,
        service: str,
        *,
        broker: str,
        timeout_seconds: float = TIMEOUT_SECONDS,
        retry: Retry = RETRY,
        source: str = "/eventmill/client",
    ) -> Self:
        """Return a client that finds a service by its name, at a broker: `nats://…`.

        It looks for a node that lives with the first request, and for another one when that is
        gone. Options are those of the class; requests also raise `ConfigurationError` for a broker that is
        none, and `Unavailable` with the code `unavailable.service` when nobody has that name.
        """
        client = cls("", timeout_seconds=timeout_seconds, retry=retry, source=source)
        client._addresses = Found(service, broker)
        return client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._connections.close()

    def using(
        self,
        *,
        idempotency_key: str | None = None,
        deadline_seconds: float | None = None,
        headers: dict[str, str] | None = None,
    ) -> Client:
        """Return this client with other options for its calls; connections are shared.

        Parameters: `idempotency_key` replaces the one that each command gets by itself;
        `deadline_seconds`: a command that was not begun by then is refused; `headers` are sent with
        every request, as `traceparent` and `X-Request-Id`, which end up in the events' metadata.
        """
        other = copy(self)
        other._headers = {**self._headers, **(headers or {})}
        if idempotency_key is not None:
            other._headers["Idempotency-Key"] = idempotency_key
        if deadline_seconds is not None:
            other._headers["Request-Timeout"] = str(deadline_seconds)
        return other

    async def call(
        self, handler: Handler[P, R], id: str, /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run a command or query of the entity `id` and return its reply.

        Raises `Rejected` if the component says no, `RequestError` if the call must be changed,
        `Unavailable` if the service did not answer in time, with nothing acknowledged.
        """
        handler.resolve()
        if self._moment:
            return await self._ask_past(handler, (id, *args), kwargs)
        body = handler.encode_arguments(handler.arguments(args, kwargs))
        headers = dict(_JSON)
        if handler.writes:
            headers["Idempotency-Key"] = self._new_id()
        path = _path_of(handler, id)
        reply: R = handler.decode_reply(await self._request("POST", path, headers, body))
        return reply

    async def query(self, handler: Handler[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a view's query and return its rows.

        Raises as `call`; `InvalidPayload` and `TooLarge` also for arguments that no URL tells.
        """
        if self._moment:
            raise InvalidPayload("views have no past: ask an entity")
        path = self._target(handler, args, kwargs)
        rows: R = handler.decode_reply(await self._request("GET", path, _ACCEPT))
        return rows

    def as_of(self, moment: int | datetime) -> Client:
        """Return this client for queries of entities as they were: after a sequence, or at a time.

        Raises `InvalidPayload` for a time without a zone.
        """
        other = copy(self)
        if isinstance(moment, int):
            other._moment = {"as_of_sequence": str(moment)}
            return other
        if moment.tzinfo is None:
            raise InvalidPayload("as_of: the time needs a time zone, as datetime.UTC")
        other._moment = {"as_of_time": moment.astimezone(UTC).isoformat()}
        return other

    @overload
    def stream(
        self, handler: Query[V, P, list[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> AsyncGenerator[T, None]: ...

    @overload
    def stream(
        self, handler: Handler[P, list[T]], id: str, /, *args: P.args, **kwargs: P.kwargs
    ) -> AsyncGenerator[T, None]: ...

    async def stream(self, handler: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run a query of a view, or of the entity `id`, and yield its answer's items one by one.

        Raises as `query`; an answer that breaks off raises `Unavailable`.
        """
        async with aclosing(self._lines(self._target(handler, args, kwargs))) as found:
            async for line in found:
                (item,) = handler.decode_reply(b"[%s]" % line)
                yield item

    @overload
    def watch(
        self, handler: Query[V, P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> AsyncGenerator[R, None]: ...

    @overload
    def watch(
        self, handler: Handler[P, R], id: str, /, *args: P.args, **kwargs: P.kwargs
    ) -> AsyncGenerator[R, None]: ...

    async def watch(self, handler: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Follow a query, for ever: of the entity `id`, its answer whenever it has changed; of a view
        all rows, then those that are new or changed. After a lost connection it begins anew.

        Raises as `query`, when the service cannot be reached any more.
        """
        async with aclosing(self._follow(self._target(handler, args, kwargs))) as found:
            async for frame in found:
                yield handler.decode_reply(frame.data)

    async def changes(
        self, entity: type, id: str, *, after: int | None = None
    ) -> AsyncGenerator[Change, None]:
        """Follow an entity, for ever: its events, or a key-value entity's states, each once and in
        order, also over lost connections.

        Parameter: `after` is the sequence to go on from; without it, from now on.

        Raises `UnknownComponent`, and `Unavailable` when the service cannot be reached any more.
        """
        read = reader_of(entity)
        path = f"/components/{_part(id_of(entity))}/{_part(id)}/changes"
        async with aclosing(self._follow(path, "" if after is None else str(after))) as found:
            async for frame in found:
                yield read(frame.data)

    async def publish(self, topic: Topic[E], *events: E) -> Published:
        """Append events to a topic, all or none; they are durable when it returns.

        Raises `InvalidPayload` if the topic does not carry an event's type, `TooLarge` for more
        than `limits.BATCH_EVENTS_MAX` events, and as `call`.
        """
        if len(events) > limits.BATCH_EVENTS_MAX:
            raise TooLarge(f"publish at most {limits.BATCH_EVENTS_MAX} events at once")
        first = self._new_id()
        batch = [self._cloud_event(topic, e, f"{first}-{n}") for n, e in enumerate(events)]
        body = cloudevents.encode_batch(batch)
        headers = {"content-type": cloudevents.BATCH_TYPE}
        answer = await self._request("POST", f"/topics/{_part(topic.name)}", headers, body)
        return msgspec.json.decode(answer, type=Published)

    def _cloud_event(self, topic: Topic[Any], event: Any, id: str) -> cloudevents.CloudEvent:
        kind, subject, payload = topic.encode(event)
        return cloudevents.CloudEvent(
            id=id,
            source=self._source,
            type=kind.name,
            subject=subject or None,
            datacontenttype="application/json",
            data=payload,
            extensions={VERSION: kind.written},
        )

    async def _ask_past(
        self, handler: Handler[Any, R], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> R:
        if handler.writes:
            raise InvalidPayload(
                f"{handler.component}.{handler.name} is a command: nobody can change the past"
            )
        answer = await self._request("GET", self._target(handler, args, kwargs), _ACCEPT)
        reply: R = handler.decode_reply(answer)
        return reply

    async def _request(
        self, method: str, path: str, headers: dict[str, str], body: bytes | None = None
    ) -> bytes:
        headers = {**headers, **self._headers}
        attempt = 0
        address = ""
        while True:
            attempt += 1
            try:
                address = await self._addresses.next()
                url = URL(address + path, encoded=True)
                return await self._connections.send(method, url, headers, body)
            except Unavailable as error:
                await self._pause(attempt, address, error)

    async def _follow(self, path: str, last_id: str = "") -> AsyncGenerator[Frame, None]:
        """Yield a stream's events; after a lost connection it goes on behind the last one."""
        attempt = 0
        address = ""
        while True:
            attempt += 1
            try:
                address = await self._addresses.next()
                headers = {"accept": "text/event-stream", **self._headers}
                if last_id:
                    headers["last-event-id"] = last_id
                pieces = self._connections.stream(URL(address + path, encoded=True), headers)
                async with aclosing(frames(pieces)) as found:
                    async for frame in found:
                        attempt, last_id = 0, frame.id or last_id
                        if frame.event == "problem":
                            raise error_of(500, frame.data)
                        if frame.data:
                            yield frame
                raise Unavailable(f"the stream of {address} ended", code=LOST)
            except Unavailable as error:
                await self._pause(max(1, attempt), address, error)

    async def _lines(self, path: str) -> AsyncGenerator[bytes, None]:
        """Yield an answer's lines; it is asked for again as long as none has come."""
        attempt, has_begun = 0, False
        address = ""
        while True:
            attempt += 1
            try:
                address = await self._addresses.next()
                headers = {"accept": "application/x-ndjson", **self._headers}
                pieces = self._connections.stream(URL(address + path, encoded=True), headers)
                async with aclosing(lines(pieces)) as found:
                    async for line in found:
                        has_begun = True
                        yield line
                return
            except Unavailable as error:
                if has_begun:
                    raise
                await self._pause(attempt, address, error)

    async def _pause(self, attempt: int, address: str, error: Unavailable) -> None:
        """Wait until a request is to be sent again, or raise the error."""
        if error.code in (LOST, TIMED_OUT):
            self._addresses.failed(address)
        if attempt >= self._retry.attempts or not _is_worth_repeating(error):
            raise error
        wait = delay(self._retry, attempt, self._luck())
        await self._sleep(min(max(wait, _asked(error)), self._retry.maximum))

    def _target(
        self, handler: Handler[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> str:
        """Return the URL's path and query of a query: of an entity, whose id comes first, or a
        view."""
        handler.resolve()
        if isinstance(handler, SqlQuery):
            path = f"/views/{_part(handler.component)}/{_part(handler.name)}"
        else:
            id, *args = args  # type: ignore[assignment]
            path = _path_of(handler, id)
        texts = handler.write_arguments(handler.arguments(tuple(args), kwargs))
        texts += list(self._moment.items())
        return f"{path}?{urlencode(texts)}" if texts else path


def _is_worth_repeating(error: Unavailable) -> bool:
    return not isinstance(error, errors.DeadlineExceeded | errors.StoreFull)


def _asked(error: Unavailable) -> float:
    """Seconds that the service asked to wait; none for what the client noticed itself."""
    return 0.0 if error.code in (LOST, TIMED_OUT) else error.retry_after_seconds


def _path_of(handler: Handler[Any, Any], id: str) -> str:
    return f"/components/{_part(handler.component)}/{_part(id)}/{_part(handler.name)}"


def _part(text: str) -> str:
    """Quote a text as one segment of a path."""
    if text in (".", ".."):
        raise InvalidPayload(f"{text!r} cannot be part of a path: use another id")
    return quote(text, safe="")
