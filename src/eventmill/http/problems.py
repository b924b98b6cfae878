"""Errors as RFC 9457 problem documents, and the one table of their status codes."""

from __future__ import annotations

from typing import Any, Final

from eventmill import errors
from eventmill.model import codec

STATUS: Final[dict[type[errors.EventmillError], int]] = {
    errors.Rejected: 409,
    errors.TooLarge: 413,
    errors.UnknownComponent: 404,
    errors.UnknownHandler: 404,
    errors.RequestError: 400,
    errors.NotFound: 404,
    errors.Deleted: 410,
    errors.Conflict: 409,
    errors.StoreFull: 507,
    errors.StoreUnavailable: 503,
    errors.DeadlineExceeded: 504,
    errors.Overloaded: 429,
    errors.Unavailable: 503,
    errors.HandlerFailed: 500,
    errors.EventmillError: 500,
}

CONTENT_TYPE: Final = b"application/problem+json"


def status_of(error: errors.EventmillError) -> int:
    """Return the HTTP status of an error."""
    return next(STATUS[cls] for cls in type(error).__mro__ if cls in STATUS)


def document(error: errors.EventmillError) -> tuple[int, bytes]:
    """Return status and body of an error's problem document."""
    status = status_of(error)
    problem: dict[str, Any] = {
        "type": f"urn:eventmill:problem:{error.code}",
        "title": (type(error).__doc__ or "").strip().split("\n")[0],
        "status": status,
        "code": error.code,
        "detail": error.message,
    }
    if error.details:
        problem["details"] = error.details
    return status, codec.encode(problem)


def retry_after(error: errors.EventmillError) -> str | None:
    """Return the Retry-After header of an error, in whole seconds."""
    if isinstance(error, errors.Unavailable):
        return str(max(1, round(error.retry_after_seconds)))
    return None
