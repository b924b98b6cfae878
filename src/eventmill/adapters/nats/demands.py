"""What is demanded of a NATS server: its version, and how large a message it takes."""

from __future__ import annotations

from typing import Final

from eventmill.adapters.nats.connection import Connection
from eventmill.errors import ConfigurationError
from eventmill.model import limits

OLDEST: Final = (2, 15)
"""Atomic batches are complete, and synced once, since this version of the server."""

MESSAGE_BYTES: Final = limits.PAYLOAD_BYTES_MAX + 2 * limits.METADATA_BYTES_MAX
"""Of the largest message."""


def check_version(connection: Connection) -> None:
    """Raise `ConfigurationError` for a server that is too old."""
    if connection.server_version < OLDEST:
        found = ".".join(map(str, connection.server_version))
        needed = ".".join(map(str, OLDEST))
        raise ConfigurationError(
            f"the NATS server is of version {found}; topics need {needed} or later",
            code="configuration.nats_version",
        )


def refused_for_size(connection: Connection) -> str:
    """Return a sentence that tells which messages the server refuses, or nothing."""
    if connection.max_payload >= MESSAGE_BYTES:
        return ""
    return (
        f"the NATS server takes at most {connection.max_payload} bytes a message; "
        f"the largest have {MESSAGE_BYTES}: set max_payload, or they are refused"
    )
