"""Errors as data: how an error travels from the node where it was raised to the caller.

The class of an error is named by its class's own code, which is unique and stable; what its raiser
said (code, message, details) stands beside it. HTTP's problem documents name classes the same way.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from eventmill import errors
from eventmill.errors import EventmillError, Unavailable


class Failure(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An error on its way."""

    kind: str
    """Code of the error's class."""
    code: str
    message: str
    details: dict[str, Any] = {}
    retry_after_seconds: float = 0.0


def failure_of(error: EventmillError) -> Failure:
    """Return what is sent of an error."""
    wait = error.retry_after_seconds if isinstance(error, Unavailable) else 0.0
    return Failure(type(error).code, error.code, error.message, error.details, wait)


def error_of(failure: Failure) -> EventmillError:
    """Return the error again; a class that this version does not know becomes `InternalError`."""
    kind = KINDS.get(failure.kind, errors.InternalError)
    if issubclass(kind, errors.DeliveryFailed):
        return kind(failure.message, code=failure.code)
    error = kind(failure.message, code=failure.code, details=failure.details)
    if isinstance(error, Unavailable):
        error.retry_after_seconds = failure.retry_after_seconds
    return error


def _all_kinds(cls: type[EventmillError]) -> dict[str, type[EventmillError]]:
    kinds = {cls.code: cls}
    for child in cls.__subclasses__():
        if child.__module__ == errors.__name__:
            kinds |= _all_kinds(child)
    return kinds


KINDS: Final = _all_kinds(EventmillError)
"""Error classes by their own codes."""
