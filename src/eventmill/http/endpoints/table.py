"""The table of routes: what answers a path.

A path is taken apart before it is decoded, as those of the platform's own routes: an encoded slash
is part of a parameter. From left to right, a literal part goes before a parameter, and that before
one that takes the rest; so a path has one meaning, in whatever order routes were declared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar
from urllib.parse import unquote_to_bytes

from eventmill.errors import InvalidPayload
from eventmill.http.wire import Scope
from eventmill.sdk.endpoints.paths import Part

T = TypeVar("T")


class _Node(Generic[T]):
    """A place in the tree of paths."""

    __slots__ = ("answers", "literals", "parameter", "rest")

    def __init__(self) -> None:
        self.literals: dict[str, _Node[T]] = {}
        self.parameter: _Node[T] | None = None
        self.rest: _Node[T] | None = None
        self.answers: dict[str, tuple[T, list[str]]] = {}
        """By method: what answers, and the names of its parameters."""


class Found(NamedTuple, Generic[T]):
    """Where a request's path leads to."""

    answers: dict[str, tuple[T, list[str]]]
    values: list[str]
    """Of the parameters."""


class Table(Generic[T]):
    """Routes by path and method."""

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()

    def add(self, method: str, parts: Sequence[Part], answer: T) -> None:
        """Take a route in, unless its place is taken."""
        node = self._root
        for part in parts:
            if part.is_rest:
                node.rest = node = node.rest or _Node()
            elif part.is_parameter:
                node.parameter = node = node.parameter or _Node()
            else:
                node = node.literals.setdefault(part.text, _Node())
        names = [part.text for part in parts if part.is_parameter]
        node.answers.setdefault(method, (answer, names))

    def find(self, scope: Scope) -> Found[T] | None:
        """Return what a request's path leads to.

        Raises `InvalidPayload`.
        """
        raw: bytes = scope["raw_path"].partition(b"?")[0]
        try:
            parts = [unquote_to_bytes(part).decode() for part in raw.split(b"/")[1:]]
        except UnicodeDecodeError as error:
            raise InvalidPayload("the path is not UTF-8") from error
        return _walk(self._root, [] if parts == [""] else parts, [])


def _walk(node: _Node[T], parts: list[str], values: list[str]) -> Found[T] | None:
    """Go on in the tree; no deeper than it is, however many parts there are."""
    if not parts:
        return Found(node.answers, values) if node.answers else None
    first, others = parts[0], parts[1:]
    found = None
    if first in node.literals:
        found = _walk(node.literals[first], others, values)
    if found is None and node.parameter is not None and first:
        found = _walk(node.parameter, others, [*values, first])
    if found is None and node.rest is not None:
        found = Found(node.rest.answers, [*values, "/".join(parts)])
    return found
