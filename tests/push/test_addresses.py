"""Which addresses a node calls on behalf of whoever may subscribe."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from aiohttp import web

from eventmill.adapters.clock import SystemClock
from eventmill.adapters.http_sender import HttpSender, problem_of
from eventmill.errors import DeliveryFailed, InvalidPayload
from tests.push.receiver import receiving

NEVER = [
    "169.254.169.254", "169.254.170.2", "fe80::1", "100.100.100.200", "192.0.0.192",
    "168.63.129.16", "fd00:ec2::254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::1", "0.0.0.0", "::", "224.0.0.1", "ff02::1", "240.0.0.1", "255.255.255.255",
]  # fmt: skip
PRIVATE = ["127.0.0.1", "127.8.8.8", "::1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "fd00::1"]
PRIVATE += ["::ffff:127.0.0.1", "64:ff9b::7f00:1", "100.64.0.1"]
PUBLIC = ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"]


def test_link_local_metadata_and_odd_addresses_are_never_called() -> None:
    for address in NEVER:
        assert problem_of(ip_address(address), private=True), address
        assert problem_of(ip_address(address), private=False), address


def test_private_addresses_are_a_setting() -> None:
    for address in PRIVATE:
        assert problem_of(ip_address(address), private=True) is None, address
        assert problem_of(ip_address(address), private=False), address


def test_public_addresses_are_called() -> None:
    for address in PUBLIC:
        assert problem_of(ip_address(address), private=False) is None, address


@pytest.mark.parametrize(
    "sink",
    [
        "ftp://example.com/", "file:///etc/passwd", "http:///path", "example.com/in", "http://",
        "http://user:secret@example.com/", "http://example.com:99999/", "http://[::1", "//host/",
        "http://169.254.169.254/latest/meta-data", "http://[fe80::1%25eth0]/",
        "http://[::ffff:a9fe:a9fe]/",
    ],
)  # fmt: skip
def test_urls_that_are_never_called_are_refused_at_once(sink: str) -> None:
    with pytest.raises(InvalidPayload):
        HttpSender(SystemClock(), private=True).check(sink)


async def test_a_name_is_checked_when_it_is_resolved() -> None:
    """Also names that are addresses in disguise, which only the resolver understands."""
    sender = HttpSender(SystemClock(), private=False)
    async with receiving() as receiver:
        port = receiver.url.rsplit(":", 1)[1]
        for host in ("localhost", "2130706433", "0x7f000001", "127.1"):
            url = f"http://{host}:{port}"
            sender.check(url)  # a name may mean anything
            with pytest.raises(DeliveryFailed, match=r"private and loopback|not a canonical"):
                await sender.send(url, {}, b"", method="POST", seconds=5)
        assert receiver.requests == []
    await sender.close()


async def test_redirects_are_not_followed() -> None:
    sender = HttpSender(SystemClock(), private=True)
    headers = {"ce-id": "1", "ce-source": "/t", "ce-type": "T", "ce-specversion": "1.0"}
    async with receiving() as receiver:
        receiver.answer = lambda event: web.Response(status=307, headers={"location": "/in"})
        answer = await sender.send(receiver.url, headers, b"", method="POST", seconds=5)
        assert (answer.status, len(receiver.requests)) == (307, 1)
    await sender.close()


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        ("7", 7, 7),
        ("999999999", 3600, 3600),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0),
        ("Wed, 21 Oct 2099 07:28:00 GMT", 3600, 3600),
    ],
)
async def test_retry_after_is_read_and_bounded(value: str, low: float, high: float) -> None:
    sender = HttpSender(SystemClock(), private=True)
    headers = {"ce-id": "1", "ce-source": "/t", "ce-type": "T", "ce-specversion": "1.0"}
    async with receiving() as receiver:
        receiver.answer = lambda event: web.Response(status=503, headers={"retry-after": value})
        answer = await sender.send(receiver.url, headers, b"", method="POST", seconds=5)
        assert answer.retry_after is not None
        assert low <= answer.retry_after <= high
    await sender.close()
