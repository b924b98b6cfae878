"""The history checker finds nothing in right histories and every kind of wrong in broken ones."""

from __future__ import annotations

import random

import pytest

from tests.faults import history
from tests.faults.history import Append, Movement, Read, Written

# b was sent while a was under way; c after both; d never got an answer.
SENT = [
    Append("x", "a", 1, 3),
    Append("x", "b", 2, 4),
    Append("x", "c", 5, 6),
    Append("x", "d", 5, None),
]


@pytest.mark.parametrize(
    "found", [["a", "b", "c"], ["b", "a", "c"], ["a", "b", "d", "c"], ["a", "b", "c", "d"]]
)
def test_right_lists(found: list[str]) -> None:
    assert history.appends(SENT, {"x": found}) == []


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        (["a", "b"], "c was acknowledged and is lost"),
        ([], "a was acknowledged and is lost"),
        (["a", "b", "b", "c"], "b is there 2 times"),
        (["a", "b", "c", "d", "d"], "d is there 2 times"),
        (["a", "c", "b"], "b stands behind c"),
        (["c", "a", "b"], "a stands behind c"),
        (["d", "a", "b", "c"], "a stands behind d"),
        (["a", "b", "c", "e"], "nobody sent e"),
    ],
)
def test_broken_lists(found: list[str], problem: str) -> None:
    assert problem in "; ".join(history.appends(SENT, {"x": found}))


def test_a_list_of_an_entity_that_nobody_used() -> None:
    assert history.appends(SENT, {"x": ["a", "b", "c"], "y": ["z"]}) == ["y: nobody sent z"]


def test_right_reads() -> None:
    done = [Read("x", 0, 1.5, []), Read("x", 3.5, 5, ["a"]), Read("x", 7, 8, ["a", "b", "c"])]
    assert history.reads(done, SENT, {"x": ["a", "b", "c", "d"]}) == []


@pytest.mark.parametrize(
    ("read", "problem"),
    [
        (Read("x", 3.5, 5, []), "does not show a"),
        (Read("x", 7, 8, ["a", "b"]), "does not show c"),
        (Read("x", 1, 4, ["b"]), "never became true"),
        (Read("x", 1, 4, ["a", "b", "c"]), "shows c, sent later"),
    ],
)
def test_broken_reads(read: Read, problem: str) -> None:
    assert problem in "; ".join(history.reads([read], SENT, {"x": ["a", "b", "c"]}))


START = {"x": 10, "y": 10, "z": 10}
MOVED = [
    Movement("x", "t1", -3, 1),
    Movement("y", "t1", 3, 2),
    Movement("y", "t2", -5, 3),
    Movement("z", "t2", 5, 3),
]


def test_money_is_kept() -> None:
    assert history.money(START, MOVED) == []
    assert history.money(START, MOVED[::-1]) == []  # as found in different shards


@pytest.mark.parametrize(
    ("moved", "problem"),
    [
        (MOVED[:3], "t2 was paid and never received"),
        ([*MOVED, MOVED[0]], "t1 was paid twice"),
        ([*MOVED, MOVED[1]], "t1 was received twice"),
        ([*MOVED, Movement("z", "t3", 1, 9)], "t3 was received before it was paid"),
        ([Movement("y", "t1", 3, 0), *MOVED[:1], *MOVED[2:]], "at 0 there are 33, not 30"),
        ([MOVED[0], Movement("y", "t1", 2, 2), *MOVED[2:]], "at 2 there are 29, not 30"),
    ],
)
def test_money_is_made_or_lost(moved: list[Movement], problem: str) -> None:
    assert problem in "; ".join(history.money(START, moved))


def test_views() -> None:
    fold = {"a": 1, "b": 2}
    assert history.view({"a": 1, "b": 2}, fold) == []
    assert history.view({"a": 1}, fold) == ["row b: None, by the journal 2"]
    assert history.view({"a": 2, "b": 2}, fold) == ["row a: 2, by the journal 1"]
    assert history.view({**fold, "c": 0}, fold) == ["row c: 0, by the journal None"]


def test_positions() -> None:
    assert history.positions({0: [1, 2, 3], 4: []}, {0: 3, 4: 0}) == []


@pytest.mark.parametrize(
    ("found", "end"), [([1, 3], 3), ([2, 3], 3), ([1, 2, 2], 3), ([2, 1], 2), ([1, 2], 3), ([], 1)]
)
def test_positions_with_gaps(found: list[int], end: int) -> None:
    assert history.positions({0: found}, {0: end}) != []


def test_sequences() -> None:
    assert history.sequences([("a", 1), ("b", 1), ("a", 2)]) == []
    for broken in ([("a", 2)], [("a", 1), ("a", 1)], [("a", 1), ("a", 3)], [("a", 2), ("a", 1)]):
        assert history.sequences(broken) != []


TENURES = [Written(0, 1, 1, "n"), Written(0, 2, 2, "m"), Written(0, 3, 3, "n")]


def test_epochs() -> None:
    assert history.epochs([*TENURES, Written(1, 1, 1, "m"), Written(0, 4, 3, "n")]) == []


@pytest.mark.parametrize(
    "stale", [Written(0, 4, 2, "m"), Written(0, 4, 3, "m"), Written(0, 4, 1, "n")]
)
def test_epochs_that_interleave(stale: Written) -> None:
    (problem,) = history.epochs([*TENURES, stale])
    assert problem.startswith("shard 0, position 4")


def test_one_loss_among_fifty_thousand_operations_is_found() -> None:
    luck = random.Random(7)
    sent, lists = _long(luck, 50_000)
    assert history.appends(sent, lists) == []
    for _ in range(3):
        entity = luck.choice(sorted(lists))
        place = luck.randrange(len(lists[entity]))
        broken = {**lists, entity: lists[entity][:place] + lists[entity][place + 1 :]}
        (problem,) = history.appends(sent, broken)
        assert problem == f"{entity}: {lists[entity][place]} was acknowledged and is lost"


def _long(luck: random.Random, count: int) -> tuple[list[Append], dict[str, list[str]]]:
    """A right history: each operation takes effect at some instant while it is under way."""
    effects = []
    sent = []
    for number in range(count):
        began = luck.random() * count
        ended = began + luck.random() * 30
        append = Append(f"e{luck.randrange(50)}", f"op-{number}", began, ended)
        sent.append(append)
        effects.append((began + luck.random() * (ended - began), append))
    lists: dict[str, list[str]] = {}
    for _, append in sorted(effects):
        lists.setdefault(append.entity, []).append(append.op)
    return sent, lists
