"""Connections of a client: requests and streams out, answers and errors back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from typing import Any, Final

import aiohttp
import msgspec
from yarl import URL

from eventmill import errors
from eventmill.errors import EventmillError, Unavailable, described
from eventmill.model import limits
from eventmill.model.failure import KINDS

LOST: Final = "unavailable.connection"
"""Code of an `Unavailable` that the client made itself: the connection failed."""

TIMED_OUT: Final = "unavailable.timeout"
"""Code of an `Unavailable` that the client made itself: the answer took too long."""

PROBLEM_TYPE: Final = "urn:eventmill:problem:"

SILENCE_SECONDS: Final = 3 * limits.HEARTBEAT_SECONDS
"""A stream that says nothing for so long is lost."""


class Connections:
    """The connections of a client and of all that `using` made of it."""

    def __init__(self, timeout_seconds: float) -> None:
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._silence = aiohttp.ClientTimeout(
            total=None, sock_connect=timeout_seconds, sock_read=SILENCE_SECONDS
        )
        self._session: aiohttp.ClientSession | None = None
        self._turns = asyncio.Semaphore(limits.CLIENT_REQUESTS_MAX)

    async def send(
        self, method: str, url: URL, headers: dict[str, str], body: bytes | None
    ) -> bytes:
        """Send one request; return the answer's body.

        Raises the error that the answer stands for, or `Unavailable` if there is none.
        """
        async with self._turns:
            with _noticing(url, f"within {self._timeout.total} seconds"):
                async with self._opened().request(
                    method, url, data=body, headers=headers, allow_redirects=False
                ) as response:
                    answer = await response.read()
        _check(response, answer)
        return answer

    async def stream(self, url: URL, headers: dict[str, str]) -> AsyncGenerator[bytes, None]:
        """Open a stream and yield it in pieces as they come. Raises as `send`."""
        with _noticing(url, f"for {SILENCE_SECONDS:g} seconds"):
            async with self._opened().get(
                url, headers=headers, timeout=self._silence, allow_redirects=False
            ) as response:
                if response.status >= 300:
                    _check(response, await response.read())
                async for piece in response.content.iter_any():
                    yield piece

    async def close(self) -> None:
        """Close all of them."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            # A connector's own limit counts streams too, and serves whoever asks next, not first.
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                timeout=self._timeout,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session


@contextmanager
def _noticing(url: URL, patience: str) -> Iterator[None]:
    """Turn what a connection raises into `Unavailable`."""
    try:
        yield
    except TimeoutError as error:
        text = f"{url.origin()} did not answer {patience}"
        raise Unavailable(text, code=TIMED_OUT) from error
    except (aiohttp.ClientError, OSError) as error:
        text = f"{url.origin()} cannot be reached: {described(error)}"
        raise Unavailable(text, code=LOST) from error


def _check(response: aiohttp.ClientResponse, answer: bytes) -> None:
    if response.status >= 300:
        raise error_of(response.status, answer, response.headers.get("retry-after"))


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
