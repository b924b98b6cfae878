"""What every way in shares: ASGI's types, the target in a path, bodies and their limits."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, MutableMapping
from math import isfinite
from typing import Any, Final
from urllib.parse import parse_qsl, unquote_to_bytes

from eventmill.errors import InvalidPayload, TooLarge, UnknownHandler
from eventmill.http.problems import Header, UnsupportedMediaType
from eventmill.model import limits
from eventmill.model.handler import Texts
from eventmill.model.subject import check_text

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

COMPONENTS: Final = "/components/"
TOPICS: Final = "/topics/"
JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
JSON_HEADERS: Final[list[Header]] = [(b"content-type", JSON.encode())]
NDJSON_HEADERS: Final[list[Header]] = [(b"content-type", NDJSON.encode())]

_SLASHES = 4
"""Of `/components/{component}/{id}/{name}`. An encoded slash is part of an id and separates nothing:
who guards paths in front of a node must see the same parts as the node."""

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")

_LOST = "\ufffd"
"""What the server puts where the path is not UTF-8."""


def check_answer(message: Message) -> None:
    """Raise `ValueError` for what cannot stand in an answer's head: the server would not survive it, and
    the node with it."""
    kind = message["type"]
    if kind.endswith("response.start") and not 200 <= message["status"] <= 599:
        raise ValueError(f"an answer's status is 200 to 599, not {message['status']!r}")
    if kind == "websocket.accept":
        protocol = message.get("subprotocol")
        if protocol is not None and not _TOKEN.fullmatch(protocol.encode()):
            raise ValueError(f"a WebSocket's subprotocol is a word, not {protocol!r}")
        for name, value in message.get("headers") or ():
            if not _TOKEN.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
                raise ValueError(f"{name!r}: {value!r} cannot be a header")


def target_of(scope: Scope) -> tuple[str, str, str]:
    """Return component, id and handler name of a path.

    Raises `UnknownHandler` for a path of another shape, `InvalidPayload` or `TooLarge` for an id
    that cannot be one.
    """
    parts = scope["path"][len(COMPONENTS) :].split("/")
    if len(parts) != 3 or _LOST in parts[1] or scope["raw_path"].count(b"/") != _SLASHES:
        parts = _raw_parts(scope)
    if len(parts) != 3 or not parts[1]:
        raise UnknownHandler("use /components/{component}/{id}/{command or query}")
    id = parts[1]
    if not id.isprintable():
        check_text("an entity id", id)
    if len(id) > limits.SUBJECT_CHARACTERS_MAX:
        raise TooLarge(f"an entity id has at most {limits.SUBJECT_CHARACTERS_MAX} characters")
    return parts[0], id, parts[2]


def _raw_parts(scope: Scope) -> list[str]:
    # Only the raw path tells an encoded slash from a separator.
    raw: bytes = scope["raw_path"].partition(b"?")[0]
    try:
        return [unquote_to_bytes(part).decode() for part in raw.split(b"/")[2:]]
    except UnicodeDecodeError as error:
        raise InvalidPayload("the path is not UTF-8") from error


def parameters_of(scope: Scope) -> Texts:
    """Return the parameters of a URL's query, each with its values.

    Raises `InvalidPayload`, `TooLarge` for too many values.
    """
    query: bytes = scope["query_string"]
    if not query:
        return {}
    if query.count(b"&") >= limits.URL_VALUES_MAX:
        raise TooLarge(f"the URL's query has more than {limits.URL_VALUES_MAX} values")
    texts: Texts = {}
    try:
        for name, value in parse_qsl(query.decode("ascii"), True, errors="strict"):
            texts.setdefault(name, []).append(value)
    except ValueError as error:
        raise InvalidPayload(f"the URL's query is not understood: {error}") from error
    return texts


def taken_from(texts: Texts, name: str) -> str | None:
    """Take a parameter of our own out of a URL's query.

    Raises `InvalidPayload` if it comes twice.
    """
    values = texts.pop(name, [])
    if len(values) > 1:
        raise InvalidPayload(f"{name} comes twice in the URL's query")
    return values[0] if values else None


def header_of(scope: Scope, name: bytes) -> str:
    """Return a header's first value; empty if it is not there."""
    for header, value in scope["headers"]:
        if header == name:
            return str(value.decode("latin-1"))
    return ""


def timeout_of(scope: Scope) -> float | None:
    """Return the seconds of a `Request-Timeout`, if there is one.

    Raises `InvalidPayload`.
    """
    given = [value for name, value in scope["headers"] if name == b"request-timeout"]
    if len(given) > 1:
        raise InvalidPayload("Request-Timeout comes twice")
    return seconds_of(given[0].decode("latin-1")) if given else None


def seconds_of(value: str) -> float:
    """Read a `Request-Timeout`; raises `InvalidPayload`."""
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if not isfinite(seconds) or seconds < 0:
        raise InvalidPayload("Request-Timeout is a number of seconds, 0 or more")
    return seconds


def check_json_type(value: str) -> None:
    """Raise `UnsupportedMediaType` unless a Content-Type is JSON.

    Browsers send other types to any site without asking: a page elsewhere shall not reach a node.
    """
    if value != "application/json":
        kind = value.partition(";")[0].strip().lower()
        if kind != "application/json" and not kind.endswith("+json"):
            raise UnsupportedMediaType(f"content type {kind!r}: send application/json")


def check_encoding(value: str) -> None:
    """Raise `UnsupportedMediaType` for a compressed body: bodies are never decompressed."""
    if value.strip().lower() != "identity":
        raise UnsupportedMediaType(f"content encoding {value!r}: send the body as it is")


async def send_answer(
    scope: Scope, send: Send, status: int, headers: list[Header], body: bytes
) -> None:
    """Send a whole answer; without its body to HEAD."""
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
