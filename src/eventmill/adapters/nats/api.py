"""JetStream's own requests: JSON to `$JS.API.…`, JSON back."""

from __future__ import annotations

from typing import Any

import msgspec

from eventmill.adapters.nats.connection import Connection
from eventmill.errors import BrokerUnavailable, Unavailable
from eventmill.model import limits

STREAM_NOT_FOUND = 10059
STREAM_NAME_IN_USE = 10058
MESSAGE_NOT_FOUND = 10037
WRONG_LAST_SEQUENCE = (10071, 10164)
DUPLICATE_IN_BATCH = 10201


class JetStreamError(Exception):
    """JetStream said no; `code` is its own error code."""

    def __init__(self, error: dict[str, Any]) -> None:
        self.code: int = error.get("err_code", 0)
        super().__init__(f"{error.get('description', error)} ({self.code})")


async def call(connection: Connection, name: str, body: Any = None) -> dict[str, Any]:
    """Ask JetStream. Raises `JetStreamError`, or `BrokerUnavailable` if there is no answer."""
    payload = b"" if body is None else msgspec.json.encode(body)
    try:
        reply = await connection.request(f"$JS.API.{name}", payload, limits.BROKER_ATTEMPT_SECONDS)
    except Unavailable as error:
        raise unavailable(error) from error
    return answer_of(reply.payload)


def answer_of(payload: bytes) -> dict[str, Any]:
    """Decode an answer. Raises `JetStreamError` if it is an error."""
    answer = msgspec.json.decode(payload, type=dict[str, Any])
    if "error" in answer:
        raise JetStreamError(answer["error"])
    return answer


def unavailable(cause: object) -> BrokerUnavailable:
    """Make the error that callers of the broker see."""
    return BrokerUnavailable(f"JetStream does not do it now: {cause}")
