"""One query of a view's tables: on a connection that can only read, ended when its time is over.

Three walls stand before a query: `engine.views.syntax` takes no statement but a SELECT, the
connection is opened read-only, and SQLite itself is told here to refuse all but reading. So neither
a query nor what it is given can write, open another file, change a setting or leave a transaction
open. What one function may take and make is limited: SQLite looks for an interruption between rows,
not inside a function.
"""

from __future__ import annotations

import threading
from typing import Any

import apsw

from eventmill.errors import DeadlineExceeded, RequestError, StoreUnavailable
from eventmill.model import limits

_READING = frozenset(
    {
        apsw.SQLITE_SELECT,
        apsw.SQLITE_READ,
        apsw.SQLITE_FUNCTION,
        apsw.SQLITE_RECURSIVE,
    }
)


def restrict(db: apsw.Connection) -> None:
    """Let a connection do nothing but read, within limits."""
    db.limit(apsw.SQLITE_LIMIT_LENGTH, limits.VIEW_ANSWER_BYTES_MAX)
    db.limit(apsw.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, limits.VIEW_PATTERN_BYTES_MAX)
    db.limit(apsw.SQLITE_LIMIT_ATTACHED, 0)
    db.authorizer = _authorize


def _authorize(operation: int, *_: object) -> int:
    return apsw.SQLITE_OK if operation in _READING else apsw.SQLITE_DENY


def answer(db: apsw.Connection, sql: str, parameters: dict[str, Any]) -> bytes:
    """Return the one text that a query answers.

    Raises `DeadlineExceeded` when it was interrupted, `RequestError` when it cannot run.
    """
    try:
        row = next(db.execute(sql, parameters), None)
    except apsw.InterruptError as error:
        raise DeadlineExceeded() from error
    except (apsw.SQLError, apsw.TooBigError, apsw.ReadOnlyError, apsw.AuthError) as error:
        raise RequestError(f"the query cannot run: {error}", code="view.query") from error
    except apsw.Error as error:
        raise StoreUnavailable(f"the view tables cannot be read now: {error}") from error
    match row:
        case (str() as text,):
            return text.encode()
        case _:
            raise RequestError("the query cannot run: it answers no text", code="view.query")


class Asking:
    """A query that runs on a thread, or waits for one, and can be ended from outside."""

    def __init__(self, sql: str, parameters: dict[str, Any]) -> None:
        self._sql = sql
        self._parameters = parameters
        self._db: apsw.Connection | None = None
        """Set while the query runs: only this query of the connection is interrupted."""
        self._lock = threading.Lock()
        self._ended = False

    @property
    def is_running(self) -> bool:
        """Whether a thread is busy with it."""
        return self._db is not None

    def end(self) -> None:
        """Interrupt it; it does not begin any more.

        SQLite forgets an interruption that comes before the statement's first step: as long as it
        `is_running`, call again.
        """
        with self._lock:
            self._ended = True
            if self._db is not None:
                self._db.interrupt()

    def run(self, db: apsw.Connection) -> bytes:
        """Run it here.

        Raises what `answer` raises.
        """
        with self._lock:
            if self._ended:
                raise DeadlineExceeded()
            self._db = db
        try:
            return answer(db, self._sql, self._parameters)
        finally:
            with self._lock:
                self._db = None
