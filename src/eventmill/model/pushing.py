"""A subscription made at run time, as data: CloudEvents Subscriptions API, version 0.1 (1.0-wip).

Read from the body of a request, stored as JSON in the node's registry, shown again. Member names
are the specification's; what it leaves to the subscription manager is `Config` and the additions
to `ProtocolSettings`, described in `docs/subscriptions.md`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

import msgspec

from eventmill.errors import InvalidPayload, TooLarge
from eventmill.model import limits

HTTP: Final = "HTTP"

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=limits.ATTRIBUTE_CHARACTERS_MAX)]
_ID = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_VALUE = re.compile(r"[\x20-\x7e\t]*")
_NOT_YOURS: Final = frozenset(
    [
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ]
)
"""Headers that belong to the platform or to the connection."""

HIDDEN: Final = "***"
"""Stands for a header's value when a subscription is shown: it may be a secret."""


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How events are taken and retried."""

    start: str = "latest"
    """`beginning`, `latest`, a journal position or an RFC 3339 time; read at creation only."""
    concurrency: Annotated[int, msgspec.Meta(ge=1, le=limits.PUSH_CONCURRENCY_MAX)] = 16
    """Keys that are sent at the same time."""
    attempts: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 24
    """Deliveries of one event before it is a dead letter; by default that takes two hours."""
    backoff: Annotated[float, msgspec.Meta(gt=0, le=3_600)] = 0.5
    """Seconds before the second attempt, doubled each time."""
    backoffmax: Annotated[float, msgspec.Meta(gt=0, le=86_400)] = 600.0
    """The longest wait between attempts, seconds."""


class ProtocolSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How a request is made."""

    method: Literal["POST", "PUT", "PATCH"] = "POST"
    headers: dict[str, str] = {}
    mode: Literal["binary", "structured"] = "binary"
    """Content mode of the CloudEvent."""
    timeout: Annotated[float, msgspec.Meta(gt=0, le=limits.PUSH_SECONDS_MAX)] = limits.PUSH_SECONDS
    """Seconds that the sink has to answer."""


class Pushing(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One subscription."""

    sink: str
    protocol: str
    id: str = ""
    source: str | None = None
    types: list[_Name] | None = None
    config: Config = Config()
    filters: list[dict[str, Any]] = []
    protocolsettings: ProtocolSettings = ProtocolSettings()


class Standing(msgspec.Struct, frozen=True, omit_defaults=True):
    """A subscription as it is stored: what was asked for, and where it begins in each shard."""

    pushing: Pushing
    begins: dict[int, int] = {}
    """Position by shard; a shard that is not named is read from its beginning."""
    ended: bool = False
    """No node runs it any more; what is left of it goes when all of them know."""


def read(body: bytes) -> Pushing:
    """Read a proposed subscription.

    Raises `InvalidPayload` that names the member, `TooLarge`.
    """
    if len(body) > limits.SUBSCRIPTION_BYTES_MAX:
        raise TooLarge(f"a subscription has at most {limits.SUBSCRIPTION_BYTES_MAX} bytes")
    try:
        # Numbers may come as text: that is how a command line gives them.
        pushing = msgspec.convert(msgspec.json.decode(body), Pushing, strict=False)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise InvalidPayload(f"not a subscription: {error}") from error
    _check(pushing)
    return pushing


def stored(fact: bytes) -> Standing:
    """Read a subscription that was stored."""
    return msgspec.json.decode(fact, type=Standing)


def shown(pushing: Pushing) -> dict[str, Any]:
    """Return a subscription as its owner sees it again: without the values of headers."""
    members: dict[str, Any] = msgspec.to_builtins(pushing)
    headers = pushing.protocolsettings.headers
    if headers:
        members["protocolsettings"]["headers"] = dict.fromkeys(headers, HIDDEN)
    return members


def _check(pushing: Pushing) -> None:
    if pushing.protocol != HTTP:
        raise InvalidPayload(f"protocol {pushing.protocol!r}: only {HTTP!r} is supported")
    if pushing.id and not (
        _ID.fullmatch(pushing.id) and len(pushing.id) <= limits.NAME_CHARACTERS_MAX // 2
    ):
        raise InvalidPayload(
            "id: begin with a letter, then letters, digits, '-' and '_', "
            f"{limits.NAME_CHARACTERS_MAX // 2} characters at most"
        )
    if len(pushing.sink) > limits.SINK_CHARACTERS_MAX:
        raise TooLarge(f"sink has at most {limits.SINK_CHARACTERS_MAX} characters")
    if not pushing.sink.isascii() or any(c.isspace() or not c.isprintable() for c in pushing.sink):
        raise InvalidPayload("sink: percent-encode what is not printable ASCII")
    headers = pushing.protocolsettings.headers
    if len(headers) > limits.SINK_HEADERS_MAX:
        raise TooLarge(f"protocolsettings.headers: {limits.SINK_HEADERS_MAX} at most")
    for name, value in headers.items():
        _check_header(name, value)


def _check_header(name: str, value: str) -> None:
    lower = name.lower()
    if not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
        raise InvalidPayload(f"protocolsettings.headers: {name!r} cannot be sent as a header")
    if lower in _NOT_YOURS or lower.startswith("ce-"):
        raise InvalidPayload(f"protocolsettings.headers: {name!r} is set by the platform")
    if value == HIDDEN:
        raise InvalidPayload(f"protocolsettings.headers: give the value of {name!r} again")
