"""When a failed reaction is tried again, and when it is given up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from eventmill import Retry
from eventmill.engine import retry
from eventmill.errors import (
    Deleted,
    HandlerFailed,
    InternalError,
    InvalidPayload,
    Rejected,
    StoreUnavailable,
    TooLarge,
)
from eventmill.model import limits
from eventmill.model.commit import LetterStatus
from eventmill.testing.contract import entry

policies = st.builds(
    Retry,
    attempts=st.integers(1, 1_000),
    initial=st.floats(0.001, 86_400),
    factor=st.floats(1, 100),
    maximum=st.floats(0.001, 86_400),
    jitter=st.floats(0, 1),
)


def test_waits_double_up_to_the_cap() -> None:
    policy = Retry(initial=0.1, factor=2.0, maximum=1.0)
    waits = [round(retry.delay(policy, n, 0.5), 3) for n in range(1, 7)]
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


@given(policies, st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_a_wait_is_never_negative_nor_beyond_the_cap_and_its_jitter(
    policy: Retry, attempts: int, luck: float
) -> None:
    wait = retry.delay(policy, attempts, luck)
    assert 0 <= wait <= policy.maximum * (1 + policy.jitter) + 1e-9


@given(policies, st.integers(1, 200))
def test_waits_grow(policy: Retry, attempts: int) -> None:
    assert retry.delay(policy, attempts + 1, 0.5) >= retry.delay(policy, attempts, 0.5)


def test_jitter_spreads_around_the_wait() -> None:
    policy = Retry(initial=10.0, jitter=0.2)
    assert [retry.delay(policy, 1, luck) for luck in (0.0, 0.5)] == [8.0, 10.0]


def park(error: BaseException, attempts: int = 1, policy: Retry | None = None) -> LetterStatus:
    policy = policy or Retry(attempts=3)
    return retry.park("s", "k", entry(), error, attempts, policy, 1_000, 0.5).status


def test_a_failure_is_retried_until_the_policy_is_spent() -> None:
    statuses = [park(ValueError(), attempts) for attempts in (1, 2, 3)]
    assert statuses == [LetterStatus.RETRYING, LetterStatus.RETRYING, LetterStatus.DEAD]


def test_what_cannot_get_better_is_dead_at_once() -> None:
    for error in (Rejected(), InvalidPayload(), TooLarge(), Deleted(), InternalError()):
        assert park(error) is LetterStatus.DEAD
    for passing in (StoreUnavailable(), HandlerFailed(), TimeoutError()):
        assert park(passing) is LetterStatus.RETRYING


def test_a_letters_texts_are_bounded() -> None:
    error = ValueError("x" * 100_000)
    letter = retry.park("s", "k", entry(), error, 1, Retry(), 1_000, 0.5)
    assert len(letter.error) <= limits.ERROR_CHARACTERS_MAX
    assert len(letter.traceback) <= limits.ERROR_CHARACTERS_MAX
