"""Everything that can go wrong, split by who must act.

    EventmillError                 code, message, details, retryable
    ├── Rejected                   the component said no: a business answer, never retried
    ├── RequestError               the caller must change the request
    │   ├── InvalidPayload         it does not decode or validate
    │   ├── UnknownComponent       nothing of that name runs here
    │   ├── UnknownHandler         the component has no such command or query
    │   ├── TooLarge               a limit of `model.limits` is exceeded
    │   └── BodyTimeout            its body took too long to arrive
    ├── NotFound                   the thing asked for does not exist
    ├── Deleted                    the entity was deleted
    ├── Conflict                   it clashes with what is already there
    │   ├── Busy                   a step of the workflow runs: it is delivered again soon
    │   └── Stuck                  the workflow's author must deploy code that knows its step
    ├── Unavailable                try again later: nothing was acknowledged
    │   ├── Overloaded             a queue is full
    │   │   └── TopicFull          a topic has as many bytes as it may have
    │   ├── DeadlineExceeded       the caller's deadline passed before the commit
    │   ├── NotOwner               another node holds the shard by now
    │   ├── Unreachable            nobody serves that address: nothing was sent
    │   ├── NotEverywhere          it is durable, but not yet on as many nodes as wanted
    │   ├── BrokerUnavailable      the broker cannot store or read messages now
    │   ├── StoreUnavailable       the store cannot write now
    │   └── StoreFull              the store has no space left
    ├── HandlerFailed              a handler raised: the component's author must mend it
    ├── DeliveryFailed             the sink of a pushed subscription did not take an event
    ├── ConfigurationError         the service or its operator must be corrected; raised at start
    └── InternalError              a defect of Eventmill or damaged data
        └── DataMisfit             stored data does not fit this code: its author must mend it

Codes are stable; `http.problems` maps them to status codes, no inner room knows HTTP.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

from eventmill.model import codec


def storable(text: str) -> str:
    """Return what went wrong as text that every store and every answer takes: it may name a file with
    bytes that are no UTF-8, and must be told all the same."""
    if text.isascii():
        return text
    return text.encode(errors="backslashreplace").decode()


def described(error: BaseException) -> str:
    """Return what went wrong in one line: not every exception has a text."""
    name, text = type(error).__name__, str(error)
    return f"{name}: {text}" if text else name


FAILURES: Final = (Exception, SystemExit)
"""What user code may end with: a failure stays where it happened, so `sys.exit()` in a handler fails
the handler and does not end the node."""


class EventmillError(Exception):
    """Base of all errors that Eventmill raises on purpose.

    `message` says what failed and what to do next; `code` is stable and machine-readable;
    `details` holds ids and numbers, JSON-encodable.
    """

    code: str = "internal"
    retryable: ClassVar[bool] = False

    def __init__(
        self, message: str = "", *, code: str | None = None, details: dict[str, Any] | None = None
    ) -> None:
        self.message = storable(message) or (type(self).__doc__ or "").strip().split("\n")[0]
        if code is not None:
            self.code = storable(code)
        self.details = details or {}
        super().__init__(self.message)


class Rejected(EventmillError):
    """The component refused the command."""

    code = "rejected"

    def __init__(
        self, message: str = "", *, code: str | None = None, details: dict[str, Any] | None = None
    ) -> None:
        """Raises `TypeError` or `ValueError` for details that are no JSON: the answer is stored."""
        if details:
            codec.encode(details)
        super().__init__(message, code=code, details=details)


class RequestError(EventmillError):
    """The request must be changed before it is sent again."""

    code = "request.invalid"


class InvalidPayload(RequestError):
    """The payload does not decode or does not validate."""

    code = "request.payload"


class UnknownComponent(RequestError):
    """No component of that name runs here."""

    code = "request.unknown_component"


class UnknownHandler(RequestError):
    """The component has no such command or query."""

    code = "request.unknown_handler"


class TooLarge(RequestError):
    """A limit on size, depth or count is exceeded."""

    code = "request.too_large"


class BodyTimeout(RequestError):
    """The body did not arrive in time; send it faster."""

    code = "request.body_timeout"


class NotFound(EventmillError):
    """It does not exist."""

    code = "not_found"


class Deleted(EventmillError):
    """The entity was deleted."""

    code = "entity.deleted"


class Conflict(EventmillError):
    """The request clashes with what is already there."""

    code = "conflict"


class Busy(Conflict):
    """A step of the workflow is running; what was sent to it is delivered again soon."""

    code = "conflict.busy"


class Stuck(Conflict):
    """The workflow is where this code cannot go on; what was sent to it is delivered again later."""

    code = "workflow.stuck"


class Unavailable(EventmillError):
    """The node cannot do it now; nothing was acknowledged; try again."""

    code = "unavailable"
    retryable = True

    def __init__(
        self,
        message: str = "",
        *,
        code: str | None = None,
        details: dict[str, Any] | None = None,
        retry_after_seconds: float = 1.0,
    ) -> None:
        super().__init__(message, code=code, details=details)
        self.retry_after_seconds = retry_after_seconds


class Overloaded(Unavailable):
    """A queue is full; slow down and try again."""

    code = "unavailable.overloaded"


class TopicFull(Overloaded):
    """The topic has as many bytes as it may have; publish again when some were read."""

    code = "unavailable.topic_full"


class DeadlineExceeded(Unavailable):
    """The deadline passed before there was an answer."""

    code = "unavailable.deadline"


class NotOwner(Unavailable):
    """Another node holds the shard by now; ask that one."""

    code = "unavailable.not_owner"


class Unreachable(Unavailable):
    """Nobody serves that address now; nothing was sent."""

    code = "unavailable.unreachable"


class NotEverywhere(Unavailable):
    """The change is durable, but too few nodes have it yet."""

    code = "unavailable.consistency"


class BrokerUnavailable(Unavailable):
    """The broker cannot store or read messages now; what was given to it may be given again."""

    code = "unavailable.broker"


class StoreUnavailable(Unavailable):
    """The store cannot write now."""

    code = "unavailable.store"


class StoreFull(StoreUnavailable):
    """The store has no space left; free some, work resumes by itself."""

    code = "unavailable.store_full"


class HandlerFailed(EventmillError):
    """A handler raised an exception; its author must mend it."""

    code = "handler.failed"


class DeliveryFailed(EventmillError):
    """The sink did not take the event; `retry_after_seconds` is when it wants to be asked again."""

    code = "push.failed"

    def __init__(
        self, message: str = "", *, code: str | None = None, retry_after_seconds: float = 0.0
    ) -> None:
        super().__init__(message, code=code)
        self.retry_after_seconds = retry_after_seconds


class ConfigurationError(EventmillError):
    """The service or the node's settings must be corrected before it can start."""

    code = "configuration"


class InternalError(EventmillError):
    """A defect of Eventmill, or damaged data."""

    code = "internal"


class DataMisfit(InternalError):
    """Stored data does not fit this code; its author must mend it."""

    code = "journal.misfit"
