"""The client: commands, queries and events over HTTP, typed by the methods themselves.

Place on the road: before the ingress, in another process. Whoever has the component classes calls
them as inside a service; whoever has not, speaks HTTP (`docs/http.md`).

Invariants: every command carries an idempotency key and every event an id that stay the same when a
request is repeated, so a repetition has no second effect (G8); what the service answers as a
problem is raised as the error class that it was there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from copy import copy
from dataclasses import dataclass
from secrets import SystemRandom, token_hex
from types import TracebackType
from typing import Any, Final, ParamSpec, Protocol, Self, TypeVar
from urllib.parse import quote, urlencode

import aiohttp
import msgspec
from yarl import URL

from eventmill import errors
from eventmill.engine.cloudevent import VERSION
from eventmill.engine.retry import delay
from eventmill.errors import EventmillError, InvalidPayload, TooLarge, Unavailable
from eventmill.model import cloudevents, limits
from eventmill.model.definition import Retry
from eventmill.model.failure import KINDS
from eventmill.model.handler import Handler
from eventmill.model.topic import Topic

E = TypeVar("E")
P = ParamSpec("P")
R = TypeVar("R")

RETRY: Final = Retry(attempts=3, initial=0.1, factor=2.0, maximum=20.0, jitter=0.2)
"""Three attempts and at most 20 seconds between two, as the AWS SDKs' standard retry mode."""

TIMEOUT_SECONDS: Final = 30.0
"""One attempt: as long as a handler may take on the other side (`limits.HANDLER_SECONDS`)."""

_luck = SystemRandom().random
_JSON: Final = {"content-type": "application/json"}


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
        self._addresses: _Addresses = _Address(url.rstrip("/"))
        self._connections = _Connections(timeout_seconds)
        self._retry = retry
        self._source = source
        self._new_id = new_id
        self._luck = luck
        self._sleep = sleep
        self._headers: dict[str, str] = {}

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
        client._addresses = _Found(service, broker)
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
        body = handler.encode_arguments(handler.arguments(args, kwargs))
        headers = dict(_JSON)
        if handler.writes:
            headers["Idempotency-Key"] = self._new_id()
        path = f"/components/{_part(handler.component)}/{_part(id)}/{_part(handler.name)}"
        reply: R = handler.decode_reply(await self._request("POST", path, headers, body))
        return reply

    async def query(self, handler: Handler[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a view's query and return its rows.

        Raises as `call`; `InvalidPayload` and `TooLarge` also for arguments that no URL tells.
        """
        handler.resolve()
        texts = handler.write_arguments(handler.arguments(args, kwargs))
        path = f"/views/{_part(handler.component)}/{_part(handler.name)}"
        path += f"?{urlencode(texts)}" if texts else ""
        accept = {"accept": "application/json"}
        rows: R = handler.decode_reply(await self._request("GET", path, accept))
        return rows

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
                if error.code in (LOST, TIMED_OUT):
                    self._addresses.failed(address)
                if attempt >= self._retry.attempts or not _is_worth_repeating(error):
                    raise
                wait = delay(self._retry, attempt, self._luck())
                await self._sleep(min(max(wait, _asked(error)), self._retry.maximum))


class _Addresses(Protocol):
    """Where a service is."""

    async def next(self) -> str:
        """Return the URL for the next request. Raises `Unavailable` if there is none."""
        ...

    def failed(self, url: str) -> None:
        """Note that nobody answered there."""
        ...


class _Address:
    """The one address that was given."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __repr__(self) -> str:
        return self._url

    async def next(self) -> str:
        return self._url

    def failed(self, url: str) -> None:
        """There is no other."""


class _Found:
    """The nodes of a service, as a broker's directory tells them."""

    def __init__(self, service: str, broker: str) -> None:
        self._service = service
        self._broker = broker
        self._urls: Sequence[str] = []
        self._finding = asyncio.Lock()

    def __repr__(self) -> str:
        return f"{self._service} at {self._broker}"

    async def next(self) -> str:
        async with self._finding:
            if not self._urls:
                self._urls = await self._find()
            return self._urls[0]

    def failed(self, url: str) -> None:
        self._urls = [other for other in self._urls if other != url]

    async def _find(self) -> Sequence[str]:
        from eventmill.node import discovery  # it brings the engine with it: for who needs it

        nodes = await discovery.find(self._broker, self._service)
        if not nodes:
            raise Unavailable(
                f"no service {self._service!r} runs at {self._broker}", code="unavailable.service"
            )
        first = int(_luck() * len(nodes))  # clients spread over the nodes
        return [node.metadata["url"] for node in (*nodes[first:], *nodes[:first])]


class _Connections:
    """The connections of a client and of all that `using` made of it."""

    def __init__(self, timeout_seconds: float) -> None:
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._session: aiohttp.ClientSession | None = None

    async def send(
        self, method: str, url: URL, headers: dict[str, str], body: bytes | None
    ) -> bytes:
        """Send one request; return the answer's body.

        Raises the error that the answer stands for, or `Unavailable` if there is none.
        """
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar()
            )
        try:
            async with self._session.request(
                method, url, data=body, headers=headers, allow_redirects=False
            ) as response:
                answer = await response.read()
        except TimeoutError as error:
            raise Unavailable(
                f"{url.origin()} did not answer within {self._timeout.total} seconds",
                code=TIMED_OUT,
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            raise Unavailable(
                f"{url.origin()} cannot be reached: {type(error).__name__}: {error}", code=LOST
            ) from error
        if response.status >= 300:
            raise error_of(response.status, answer, response.headers.get("retry-after"))
        return answer

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


LOST: Final = "unavailable.connection"
"""Code of an `Unavailable` that the client made itself: the connection failed."""

TIMED_OUT: Final = "unavailable.timeout"
"""Code of an `Unavailable` that the client made itself: the answer took too long."""

PROBLEM_TYPE: Final = "urn:eventmill:problem:"


class _Problem(msgspec.Struct):
    """What is read of a problem document."""

    type: str = ""
    code: str = ""
    detail: str = ""
    details: dict[str, Any] = {}


def error_of(status: int, body: bytes, retry_after: str | None = None) -> EventmillError:
    """Return the error that an answer stands for.

    Parameters: `retry_after` is the header of that name, in seconds.
    """
    try:
        problem = msgspec.json.decode(body, type=_Problem)
    except msgspec.DecodeError:
        problem = _Problem()
    kind = KINDS.get(problem.type.removeprefix(PROBLEM_TYPE)) or _kind_of_status(status)
    message = problem.detail or f"the service answered with status {status}"
    error = kind(message, code=problem.code or None, details=problem.details)
    if isinstance(error, Unavailable) and retry_after is not None and retry_after.isdecimal():
        error.retry_after_seconds = float(retry_after)
    return error


def _kind_of_status(status: int) -> type[EventmillError]:
    if status in (429, 502, 503, 504):
        return Unavailable
    return errors.RequestError if 300 <= status < 500 else errors.InternalError


def _is_worth_repeating(error: Unavailable) -> bool:
    return not isinstance(error, errors.DeadlineExceeded | errors.StoreFull)


def _asked(error: Unavailable) -> float:
    """Seconds that the service asked to wait; none for what the client noticed itself."""
    return 0.0 if error.code in (LOST, TIMED_OUT) else error.retry_after_seconds


def _part(text: str) -> str:
    """Quote a text as one segment of a path."""
    if text in (".", ".."):
        raise InvalidPayload(f"{text!r} cannot be part of a path: use another id")
    return quote(text, safe="")
