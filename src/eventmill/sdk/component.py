"""`@component`: gives a class its id, the storage key that never changes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

from eventmill.errors import ConfigurationError
from eventmill.model import limits
from eventmill.model.handler import Handler

C = TypeVar("C", bound=type)

ID = "__eventmill_id__"
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_.-]*[a-z0-9])?")


def component(id: str) -> Callable[[C], C]:
    """Give a component class its id.

    The id is part of every stored key and of the HTTP routes: choose it once, never change it.
    Lower-case letters, digits, `-`, `_` and `.`.

    Raises `ConfigurationError` if the id does not fit.
    """
    bare: Any = id
    if isinstance(bare, type):
        name = bare.__name__
        raise ConfigurationError(
            f"@component names an id: write @component({_suggested(name)!r}) before class {name}"
        )
    check_name("component", id)

    def named(cls: C) -> C:
        setattr(cls, ID, id)
        for value in vars(cls).values():
            if isinstance(value, Handler):
                value.component = id
        return cls

    return named


def _suggested(name: str) -> str:
    """OpenCarts → open-carts."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower().strip("_")


def check_name(kind: str, id: str) -> None:
    """Raise `ConfigurationError` unless `id` is a valid name."""
    if len(id) > limits.NAME_CHARACTERS_MAX or not _NAME.fullmatch(id):
        raise ConfigurationError(
            f"{kind} id {id!r}: use 1 to {limits.NAME_CHARACTERS_MAX} lower-case letters, digits, "
            "'-', '_' and '.', beginning and ending with a letter or digit"
        )


def check_timeout(place: str, seconds: float) -> None:
    """Raise `ConfigurationError` unless a handler's time limit is one."""
    if not 0 < seconds <= limits.INTERVAL_SECONDS_MAX:  # neither is what is no number
        raise ConfigurationError(
            f"{place}: timeout must be above 0 seconds, and {limits.INTERVAL_SECONDS_MAX:,} at most"
        )


def id_of(cls: Any) -> str:
    """Return a component class's id; empty without `@component`."""
    return str(vars(cls).get(ID, "")) if isinstance(cls, type) else ""


def place_of(thing: Any) -> str:
    """Where a class or function is written, for messages."""
    if isinstance(place := getattr(thing, "place", None), str):
        return place
    code = getattr(thing, "__code__", None)
    if code is not None:
        return f"{thing.__qualname__} ({code.co_filename}:{code.co_firstlineno})"
    name = getattr(thing, "__qualname__", None)
    return f"{thing.__module__}.{name}" if name else repr(thing)
