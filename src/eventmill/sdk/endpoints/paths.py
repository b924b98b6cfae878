"""Paths of routes: `/shop/carts/{id}`, `/docs/{page:path}`; whether two of them are the same."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from eventmill.errors import ConfigurationError
from eventmill.model.endpoint import PLATFORM

_LITERAL: Final = re.compile(r"[A-Za-z0-9._~@!$'()*+,;=-]+")
_PARAMETER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(:path)?\}")


class Part(NamedTuple):
    """What stands between two slashes."""

    text: str
    """As it is, or the name of a parameter."""
    is_parameter: bool = False
    is_rest: bool = False
    """A parameter that takes all that follows."""


def parts_of(path: str) -> list[Part]:
    """Take a path apart; `/` has no parts.

    Raises `ConfigurationError` for what is no path.
    """
    if path == "/":
        return []
    if not path.startswith("/") or path.endswith("/"):
        raise ConfigurationError(f"path {path!r}: begin it with '/', and end it without one")
    parts = [_part_of(text, path) for text in path[1:].split("/")]
    if any(part.is_rest for part in parts[:-1]):
        raise ConfigurationError(f"path {path!r}: {{…:path}} takes all that follows: put it last")
    names = [part.text for part in parts if part.is_parameter]
    if len(set(names)) < len(names):
        raise ConfigurationError(f"path {path!r}: a parameter comes twice")
    return parts


def joined(prefix: str, path: str) -> str:
    """Return a route's whole path."""
    whole = prefix.rstrip("/") + path
    return whole.removesuffix("/") or "/" if path == "/" else whole


def check_first(path: str, parts: list[Part]) -> None:
    """Raise `ConfigurationError` for a path that is the platform's, or could be."""
    if parts and parts[0].is_parameter:
        raise ConfigurationError(
            f"path {path!r}: begin it with a word of your own; a parameter could be any of "
            f"{', '.join(sorted(PLATFORM))}, which are the platform's"
        )
    if parts and parts[0].text in PLATFORM:
        raise ConfigurationError(
            f"path {path!r}: what begins with /{parts[0].text} is the platform's; begin it with "
            "another word"
        )


def shape_of(parts: list[Part]) -> str:
    """Return what two paths have in common that match the same requests equally well."""
    return "/".join(("{:path}" if p.is_rest else "{}") if p.is_parameter else p.text for p in parts)


def _part_of(text: str, path: str) -> Part:
    parameter = _PARAMETER.fullmatch(text)
    if parameter is not None:
        return Part(parameter[1], is_parameter=True, is_rest=parameter[2] is not None)
    if not _LITERAL.fullmatch(text) or text in (".", ".."):
        raise ConfigurationError(
            f"path {path!r}: {text!r} is no part of a path: use letters, digits and marks as they "
            "stand in a URL, or {name} (its type is the parameter's), or {name:path} at the end"
        )
    return Part(text)
