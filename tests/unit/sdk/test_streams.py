"""Service streams as they are declared: what is understood, and what is told of mistakes."""

from __future__ import annotations

from typing import Any

import pytest

from eventmill import (
    ConfigurationError,
    Context,
    Effect,
    Event,
    EventSourcedEntity,
    InvalidPayload,
    Record,
    Service,
    ServiceStream,
    Topic,
    View,
    command,
    component,
    consumer,
    on,
    stream,
)
from eventmill.http.asyncapi import document
from eventmill.sdk.topology.graph import Way, graph_of
from eventmill.testing import ConsumerKit


class Opened(Event):
    room: str


class Closed(Event):
    room: str


class RoomOpened(Event):
    name: str


class RoomClosed(Event):
    pass


@component("room")
class Room(EventSourcedEntity):
    @command
    def open(self, room: str) -> Effect[None]:
        return self.persist(Opened(room))

    @on(Opened, Closed)
    def changed(self, event: Any) -> None: ...


@stream("rooms", source=Room)
def rooms(event: Opened | Closed, ctx: Context) -> RoomOpened | RoomClosed | None:
    match event:
        case Opened(room):
            return RoomOpened(room) if room else None
        case Closed():
            return RoomClosed()


def problems_of(*components: Any, **options: Any) -> str:
    _, problems = Service("hotel", components=components, **options).define()
    return "\n".join(problems)


async def test_it_is_a_topic_and_a_consumer_that_fills_it() -> None:
    definition, problems = Service("hotel", components=[Room, rooms]).define()
    assert problems == []
    assert definition.topics["rooms"].types == (RoomOpened, RoomClosed)
    assert definition.streams == {"rooms": "room"}
    assert list(definition.consumers) == ["rooms-stream"]
    assert "public events of 'room'" in document(definition)["channels"]["rooms"]["description"]
    ways = {(c.source, c.target, c.way) for c in graph_of(definition).connections}
    assert ("rooms-stream", "rooms", Way.PUBLISHES) in ways
    effects = await ConsumerKit(rooms).run(Opened("r1"), Opened(""), Closed("r1"), subject="1")
    assert [told.event for told in effects.published] == [RoomOpened("r1"), RoomClosed()]
    assert rooms(Opened("r2"), None) == RoomOpened("r2"), "it is still the function"


def test_what_it_returns_has_to_be_said() -> None:
    @stream("silent", source=Room)
    def silent(event: Opened):  # type: ignore[no-untyped-def]
        return None

    @stream("odd", source=Room)
    def odd(event: Opened) -> int | None:
        return 1

    for one in (silent, odd):
        assert "annotate what it returns with the public event types" in problems_of(Room, one)


def test_it_only_maps() -> None:
    @stream("asking", source=Room)
    async def asking(event: Opened) -> RoomOpened:
        return RoomOpened(event.room)

    @stream("many", source=Room)
    def many(event: list[Opened]) -> RoomOpened:
        return RoomOpened(event[0].room)

    for one in (asking, many):
        assert "no async, no list" in problems_of(Room, one)


def test_its_id_is_its_own() -> None:
    @stream("room", source=Room)
    def named_as_the_entity(event: Opened) -> RoomOpened:
        return RoomOpened(event.room)

    assert "the id 'room' is already taken" in problems_of(Room, named_as_the_entity)


def test_two_of_one_id_are_both_named() -> None:
    @stream("rooms", source=Room)
    def again(event: Opened) -> RoomOpened:
        return RoomOpened(event.room)

    (told,) = problems_of(Room, rooms, again).splitlines()
    assert told.startswith("stream test_two_of_one_id_are_both_named")
    assert "the id 'rooms' is already taken by stream rooms" in told


def test_it_reads_nothing_that_it_publishes() -> None:
    @stream("rooms", source=Topic("rooms", RoomOpened))
    def endless(event: RoomOpened) -> RoomOpened:
        return event

    told = problems_of(endless)
    assert "@stream" in told
    assert "it would read what it publishes, for ever" in told


@pytest.mark.parametrize("id", ["", "Rooms", "a/b"])
def test_its_id_is_told_as_it_was_written(id: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^stream id {id!r}: use"):
        stream(id, source=Room)


def test_a_service_that_is_followed_has_a_name() -> None:
    with pytest.raises(ConfigurationError, match=r"^service id '': use"):
        ServiceStream("", "rooms")


def test_it_is_followed_by_its_topic() -> None:
    @consumer("reader", source=rooms)
    def reader(event: RoomOpened) -> None: ...

    assert "is followed by its topic, as source=NAME.topic" in problems_of(Room, rooms, reader)


@pytest.mark.parametrize("made", [[RoomClosed()], RoomClosed(), {"name": "r1"}, RoomOpened])
async def test_what_it_must_not_return_is_said_of_the_function(made: Any) -> None:
    @stream("odd", source=Room)
    def odd(event: Opened) -> RoomOpened | None:
        return made  # type: ignore[no-any-return]

    with pytest.raises(InvalidPayload) as refused:
        await ConsumerKit(odd).run(Opened("r1"))
    assert "@stream test_what_it_must_not_return" in refused.value.message
    assert f"returned {type(made).__name__}: return RoomOpened, as" in refused.value.message


def test_followers_say_what_a_stream_carries_all_together() -> None:
    @consumer("opened", source=ServiceStream("hostel", "rooms"))
    def opened(event: RoomOpened) -> None: ...

    @component("closings")
    class Closings(View):
        class Row(Record):
            id: str

        @on(Topic("rooms", service="hostel"))
        def closed(self, event: RoomClosed, row: Row | None, ctx: Context) -> Row:
            return self.Row(ctx.subject)

    definition, problems = Service("hotel", components=[opened, Closings]).define()
    assert problems == []
    assert set(definition.foreign["hostel/rooms"].types) == {RoomOpened, RoomClosed}
    assert set(definition.consumers["opened"].source.event_types) == {"RoomOpened", "RoomClosed"}


def test_a_follower_that_takes_everything_has_to_say_what_that_is() -> None:
    @consumer("all", source=ServiceStream("hostel", "rooms"))
    def every(event: Event) -> None: ...

    assert "nothing says which events 'hostel/rooms' carries" in problems_of(every)

    @consumer("known", source=ServiceStream("hostel", "rooms", RoomOpened))
    def known(event: Event) -> None: ...

    assert problems_of(known) == ""


def test_a_stream_of_this_service_is_no_other_services() -> None:
    @consumer("own", source=ServiceStream("hotel", "rooms"))
    def own(event: RoomOpened) -> None: ...

    assert "is of this service itself" in problems_of(own)


def test_a_topic_of_ones_own_needs_types() -> None:
    with pytest.raises(ConfigurationError, match="name at least one event type"):
        Topic("rooms")
