"""What a service says at start about mistakes that would lose or poison data later."""

from __future__ import annotations

import pytest

from eventmill import (
    ConfigurationError,
    Context,
    Effect,
    Event,
    EventSourcedEntity,
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
