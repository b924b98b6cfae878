"""A writer and several commands in one delta: what `test_histories` does with a delta per change."""

from __future__ import annotations

from random import Random

import pytest

from eventmill.model.replicated import Change, CounterMap, ORSet, PNCounter, kind_of
from eventmill.model.replicated.causal import Causal, Writer, decode, encode

COUNTS, POINTS, BADGES = (
    (kind_of(annotation), (name,))
    for annotation, name in (
        (CounterMap[str], "counts"),
        (PNCounter, "points"),
        (ORSet[str], "badges"),
    )
)


def changes_of(state: Causal, luck: Random) -> list[Change]:
    counts, points, badges = (kind.at(state, path) for kind, path in (COUNTS, POINTS, BADGES))
    key = luck.choice("ab")
    possible = (
        counts.increment(key, luck.randint(-3, 3)),
        counts.remove(key),
        points.increment(luck.randint(-3, 3)),
        badges.add(key),
        badges.remove(key),
    )
    return luck.choices(possible, k=luck.randint(1, 3))


def joined(states: list[bytes]) -> bytes:
    state = Causal()
    for delta in states:
        state.join(decode(delta, is_delta=True))
    return encode(state)


@pytest.mark.parametrize("seed", range(50))
def test_deltas_of_many_commands_make_the_state(seed: int) -> None:
    luck = Random(seed)
    state, deltas = Causal(), list[bytes]()
    writer = Writer(state, 1)
    for now in range(40):
        writer.apply(changes_of(state, luck), now)
        if luck.random() < 0.2:
            deltas.append(encode(writer.delta))
            writer.seal(1)
    deltas.append(encode(writer.delta))
    assert joined(deltas) == encode(state)


@pytest.mark.parametrize("seed", range(50))
def test_a_delta_forgets_what_is_undone_and_nothing_else(seed: int) -> None:
    luck = Random(seed)
    state = Causal()
    writer = Writer(state, 1)
    for now in range(luck.randint(0, 10)):
        writer.apply(changes_of(state, luck), now)
    before = encode(writer.delta)
    writer.apply(changes_of(state, luck), 10)
    writer.undo()
    assert joined([encode(writer.delta)]) == joined([before])
