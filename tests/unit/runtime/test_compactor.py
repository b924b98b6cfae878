"""How often changed entities are stored whole, and how many at once."""

from __future__ import annotations

import pytest

from eventmill.adapters.memory.store import Store
from eventmill.engine.replicated import delta_entry
from eventmill.model.entry import Entry
from eventmill.model.placement import EMBEDDED
from eventmill.model.replicated import Causal, PNCounter, Writer, kind_of
from eventmill.runtime.replicated.compactor import (
    COMPACT_SECONDS,
    STATES_PER_SECOND,
    Compactor,
)
from eventmill.testing import VirtualClock
from tests.flow.arcade import arcade


@pytest.fixture
def compactor() -> Compactor:
    return Compactor(arcade.define()[0].entities, Store(), VirtualClock())


def deltas(entities: int, each: int = 1) -> list[Entry]:
    made = []
    for number in range(entities):
        state = Causal()
        writer = Writer(state, 1)
        for _ in range(each):
            writer.seal(1)
            writer.apply([kind_of(PNCounter).at(state, ("points",)).increment()], 0)
            made.append(delta_entry("player", f"p{number}", writer.delta, 0, EMBEDDED))
    return made


async def test_a_hot_entity_is_stored_ten_times_a_second(compactor: Compactor) -> None:
    await compactor.react(deltas(1, each=100), 1)
    compactor.committed()
    assert compactor.quiet == pytest.approx(COMPACT_SECONDS)


async def test_the_more_entities_are_hot_the_rarer_each_is_stored(compactor: Compactor) -> None:
    await compactor.react(deltas(1_000), 1)
    compactor.committed()
    assert compactor.quiet == pytest.approx(1_000 / STATES_PER_SECOND)


async def test_what_is_too_much_for_one_commit_comes_next(
    compactor: Compactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eventmill.model.limits.COMMIT_ENTRIES_MAX", 10)
    entries = deltas(25)
    reacted = await compactor.react(entries, 1)
    compactor.committed()
    assert reacted.left == entries[10:]
    assert compactor.quiet == 0
