"""What a service says at start about mistakes that would lose or poison data later."""

from __future__ import annotations

from eventmill import (
    Effect,
    Event,
    EventSourcedEntity,
    Service,
    command,
    component,
    event_type,
    on,
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
