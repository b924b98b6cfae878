"""How the bounds relate: each one must leave room for what it has to hold."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from eventmill.model import limits

LIMITS = Path(limits.__file__).parent
SOURCES = LIMITS.parents[1]


def test_a_full_payload_fits_into_a_body() -> None:
    assert limits.BODY_BYTES_MAX > limits.PAYLOAD_BYTES_MAX + limits.METADATA_BYTES_MAX


def test_what_one_effect_may_cause_fits_into_one_commit() -> None:
    most = limits.EVENTS_PER_EFFECT_MAX + limits.OUTGOING_PER_EFFECT_MAX
    assert most <= limits.COMMIT_ENTRIES_MAX


def test_a_batch_from_outside_fits_into_one_commit() -> None:
    assert limits.BATCH_EVENTS_MAX <= limits.COMMIT_ENTRIES_MAX


def test_what_a_subscription_takes_at_once_fits_into_one_commit() -> None:
    assert limits.DISPATCH_BATCH <= limits.COMMIT_ENTRIES_MAX
    assert limits.VIEW_BATCH <= limits.COMMIT_ENTRIES_MAX


def test_a_scan_fills_a_batch() -> None:
    assert limits.SCAN_ROWS >= limits.DISPATCH_BATCH


def test_the_tail_holds_everything_that_waits_to_be_committed() -> None:
    most = limits.COMMIT_ENTRIES_MAX + limits.COMMIT_REPLIES_MAX  # a delta for each caller besides
    assert limits.COMMITS_WAITING_MAX * most <= limits.TAIL_RECORDS
    assert limits.TAIL_BYTES >= limits.COMMITS_WAITING_MAX * limits.COMMIT_BYTES_MAX


def test_a_batch_from_outside_and_an_effect_are_one_commits_worth() -> None:
    assert limits.BODY_BYTES_MAX <= limits.COMMIT_BYTES_MAX
    assert limits.EFFECT_BYTES_MAX <= limits.COMMIT_BYTES_MAX
    assert limits.EFFECT_BYTES_MAX >= limits.PAYLOAD_BYTES_MAX


def test_a_scan_reads_the_largest_payloads_and_fits_into_a_commit() -> None:
    assert limits.PAYLOAD_BYTES_MAX <= limits.SCAN_BYTES_MAX <= limits.COMMIT_BYTES_MAX


def test_the_tail_holds_several_of_the_largest_payloads() -> None:
    assert limits.TAIL_BYTES >= 16 * limits.PAYLOAD_BYTES_MAX


def test_one_entity_cannot_fill_the_node() -> None:
    assert limits.MAILBOX_ENTITY_MAX < limits.IN_FLIGHT_MAX


def test_the_cache_holds_several_of_the_largest_states() -> None:
    assert limits.CACHE_BYTES >= 16 * limits.PAYLOAD_BYTES_MAX


def test_slices_divide_into_shards_of_equal_length() -> None:
    assert limits.SLICES & (limits.SLICES - 1) == 0


def test_a_snapshot_comes_before_a_commits_worth_of_events() -> None:
    assert limits.SNAPSHOT_EVERY < limits.EVENTS_PER_EFFECT_MAX


def test_a_deleted_entity_outlives_the_memory_of_its_requests() -> None:
    assert limits.RETENTION_DELETED_SECONDS > limits.IDEMPOTENCY_SECONDS


def test_streamed_rows_are_more_than_collected_ones() -> None:
    assert limits.VIEW_ROWS_STREAMED_MAX > limits.VIEW_ROWS_COLLECTED_MAX
    assert limits.VIEW_PAGE_ROWS <= limits.VIEW_ROWS_COLLECTED_MAX


def test_a_view_keeps_a_whole_batchs_rows_in_memory() -> None:
    assert limits.VIEW_ROWS_CACHED >= limits.VIEW_BATCH


def test_a_letters_error_is_small_beside_its_entry() -> None:
    assert 2 * limits.ERROR_CHARACTERS_MAX <= limits.PAYLOAD_BYTES_MAX


def test_names_fit_into_subjects_and_headers() -> None:
    assert limits.NAME_CHARACTERS_MAX < limits.SUBJECT_CHARACTERS_MAX
    assert limits.SUBJECT_CHARACTERS_MAX < limits.ATTRIBUTE_CHARACTERS_MAX
    assert limits.EXTENSIONS_MAX * limits.ATTRIBUTE_NAME_CHARACTERS_MAX < limits.HEADER_BYTES_MAX


@pytest.mark.parametrize("name", [name for name in vars(limits) if name.isupper()])
def test_every_limit_is_enforced_somewhere(name: str) -> None:
    derived = len(re.findall(rf"\b{name}\b", written())) > 1
    assert name in used() or derived, f"{name} bounds nothing: use it or remove it"


@cache
def written() -> str:
    """Return the text of the limits themselves."""
    return "".join(path.read_text() for path in LIMITS.glob("*.py"))


@cache
def used() -> set[str]:
    """Return the limits that the code names."""
    sources = [path for path in SOURCES.rglob("*.py") if path.parent != LIMITS]
    return {name for path in sources for name in re.findall(r"\blimits\.(\w+)", path.read_text())}
