"""Mistakes in a replicated entity's class: each is told at start, with what to write instead."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from eventmill import (
    CounterMap,
    Effect,
    Event,
    GCounter,
    LWWRegister,
    ORMap,
    ORSet,
    ReplicatedEntity,
    Service,
    command,
    component,
    on,
)


class Opened(Event):
    floor: int


def problems_of(cls: Any) -> list[str]:
    return Service("hotel", components=[component("door")(cls)]).define()[1]


def test_a_class_that_is_right_has_none() -> None:
    class Door(ReplicatedEntity):
        write_consistency = "majority"
        retention = timedelta(days=1)

        opened: GCounter
        guests: ORSet[str]
        rooms: ORMap[tuple[int, int], CounterMap[str]]
        name: LWWRegister[str | None]

        @command
        def open(self) -> Effect[int]:
            return self.update(self.opened.increment()).reply(lambda door: door.opened.value)

    assert problems_of(Door) == []


def test_every_field_that_is_not_replicated_is_told() -> None:
    class Door(ReplicatedEntity):
        floor: int
        names: set[str]
        opened: GCounter

    found = problems_of(Door)
    assert len(found) == 2
    assert "field 'floor': int is not replicated: use GCounter" in found[0]
    assert "field 'names'" in found[1]


def test_other_mistakes() -> None:
    class NoType(ReplicatedEntity):
        names: ORSet

    class NotHashable(ReplicatedEntity):
        names: ORSet[list[int]]

    class NoInitial(ReplicatedEntity):
        name: LWWRegister[str]

    class WrongInitial(ReplicatedEntity):
        name: LWWRegister[str] = LWWRegister(5)  # type: ignore[assignment]

    class OtherDefault(ReplicatedEntity):
        name: ORSet[str] = LWWRegister("")  # type: ignore[assignment]

    class Empty(ReplicatedEntity):
        @command
        def open(self) -> Effect[None]:
            return self.update()

    class Taken(ReplicatedEntity):
        update: GCounter  # type: ignore[assignment]

    class Folds(ReplicatedEntity):
        opened: GCounter

        @on(Opened)
        def was_opened(self, event: Opened) -> None: ...

    class Consistent(ReplicatedEntity):
        write_consistency = "most"  # type: ignore[assignment]

        opened: GCounter

    class Unmarked(ReplicatedEntity):
        opened: GCounter
        closed = LWWRegister("")

    told = {
        NoType: "write ORSet[T]",
        NotHashable: "list cannot be an element or key",
        NoInitial: "needs its value before the first write: `= LWWRegister(…)`",
        WrongInitial: "needs its value before the first write",
        OtherDefault: "its default is no ORSet",
        Empty: "it has no fields",
        Taken: "'update' is a name of ReplicatedEntity itself",
        Folds: "a replicated entity has no @on",
        Consistent: "write_consistency is 'local', 'majority' or 'all', not 'most'",
        Unmarked: "'closed' has no annotation",
    }
    for cls, text in told.items():
        found = problems_of(cls)
        assert any(text in problem for problem in found), (cls.__name__, found)


@pytest.mark.parametrize("amount", [-1, 1.5, True])
def test_a_counter_counts_whole_numbers(amount: Any) -> None:
    with pytest.raises(ValueError, match="whole number"):
        GCounter().increment(amount)
