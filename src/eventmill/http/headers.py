"""Request headers that go into an envelope: read and bounded here, for every way in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from eventmill.errors import InvalidPayload, TooLarge
from eventmill.http.wire import Scope, check_encoding, check_json_type, seconds_of
from eventmill.model import codec, limits
from eventmill.model.envelope import Envelope
from eventmill.ports.clock import Clock

HeaderReader = Callable[[Envelope, dict[str, str], str, Clock], None]
"""Takes a header's value into an envelope or its metadata."""


def envelope_of(scope: Scope, clock: Clock) -> Envelope:
    """Return an envelope to nowhere that has what a request's headers say.

    Raises `InvalidPayload`, `TooLarge`.
    """
    envelope = Envelope("", "", "", ())
    metadata: dict[str, str] = {}
    for header, value in scope["headers"]:
        read = CONTEXT.get(header)
        if read is not None:
            read(envelope, metadata, value.decode("latin-1"), clock)
    if metadata:
        envelope.metadata = codec.encode(metadata)
    return envelope


def _read_key(envelope: Envelope, metadata: dict[str, str], value: str, clock: Clock) -> None:
    if envelope.idempotency_key is not None:
        raise InvalidPayload("Idempotency-Key comes twice")
    if not 0 < len(value) <= limits.IDEMPOTENCY_KEY_CHARACTERS_MAX:
        raise InvalidPayload(
            f"Idempotency-Key has 1 to {limits.IDEMPOTENCY_KEY_CHARACTERS_MAX} characters"
        )
    envelope.idempotency_key = value


def _read_deadline(envelope: Envelope, metadata: dict[str, str], value: str, clock: Clock) -> None:
    if envelope.deadline is not None:
        raise InvalidPayload("Request-Timeout comes twice")
    envelope.deadline = clock.monotonic() + seconds_of(value)


def _read_metadata(header: str, name: str) -> HeaderReader:
    def read(envelope: Envelope, metadata: dict[str, str], value: str, clock: Clock) -> None:
        if len(value) > limits.SUBJECT_CHARACTERS_MAX:
            most = limits.SUBJECT_CHARACTERS_MAX
            raise TooLarge(f"header {header} has at most {most} characters")
        if not value.isascii():
            raise InvalidPayload(f"header {header}: use ASCII")
        metadata[name] = value

    return read


CONTEXT: Final[dict[bytes, HeaderReader]] = {
    b"idempotency-key": _read_key,
    b"request-timeout": _read_deadline,
    b"traceparent": _read_metadata("traceparent", "traceparent"),
    b"tracestate": _read_metadata("tracestate", "tracestate"),
    b"x-request-id": _read_metadata("X-Request-Id", "request_id"),
    b"x-correlation-id": _read_metadata("X-Correlation-Id", "correlation"),
}
"""Those that say who asks, and until when."""

COMMAND: Final[dict[bytes, HeaderReader]] = {
    b"content-type": lambda envelope, metadata, value, clock: check_json_type(value),
    b"content-encoding": lambda envelope, metadata, value, clock: check_encoding(value),
    **CONTEXT,
}
"""Those of a command, besides."""
