"""Every replicated type, in generated histories: the laws of a lattice, convergence, its meaning.

A few hundred histories for each here; `make soak` plays 10,000.
"""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings

from eventmill.model.replicated import Causal, decode, encode
from tests.unit.model.replicated.histories import REPLICAS, TYPES, Play, Step, histories, history

EXAMPLES, SOAK_EXAMPLES = 200, 10_000


def play(name: str, steps: list[Step], luck: random.Random) -> tuple[Play, list[Causal]]:
    """Operations here and there, deltas in any order, again, or lost for now; whole states too."""
    game = Play(TYPES[name])
    values: list[Causal] = [Causal()]
    for step in steps:
        if step.replica == step.source:
            before = decode(encode(game.replicas[step.replica].state))
            game.operate(step)
            delta = decode(game.deltas[len(game.ops)], is_delta=True)
            before.join(delta)
            assert encode(before) == encode(game.replicas[step.replica].state)
            values.append(delta)
        elif step.action == 0:
            game.deliver_state(step.source, step.replica)
        elif game.ops:
            game.deliver(luck.choice([*game.ops]), step.replica)
        values.append(decode(encode(game.replicas[step.replica].state)))
    return game, values


def joined(*values: Causal) -> bytes:
    """Join values from left to right."""
    found = Causal(is_delta=True)
    for value in values:
        found.join(decode(encode(value), is_delta=value.is_delta))
    return encode(found)


def check_laws(values: list[Causal], luck: random.Random) -> None:
    a, b, c = (luck.choice(values) for _ in range(3))
    ab, bc = Causal(is_delta=True), Causal(is_delta=True)
    for one in (a, b):
        ab.join(one)
    for one in (b, c):
        bc.join(one)
    assert visible(joined(a, b)) == visible(joined(b, a)), "commutative"
    assert visible(joined(ab, c)) == visible(joined(a, bc)), "associative"
    assert visible(joined(a, b, b, a)) == visible(joined(a, b)), "idempotent"


def visible(payload: bytes) -> bytes:
    """A value without the empty places that a delta names."""
    state = Causal()
    state.join(decode(payload, is_delta=True))
    return encode(state)


def check_sparse(game: Play, values: list[Causal], luck: random.Random) -> None:
    """Joining a delta looks only where it names something; that must be all there is to see."""
    state = decode(encode(luck.choice([v for v in values if not v.is_delta])))
    for number in game.ops:
        whole = decode(encode(state))
        whole.join(decode(game.deltas[number]))
        state.join(decode(game.deltas[number], is_delta=True))
        assert encode(whole) == encode(state)


def check_convergence(game: Play, luck: random.Random) -> None:
    """What was lost is sent again, in any order, some of it twice: then all are equal."""
    for actor in REPLICAS:
        numbers = [*game.ops, *game.ops]
        luck.shuffle(numbers)
        for number in numbers:
            game.deliver(number, actor)
    assert len({encode(replica.state) for replica in game.replicas.values()}) == 1
    context = game.replicas[1].state.context
    assert not context.cloud, "what is left of removals is a number for each actor"
    assert len(context.clock) <= len(REPLICAS)


def check_meaning(name: str, steps: list[Step], luck: random.Random) -> None:
    """Each replica always shows what follows from the operations that it has seen."""
    game = Play(TYPES[name])
    for step in steps:
        if step.replica == step.source:
            game.operate(step)
        elif step.action == 0:
            game.deliver_state(step.source, step.replica)
        elif game.ops:
            game.deliver_with_causes(luck.choice([*game.ops]), step.replica)
        found, expected = game.value(step.replica), game.expected(step.replica)
        assert (sorted(found) if isinstance(found, list) else found) == expected


def check(name: str, examples: int) -> None:
    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[*HealthCheck],
    )
    @given(data=histories)
    def run(data: bytes) -> None:
        steps, luck = history(data), random.Random(data)
        game, values = play(name, steps, luck)
        check_laws(values, luck)
        check_sparse(game, values, luck)
        check_convergence(game, luck)
        check_meaning(name, steps, luck)

    run()


@pytest.mark.parametrize("name", TYPES)
def test_histories(name: str) -> None:
    check(name, EXAMPLES)


@pytest.mark.soak
@pytest.mark.parametrize("name", TYPES)
def test_ten_thousand_histories(name: str) -> None:
    check(name, SOAK_EXAMPLES)
