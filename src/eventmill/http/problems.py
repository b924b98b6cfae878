"""Errors as RFC 9457 problem documents, and the one table of their status codes.

A problem's `type` names the class of the error, which is how a client finds it again; its `code` is
the error's own, which a component may have chosen. Errors that only HTTP knows stand here.
"""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Final

from starlette.exceptions import HTTPException

from eventmill import errors
from eventmill.model import codec

Header = tuple[bytes, bytes]


class MethodNotAllowed(errors.RequestError):
    """The route exists, but not for this method."""

    code = "request.method"

    def __init__(self, method: str, allow: Iterable[str]) -> None:
        self.allow = ", ".join(allow)
        super().__init__(f"{method} is not possible here; use {self.allow}")


class UnsupportedMediaType(errors.RequestError):
    """The body is of a type that is not understood here."""

    code = "request.media_type"


class NotAcceptable(errors.RequestError):
    """None of the accepted types can be made here."""

    code = "request.not_acceptable"


STATUS: Final[dict[type[errors.EventmillError], int]] = {
    errors.Rejected: 409,
    errors.TooLarge: 413,
    errors.BodyTimeout: 408,
    errors.UnknownComponent: 404,
    errors.UnknownHandler: 404,
    MethodNotAllowed: 405,
    NotAcceptable: 406,
    UnsupportedMediaType: 415,
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
TYPE_PREFIX: Final = "urn:eventmill:problem:"

_PHRASES: Final[dict[int, str]] = {status: status.phrase for status in HTTPStatus}


def status_of(error: errors.EventmillError) -> int:
    """Return the HTTP status of an error."""
    return next(STATUS[cls] for cls in type(error).__mro__ if cls in STATUS)


def document(error: errors.EventmillError) -> tuple[int, bytes]:
    """Return status and body of an error's problem document."""
    status = status_of(error)
    problem: dict[str, Any] = {
        "type": TYPE_PREFIX + type(error).code,
        "title": (type(error).__doc__ or "").strip().split("\n")[0],
        "status": status,
        "code": error.code,
        "detail": error.message,
    }
    if error.details:
        problem["details"] = error.details
    return status, codec.encode(problem)


def of_status(status: int, detail: str) -> bytes:
    """Return the problem document of a status that a service's own route has chosen."""
    problem = {
        "type": "about:blank",
        "title": _PHRASES.get(status, "The service's own answer"),
        "status": status,
        "code": f"endpoint.{status}",
        "detail": errors.storable(str(detail)),
    }
    return codec.encode(problem)


def headers_of(error: errors.EventmillError) -> list[Header]:
    """Return the headers of an error's answer: its type, and when or how to ask again."""
    headers = [(b"content-type", CONTENT_TYPE)]
    if isinstance(error, errors.Unavailable):
        seconds = max(1, round(error.retry_after_seconds))
        headers.append((b"retry-after", str(seconds).encode()))
    elif isinstance(error, errors.BodyTimeout):
        headers.append((b"connection", b"close"))
    elif isinstance(error, MethodNotAllowed):
        headers.append((b"allow", error.allow.encode()))
    return headers


def of_starlette(error: HTTPException, method: str) -> errors.EventmillError:
    """Return what the router raised as an error of this platform."""
    if error.status_code == 405:
        allow = (error.headers or {}).get("Allow", "GET")
        return MethodNotAllowed(method, sorted({*allow.split(", "), "OPTIONS"}))
    return errors.NotFound("nothing answers at this path; see /openapi.json")
