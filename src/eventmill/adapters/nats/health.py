"""How a NATS server is, seen from outside: whether nodes could meet and keep topics there.

It asks, and makes nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from eventmill.adapters.nats import api, demands
from eventmill.adapters.nats.connection import Connection
from eventmill.errors import BrokerUnavailable, ConfigurationError
from eventmill.model.finding import Finding


async def examine(servers: Sequence[str]) -> AsyncIterator[Finding]:
    """Tell how the server is that answers at one of these URLs.

    Raises `Unreachable` if none does.
    """
    connection = Connection(servers, "eventmill doctor")
    await connection.open()
    try:
        yield _server(connection)
        yield _size(connection)
        yield await _streams(connection)
    finally:
        await connection.close()


def _server(connection: Connection) -> Finding:
    try:
        demands.check_version(connection)
    except ConfigurationError as error:
        return Finding("nats", "fail", f"{error.message}: update it, or keep --topics store")
    return Finding("nats", "ok", ".".join(map(str, connection.server_version)))


def _size(connection: Connection) -> Finding:
    refused = demands.refused_for_size(connection)
    return Finding("messages", "warn" if refused else "ok", refused or "of every size are taken")


async def _streams(connection: Connection) -> Finding:
    """Whether this user may ask JetStream, and it has room for one stream more."""
    try:
        account = await api.call(connection, "INFO")
    except api.JetStreamError as error:
        advice = "give this user an account that has JetStream, or keep --topics store"
        return Finding("jetstream", "fail", f"{error}: {advice}")
    except BrokerUnavailable as error:
        advice = (
            "turn it on (jetstream {} in the server's configuration) and let this user publish to "
            "$JS.API.> and subscribe to _INBOX.>, or keep --topics store"
        )
        return Finding("jetstream", "fail", f"{error.message}: {advice}")
    streams, most = account["streams"], account["limits"]["max_streams"]
    if 0 < most <= streams:
        advice = f"{streams} of {most} streams are there: a new topic needs one more"
        return Finding("jetstream", "warn", f"{advice}; raise max_streams, or remove old ones")
    return Finding("jetstream", "ok", f"{streams} streams, {account['storage']:,} bytes")
