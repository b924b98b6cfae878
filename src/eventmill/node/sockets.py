"""What a node asks of the system for its connections: ports, file descriptors, an end to dead ones.

The server is given a number of connections that fits into the process's file descriptors: if it
accepted more, it would fail at each attempt, and try again without a pause.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import sys

import structlog

from eventmill.errors import ConfigurationError
from eventmill.model import limits

log = structlog.get_logger()


def connections_possible() -> int:
    """Return how many connections the service can have; raise the soft limit of files for them."""
    if sys.platform == "win32":
        return limits.CONNECTIONS_MAX
    import resource

    wanted = limits.CONNECTIONS_MAX + limits.FILES_RESERVED
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return limits.CONNECTIONS_MAX
    files = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    with contextlib.suppress(ValueError, OSError):  # a system may allow less than it says
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
        soft = files
    if soft < wanted:
        log.warning("few file descriptors: raise `ulimit -n`", files=soft, wanted=wanted)
    return max(1, soft - limits.FILES_RESERVED)


def free_port(host: str = "127.0.0.1", count: int = 1) -> int:
    """Return a port that nobody listens on, nor on the `count - 1` after it."""
    while True:
        first = try_port(host, 0, "--port")
        with contextlib.suppress(ConfigurationError, OverflowError):
            for port in range(first + 1, first + count):
                try_port(host, port, "--port")
            return first


def try_port(host: str, port: int, option: str) -> int:
    """Return the port, or a free one for 0, after trying that it can be taken.

    Raises `ConfigurationError`.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            return int(probe.getsockname()[1])
    except OSError as error:
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            host_option = option.replace("port", "host")
            text = f"{host} is no address of this machine: choose another with {host_option}"
        else:
            text = (
                f"port {port} on {host} cannot be taken ({error.strerror}); choose another with "
                f"{option}, or 0 for a free one"
            )
        raise ConfigurationError(text, code="configuration.port") from error


async def listening(host: str, port: int, task: asyncio.Task[None]) -> None:
    """Wait until the server accepts connections."""
    while True:
        if task.done():
            raise ConfigurationError(f"the HTTP server on {host}:{port} did not start")
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError:
            await asyncio.sleep(0.005)
        else:
            writer.close()
            return


def close_dead(port: int) -> None:
    """Let the system close connections whose client leaves what it was sent unread, or is gone
    without a word.

    The server has no time limit for writing, and does not give out its socket. A WebSocket may be silent
    for hours, so the system asks the other side now and then whether it is still there. Connections inherit
    the option from the listening one. Linux only: elsewhere the option, or the list of a process's
    descriptors, does not exist.
    """
    if sys.platform != "linux":
        return
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            found = socket.socket(fileno=int(descriptor))
        except OSError:
            continue  # something else
        try:
            if found.family in (socket.AF_INET, socket.AF_INET6):
                _close_dead(found, port)
        finally:
            found.detach()  # it is the server's, who closes it


def _close_dead(found: socket.socket, port: int) -> None:
    listens = found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if listens and found.getsockname()[1] == port:
        milliseconds = round(limits.UNREAD_SECONDS * 1000)
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL):
            found.setsockopt(socket.IPPROTO_TCP, option, round(limits.KEEPALIVE_SECONDS))
