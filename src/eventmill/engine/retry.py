"""When a failed reaction is tried again, and when it is given up. Pure.

Capped exponential backoff with jitter; answers of the business and data that can never be decoded
are not retried.
"""

from __future__ import annotations

from eventmill.engine.tracebacks import told
from eventmill.errors import (
    Busy,
    Deleted,
    DeliveryFailed,
    EventmillError,
    InternalError,
    InvalidPayload,
    Rejected,
    Stuck,
    TooLarge,
    storable,
)
from eventmill.model import limits
from eventmill.model.commit import Letter, LetterStatus
from eventmill.model.definition import PATIENT, Retry
from eventmill.model.entry import TIMER, Entry

BUSY_SECONDS = 1.0
"""Longest wait of a command for a workflow whose step runs, before it is delivered again."""

HOPELESS = (Rejected, InvalidPayload, TooLarge, Deleted, InternalError)
"""Trying again cannot help: somebody has to act first."""


def delay(policy: Retry, attempts: int, luck: float) -> float:
    """Seconds to wait after that many attempts; `luck` is uniform in [0, 1)."""
    wait = min(policy.maximum, policy.initial * policy.factor ** min(attempts - 1, 64))
    return wait * (1 + policy.jitter * (2 * luck - 1))


def park(
    subscription: str,
    key: str,
    entry: Entry,
    error: BaseException,
    attempts: int,
    policy: Retry,
    now: int,
    luck: float,
) -> Letter:
    """Make the letter of an entry whose reaction just failed for the `attempts`-th time."""
    if entry.origin == TIMER:
        policy = PATIENT  # whatever it is for others
    is_busy = isinstance(error, Busy)  # it waits for its turn, which is no failure
    waits = is_busy or isinstance(error, Stuck)
    dead = isinstance(error, HOPELESS) or (attempts >= policy.attempts and not waits)
    wait = delay(policy, attempts, luck)
    if is_busy:
        wait = min(wait, BUSY_SECONDS)
    if isinstance(error, DeliveryFailed):
        wait = max(wait, error.retry_after_seconds)
    cause = error.__cause__ or error
    text = told(cause)
    return Letter(
        subscription=subscription,
        key=key,
        entry=entry,
        status=LetterStatus.DEAD if dead else LetterStatus.RETRYING,
        attempts=attempts,
        due=now + round(wait * 1e6),
        parked=now,
        code=storable(
            error.code if isinstance(error, EventmillError) else type(error).__qualname__
        ),
        error=storable(str(error)[: limits.ERROR_CHARACTERS_MAX]),
        traceback=storable(text[-limits.ERROR_CHARACTERS_MAX :]),
    )


def park_behind(subscription: str, key: str, entry: Entry, now: int) -> Letter:
    """Make the letter of an entry that waits behind a parked one of its key."""
    return Letter(subscription, key, entry, LetterStatus.WAITING, parked=now)
