"""How much of a commit the effects of an entry take."""

from __future__ import annotations

from eventmill.engine.outgoing import Expansion
from eventmill.model import limits
from eventmill.model.commit import Timer
from eventmill.runtime.handled import weight_of
from eventmill.testing.contract.harness import command, message


def test_payloads_and_metadata_of_entries_and_timers_count() -> None:
    large = {"payload": b"x" * 10_000, "metadata": b"y" * 5_000}
    timer = Timer("t", 1, command(**large))
    assert weight_of(Expansion([message(**large)], {"t": timer, "u": None})) == 30_000


def test_as_many_small_ones_as_a_commit_takes_fill_it() -> None:
    entries = [message() for _ in range(limits.COMMIT_ENTRIES_MAX)]
    assert weight_of(Expansion(entries)) == limits.COMMIT_BYTES_MAX
    assert weight_of(Expansion(entries[1:])) < limits.COMMIT_BYTES_MAX
