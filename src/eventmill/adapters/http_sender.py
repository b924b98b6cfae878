"""The sender over aiohttp, with the guard against requests that a client must not cause.

Whoever may create a subscription names a URL that this node will call from inside its network
(server-side request forgery). The guard looks at addresses, not names: every address that a name
resolves to is checked at the moment of connecting, so a name that changes its address in between
gains nothing. Refused always: link-local addresses (cloud metadata services live there), the known
metadata addresses outside that range, multicast, unspecified and reserved ones. Loopback and
private addresses are a setting. Redirects are not followed, proxies of the environment not used.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from datetime import datetime
from email.utils import parsedate_to_datetime
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from eventmill.errors import DeliveryFailed, InvalidPayload, described
from eventmill.model import limits
from eventmill.ports.clock import Clock
from eventmill.ports.sender import UNREACHABLE, Answer

Address = IPv4Address | IPv6Address

METADATA: Final = frozenset(
    map(ip_address, ("100.100.100.200", "192.0.0.192", "168.63.129.16", "fd00:ec2::254"))
)
"""Metadata services that are not link-local: Alibaba, Oracle, Azure's wire server, AWS on IPv6."""

CONNECTIONS: Final = 256
CONNECTIONS_PER_HOST: Final = 64
ANSWER_BYTES_READ: Final = 16 << 10
"""A short answer is read so that its connection can be used again; a longer one is cut off."""

_NAT64: Final = IPv6Network("64:ff9b::/96")


class HttpSender:
    """Sends to http and https.

    Parameters: `private` allows loopback and private addresses.
    """

    def __init__(self, clock: Clock, *, private: bool) -> None:
        self._clock = clock
        self._private = private
        self._session: aiohttp.ClientSession | None = None

    def __repr__(self) -> str:
        return f"<HttpSender [{'all' if self._private else 'public'} addresses]>"

    def check(self, url: str) -> None:
        """Raise `InvalidPayload` unless this is an http(s) URL with a host that may be called."""
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError as error:
            raise InvalidPayload(f"sink {url!r} is no URL: {error}") from error
        if parts.scheme not in ("http", "https") or not host:
            raise InvalidPayload("sink must be an http or https URL with a host")
        if parts.username is not None or parts.password is not None:
            raise InvalidPayload(
                "sink must not hold a password; send it in protocolsettings.headers"
            )
        problem = self._problem(host)
        if problem:
            raise InvalidPayload(f"sink {host}: {problem}", code="push.address")

    async def send(
        self, url: str, headers: dict[str, str], body: bytes, *, method: str, seconds: float
    ) -> Answer:
        problem = self._problem(urlsplit(url).hostname or "")
        if problem:
            raise DeliveryFailed(f"{url}: {problem}", code="push.address")
        if self._session is None:
            self._session = self._opened()
        try:
            async with self._session.request(
                method,
                url,
                data=body,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=seconds),
            ) as response:
                await response.content.read(ANSWER_BYTES_READ)
                return Answer(response.status, self._retry_after(response))
        except aiohttp.ClientConnectorError as error:
            raise DeliveryFailed(f"{url} cannot be reached: {error}", code=UNREACHABLE) from error
        except TimeoutError as error:
            raise DeliveryFailed(f"{url} did not answer within {seconds:g} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise DeliveryFailed(f"{url}: {described(error)}") from error

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _opened(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=CONNECTIONS,
            limit_per_host=CONNECTIONS_PER_HOST,
            resolver=_Resolver(self._private),
            use_dns_cache=False,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )

    def _problem(self, host: str) -> str | None:
        """Check a host that is an address; names are checked when they are resolved."""
        try:
            address = ip_address(host.partition("%")[0])
        except ValueError:
            return None
        return problem_of(address, self._private)

    def _retry_after(self, response: aiohttp.ClientResponse) -> float | None:
        value = response.headers.get("Retry-After")
        if value is None:
            return None
        seconds = _seconds_of(value.strip(), self._clock.now() / 1e6)
        return None if seconds is None else min(max(0.0, seconds), limits.RETRY_AFTER_SECONDS_MAX)


class _Resolver(AbstractResolver):
    """Resolves names to the addresses that may be called; all others do not exist."""

    def __init__(self, private: bool) -> None:
        self._private = private

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, family=family, type=socket.SOCK_STREAM
        )
        problem, allowed = "", []
        for kind, _, protocol, _, where in found:
            address = str(where[0]).partition("%")[0]
            wrong = problem_of(ip_address(address), self._private)
            if wrong:
                problem = f"{host} is {address}: {wrong}"
            else:
                allowed.append(
                    ResolveResult(
                        hostname=host, host=address, port=port, family=kind, proto=protocol,
                        flags=socket.AI_NUMERICHOST,
                    )
                )  # fmt: skip
        if not allowed:
            raise OSError(None, problem or f"{host} has no address")
        return allowed

    async def close(self) -> None:
        """Nothing is held."""


def problem_of(address: Address, private: bool) -> str | None:
    """Say why an address must not be called, or None."""
    for one in _meant(address):
        if one in METADATA or one.is_link_local:
            return "link-local and metadata addresses are never called"
        if one.is_unspecified or one.is_multicast or (one.is_reserved and not one.is_loopback):
            return "this is no address of a host"
        if not private and not one.is_global:
            return "private and loopback addresses are not called by this node (push_private)"
    return None


def _meant(address: Address) -> Iterator[Address]:
    """The address, and the IPv4 address that an IPv6 one stands for."""
    if isinstance(address, IPv4Address):
        yield address
        return
    inner = address.ipv4_mapped or address.sixtofour
    if inner is None and address in _NAT64:
        inner = IPv4Address(int(address) & 0xFFFFFFFF)
    yield inner or address


def _seconds_of(value: str, now: float) -> float | None:
    if value.isascii() and value.isdecimal():
        return float(value[:9])
    try:
        moment: datetime = parsedate_to_datetime(value)
        return moment.timestamp() - now
    except (ValueError, OverflowError):
        return None
