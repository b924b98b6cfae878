"""What a service says at start about mistakes that would lose or poison data later."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, ClassVar

import pytest

from eventmill import (
    ConfigurationError,
    Context,
    Effect,
    Event,
    EventSourcedEntity,
    KeyValueEntity,
    Record,
    Service,
    Topic,
    View,
    command,
    component,
    consumer,
    event_type,
    on,
    query,
)


class Opened(Event):
    floor: int


class Careless(Event):
    floor = 0


@event_type("booked", version=2)
class Booked(Event):
    channel: str


def problems_of(cls: type) -> list[str]:
    return Service("hotel", components=[cls]).define()[1]


def test_a_field_without_annotation_is_named() -> None:
    @component("room")
    class Room(EventSourcedEntity):
        snapshot_every = 10
        floor = 0

        @command
        def open(self, floor: int) -> Effect[None]:
            return self.persist(Opened(floor=floor))

        @on(Opened)
        def opened(self, event: Opened) -> None:
            self.floor = event.floor

    (problem,) = problems_of(Room)
    assert "Room" in problem
    assert "`floor: int = 0`" in problem


@pytest.mark.parametrize(
    ("base", "name", "value", "message"),
    [
        (EventSourcedEntity, "expire_aftr", timedelta(1), "did you mean 'expire_after'?"),
        (KeyValueEntity, "retentoin", timedelta(1), "did you mean 'retention'?"),
        (EventSourcedEntity, "snapshot_evry", 5, "did you mean 'snapshot_every'?"),
        (EventSourcedEntity, "opened_at", date(2026, 1, 1), "opened_at: date = "),
        (EventSourcedEntity, "price", Decimal("1.5"), "price: Decimal = Decimal('1.5')"),
        (EventSourcedEntity, "guest", None, "`guest: ClassVar = …`"),
    ],
)
def test_an_attribute_that_is_neither_field_nor_setting_is_named(
    base: type, name: str, value: Any, message: str
) -> None:
    (problem,) = problems_of(component("room")(type("Room", (base,), {name: value})))
    assert f"{name!r} has no annotation, so it is no field" in problem
    assert message in problem


def test_a_setting_of_another_kind_is_not_taken_for_a_field() -> None:
    @component("room")
    class Room(EventSourcedEntity):
        keep_history = timedelta(days=1)

    (problem,) = problems_of(Room)
    assert "'keep_history' is a setting of other kinds" in problem
    assert "did you mean" not in problem


def test_what_is_no_field_by_its_looks_is_left_alone() -> None:
    @component("room")
    class Room(EventSourcedEntity):
        expire_after = timedelta(days=1)
        BEDS = 2
        Names = dict[str, int] | None
        limit: ClassVar[timedelta] = timedelta(hours=1)
        _secret = timedelta(hours=1)
        floors: int = 0

        class Key(Event):
            number: int

        @property
        def beds(self) -> int:
            return self.BEDS

        @staticmethod
        def twice(number: int) -> int:
            return 2 * number

        @classmethod
        def empty(cls) -> int:
            return 0

        double = twice
        key = partial(max, 0)

    assert problems_of(Room) == []


@pytest.mark.parametrize("span", [timedelta(seconds=-1), timedelta.max, 3600])
@pytest.mark.parametrize(
    ("base", "name"),
    [
        (EventSourcedEntity, "expire_after"),
        (EventSourcedEntity, "retention"),
        (KeyValueEntity, "keep_history"),
    ],
)
def test_a_setting_in_time_is_a_timedelta_within_bounds(base: type, name: str, span: Any) -> None:
    (problem,) = problems_of(component("room")(type("Room", (base,), {name: span})))
    assert f"{name} must be a timedelta of 0 to 36525 days" in problem


def test_an_event_without_annotations_is_named() -> None:
    @component("room")
    class Room(EventSourcedEntity):
        @on(Careless)
        def opened(self, event: Careless) -> None: ...

    (problem,) = problems_of(Room)
    assert "Careless" in problem
    assert "`floor: int = 0`" in problem


def test_a_version_that_nothing_lifts_is_named() -> None:
    @component("desk")
    class Desk(EventSourcedEntity):
        @on(Booked)
        def booked(self, event: Booked) -> None: ...

    (problem,) = problems_of(Desk)
    assert "@upcast(Booked, from_version=1)" in problem


def test_a_method_that_returns_an_effect_needs_command() -> None:
    @component("room")
    class Room(EventSourcedEntity):
        def open(self, floor: int) -> Effect[None]:
            return self.persist(Opened(floor=floor))

        @on(Opened)
        def opened(self, event: Opened) -> None: ...

    (problem,) = problems_of(Room)
    assert "'open' needs @command" in problem


def test_a_command_is_not_async() -> None:
    @component("room")
    class Room(EventSourcedEntity):
        @command  # type: ignore[arg-type]
        async def open(self, floor: int) -> Effect[None]:
            return self.persist(Opened(floor=floor))

        @on(Opened)
        def opened(self, event: Opened) -> None: ...

    (problem,) = problems_of(Room)
    assert "not async" in problem


def test_a_topic_key_names_a_field() -> None:
    with pytest.raises(ConfigurationError, match="Opened has no field 'flor'"):
        Topic("rooms", Opened, key="flor")


def test_a_consumer_begins_at_a_known_place() -> None:
    with pytest.raises(ConfigurationError, match="not 'begining'"):
        consumer("c", source=Topic("rooms", Opened), start="begining")  # type: ignore[arg-type]


def test_a_view_handler_takes_the_row() -> None:
    rooms = Topic("rooms", Opened)

    @component("floors")
    class Floors(View):
        class Row(Record):
            floor: int = 0

        @on(rooms)
        def opened(self, event: Opened, ctx: Context) -> Row | None: ...

    problems = Service("hotel", components=[Floors], topics=[rooms]).define()[1]
    assert any("(self, event, row, ctx)" in problem for problem in problems)


def test_a_view_query_needs_sql() -> None:
    rooms = Topic("rooms", Opened)

    @component("floors")
    class Floors(View):
        class Row(Record):
            floor: int = 0

        @on(rooms)
        def opened(self, event: Opened, row: Row | None) -> Row | None: ...

        @query
        def all(self) -> list[Row]: ...

    problems = Service("hotel", components=[Floors], topics=[rooms]).define()[1]
    assert any("needs SQL" in problem for problem in problems)


def test_a_record_that_no_handler_knows_is_no_table() -> None:
    rooms = Topic("rooms", Opened)

    @component("floors")
    class Floors(View):
        class Row(Record):
            floor: int = 0

        class Total(Record):
            count: int

        @on(rooms)
        def opened(self, event: Opened, row: Row | None) -> Row | None: ...

        @query("SELECT count(*) AS count FROM floors")
        def total(self) -> Total | None: ...

    @component("houses")
    class Houses(View):
        class Floor(Record):
            floor: int = 0

        class TopFloor(Record):
            floor: int = 0

        @on(rooms)
        def opened(self, event: Opened, row: Floor | None) -> Floor | None: ...

        @on(rooms, table="top_floor")
        def topped(self, event: Opened, row: object) -> object: ...

    definition, problems = Service("hotel", components=[Floors, Houses], topics=[rooms]).define()
    assert problems == []
    assert list(definition.views["floors"].tables) == ["floors"]
    assert list(definition.views["houses"].tables) == ["floor", "top_floor"]
