"""Beginners' mistakes: each is one problem at start that says what to write instead."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from eventmill import (
    WHEN_READ,
    ConfigurationError,
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
    on,
    publish,
    query,
)
from eventmill.node.checking import examined


class Opened(Event):
    floor: int


class Closed(Event):
    floor: int


rooms = Topic("rooms", Opened)
elsewhere = Topic("elsewhere", Opened)


@component("door")
class Door(EventSourcedEntity):
    floor: int = 0

    @on(Opened)
    def opened(self, event: Opened) -> None: ...


def problems_of(*components: Any, topics: tuple[Topic, ...] = (rooms,)) -> list[str]:
    return Service("hotel", components=components, topics=topics).define()[1]


def test_all_problems_of_all_components_are_told_at_once() -> None:
    @component("room")
    class Room(EventSourcedEntity):
        floor: int

        @command
        async def open(self, one, two) -> Effect[None]:  # type: ignore[no-untyped-def]
            return self.persist(Closed(floor=1)).publish(elsewhere, Opened(floor=1))

        @command
        def close(self, three) -> int:  # type: ignore[no-untyped-def,type-var]
            return 3

        @on(Opened)
        async def opened(self, event: Closed) -> None: ...

    @consumer("follower", source=elsewhere)
    def follower(event: Closed, other: int) -> None: ...

    @component("floors")
    class Floors(View):
        class Row(Record):
            floor: int = 0

        @on(rooms, Room)
        async def first(self, event: Opened, row: Row | None, ctx: int) -> Row | None: ...

        @on(elsewhere)
        def second(self, event: Opened) -> Row | None: ...

        @query
        def bare(self) -> list[Row]: ...

        @query("SELECT * FROM floors WHERE floor = :floor")
        def typed(self, floor) -> list[Row]: ...  # type: ignore[no-untyped-def]

    @component("lift")
    class Lift(EventSourcedEntity):
        sequence: int  # type: ignore[assignment]

    problems = problems_of(Room, follower, Floors, Lift)
    for place, text in [
        ("Room", "give floor a default"),
        ("Room.open", "not async"),
        ("Room.open", "parameter 'one' needs a type annotation"),
        ("Room.open", "parameter 'two' needs a type annotation"),
        ("Room.open", "persists Closed, but Room has no @on(Closed) handler"),
        ("Room.open", "publishes to 'elsewhere', which is not part of service"),
        ("Room.close", "parameter 'three' needs a type annotation"),
        ("Room.close", "a command returns an Effect[…], not int"),
        ("Room.opened", "no async"),
        ("Room.opened", "marked @on(Opened), but its event is annotated Closed"),
        ("follower", "parameter 'other' can only be the Context"),
        ("follower", "'elsewhere' has no events of type Closed"),
        ("follower", "its source 'elsewhere' is not part of service"),
        ("Floors.first", "no async"),
        ("Floors.first", "name one source"),
        ("Floors.first", "parameter 'ctx' can only be the Context"),
        ("Floors.second", "takes (self, event, row)"),
        ("Floors.second", "its source 'elsewhere' is not part of service"),
        ("Floors.bare", "a view's query needs SQL"),
        ("Floors.typed", "parameter 'floor' needs a type annotation"),
        ("Lift", "'sequence' is a name of EventSourcedEntity itself"),
        ("Lift", "give sequence a default"),
    ]:
        (found,) = [p for p in problems if f"{place} " in p.replace(":", " ") and text in p]
        problems.remove(found)
    assert problems == []


def test_queries_of_a_broken_view_are_checked_too() -> None:
    @component("floors")
    class Floors(View):
        class Row(Record):
            floor: int = 0

        @on(rooms)
        async def changed(self, event: Opened, row: Row | None) -> Row | None: ...

        @query("SELECT flor FROM floors")
        def misspelt(self) -> list[Row]: ...

    _, problems = examined(Service("hotel", components=[Floors], topics=[rooms]))
    handler, column = problems
    assert "no async" in handler
    assert "unknown column 'flor'" in column


def test_who_follows_a_broken_component_is_not_told() -> None:
    @component("room")
    class Room(EventSourcedEntity):
        floor: int

        @on(Opened)
        def opened(self, event: Opened) -> None: ...

    @consumer("follower", source=Room)
    def follower(event: Opened) -> None: ...

    (problem,) = problems_of(Room, follower)
    assert "give floor a default" in problem


def test_a_class_without_its_mark_is_told_once() -> None:
    class Room(EventSourcedEntity):
        @on(Opened)
        def opened(self, event: Opened) -> None: ...

    @consumer("follower", source=Room)
    def follower(event: Opened) -> None: ...

    (problem,) = problems_of(Room, follower)
    assert 'Room: a component needs @component("…")' in problem


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (Door(), "list the class Door, not an instance"),
        (rooms, "<Topic rooms [Opened]> is a topic: it belongs into topics="),
        (lambda: 1, "a component needs @component"),
        ("door", "'door': a component needs @component"),
    ],
)
def test_what_is_no_component(wrong: Any, message: str) -> None:
    (problem,) = problems_of(wrong)
    assert message in problem


def test_a_component_that_is_listed_twice() -> None:
    (problem,) = problems_of(Door, Door)
    assert problem.endswith("Door: it is listed twice")


def test_a_list_is_needed() -> None:
    with pytest.raises(ConfigurationError, match="components= is a list"):
        Service("hotel", components=Door)  # type: ignore[arg-type]
    (problem,) = problems_of(topics=("rooms",))  # type: ignore[arg-type]
    assert "'rooms' is no topic" in problem


def test_an_annotation_that_names_nothing() -> None:
    @component("room")
    class Room(EventSourcedEntity):
        floor: Flor = 0  # type: ignore[name-defined]  # noqa: F821

    (problem,) = problems_of(Room)
    assert "Room: NameError: name 'Flor' is not defined" in problem


def test_a_consumer_publishes_to_a_topic_of_the_service() -> None:
    @consumer("teller", source=rooms)
    def teller(event: Opened) -> Effect[None]:
        return publish(elsewhere, event)

    (problem,) = problems_of(teller)
    assert "publishes to 'elsewhere', which is not part of service 'hotel'; add it to topics=" in (
        problem
    )
    assert problems_of(teller, topics=(rooms, elsewhere)) == []


def test_a_command_publishes_to_a_topic_of_the_service() -> None:
    @component("room")
    class Room(EventSourcedEntity):
        @command
        def open(self) -> Effect[None]:
            return self.persist(Opened(floor=1)).publish(elsewhere, Opened(floor=1))

        @on(Opened)
        def opened(self, event: Opened) -> None: ...

    (problem,) = problems_of(Room)
    assert "Room.open" in problem
    assert "publishes to 'elsewhere'" in problem


def test_a_fold_takes_what_it_is_marked_with() -> None:
    @component("room")
    class Room(EventSourcedEntity):
        @on(Opened)
        def opened(self, event: Closed) -> None: ...

        @on(Closed)
        def closed(self, event: Opened | Closed) -> None: ...

    (problem,) = problems_of(Room)
    assert "marked @on(Opened), but its event is annotated Closed" in problem


def test_a_view_takes_what_its_source_has() -> None:
    @component("floors")
    class Floors(View):
        class Row(Record):
            floor: int = 0

        @on(rooms)
        def closed(self, event: Closed, row: Row | None) -> Row | None: ...

    (problem,) = problems_of(Floors)
    assert "'rooms' has no events of type Closed; it has EntityDeleted, Opened" in problem


@pytest.mark.parametrize(
    ("base", "name"),
    [
        *((EventSourcedEntity, name) for name in ("persist", "reply", "delete", "bind", "now")),
        *((KeyValueEntity, name) for name in ("update", "reply", "delete", "revision")),
    ],
)
def test_a_command_has_a_name_of_its_own(base: type, name: str) -> None:
    def decide(self: Any) -> Effect[None]:
        return self.reply(None)  # type: ignore[no-any-return]

    decide.__name__ = name
    room = component("room")(type("Room", (base,), {name: command(decide)}))
    (problem,) = problems_of(room)
    assert f"Room: {name!r} is a name of {base.__name__} itself" in problem


def test_a_field_and_a_view_query_have_names_of_their_own() -> None:
    @component("room")
    class Room(EventSourcedEntity):
        snapshot_every = 10
        retention: int = 3  # type: ignore[assignment,misc]

    @component("floors")
    class Floors(View):
        class Row(Record):
            floor: int = 0

        @on(rooms)
        def opened(self, event: Opened, row: Row | None) -> Row | None: ...

        @query("SELECT * FROM floors")
        def version(self) -> list[Row]: ...  # type: ignore[override]

    field, view_query = problems_of(Room, Floors)
    assert "'retention' is a name of EventSourcedEntity itself" in field
    assert "'version' is a name of View itself" in view_query


def test_on_needs_something() -> None:
    with pytest.raises(ConfigurationError, match="@on names what it reacts to"):

        @on
        def opened(self: Any, event: Opened) -> None: ...

    @component("room")
    class Room(EventSourcedEntity):
        @on("Opened")
        def opened(self, event: Opened) -> None: ...

    (problem,) = problems_of(Room)
    assert "@on('Opened') names no event class" in problem


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda self: None, "it takes (self, event)"),
        (lambda this, event: None, "its first parameter must be self"),
    ],
)
def test_a_fold_takes_self_and_event(function: Any, message: str) -> None:
    room = component("room")(type("Room", (EventSourcedEntity,), {"opened": on(Opened)(function)}))
    (problem,) = problems_of(room)
    assert message in problem


def test_a_fold_is_not_async() -> None:
    @component("room")
    class Room(EventSourcedEntity):
        @on(Opened)
        async def opened(self, event: Opened) -> None: ...

    (problem,) = problems_of(Room)
    assert "no async" in problem


def test_commands_return_effects_and_queries_do_not() -> None:
    @component("one")
    class One(EventSourcedEntity):
        @command
        def open(self) -> None: ...  # type: ignore[arg-type]

    @component("other")
    class Other(EventSourcedEntity):
        @query
        def level(self) -> Effect[int]:
            return self.reply(1)

    one, other = problems_of(One, Other)
    assert "One.open" in one
    assert "a command returns an Effect[…], not None" in one
    assert "what returns an effect is a @command" in other


def test_an_event_that_is_persisted_and_not_folded() -> None:
    @component("room")
    class Room(EventSourcedEntity):
        @command
        def swing(self, floor: int) -> Effect[None]:
            return self.persist(Opened(floor=floor), Closed(floor=floor))

        @on(Opened)
        def opened(self, event: Opened) -> None: ...

    @consumer("follower", source=Room)
    def follower(event: Closed) -> None: ...

    (problem,) = problems_of(Room, follower)
    assert "Room.swing (" in problem
    assert problem.endswith(") persists Closed, but Room has no @on(Closed) handler")


def test_a_component_without_an_id() -> None:
    with pytest.raises(ConfigurationError, match=r"write @component\(.open-door.\) before class"):

        @component  # type: ignore[arg-type, type-var]
        class OpenDoor(EventSourcedEntity):
            floor: int = 0


def test_parentheses_that_say_nothing() -> None:
    with pytest.raises(ConfigurationError, match="write @command without parentheses"):
        command()
    with pytest.raises(ConfigurationError, match="write @query without parentheses, or in a view"):
        query()  # type: ignore[call-overload]


theirs = Topic("rooms", Opened, service="hostel")


def test_a_topic_of_another_service_is_not_published_to() -> None:
    @consumer("opener", source=theirs)
    def opener(event: Opened) -> Effect[None]:
        return publish(theirs, event)

    @component("lift")
    class Lift(EventSourcedEntity):
        @command
        def go(self, floor: int) -> Effect[None]:
            return self.reply(None).publish(theirs, Opened(floor=floor))

    _, problems = Service("hotel", components=[opener, Lift], topics=[theirs, rooms]).define()
    assert len(problems) == 2
    for problem in problems:
        assert (
            "topic 'rooms' is of service 'hostel', which alone publishes to it: publish to a topic "
            "of your own, or call that service"
        ) in problem


def test_a_topic_of_another_service_is_declared_as_such() -> None:
    @consumer("opener", source=theirs)
    def opener(event: Opened) -> None: ...

    definition, problems = Service("hotel", components=[opener], topics=[theirs]).define()
    assert problems == []
    assert (definition.topics, definition.foreign) == ({}, {"hostel/rooms": theirs})
    definition, problems = Service("hotel", components=[opener]).define()
    assert (problems, definition.foreign) == ([], {"hostel/rooms": theirs}), "it need not be listed"
    _, problems = Service("hostel", components=[opener], topics=[theirs]).define()
    assert "topic 'rooms' is of this service itself: leave service= out" in problems[0]
    _, problems = Service("hotel", topics=[Topic("rooms", Opened, service="No!")]).define()
    assert "service id 'No!'" in problems[0]
    others: list[Any] = [{"replicas": 3}, {"bytes_max": 1 << 30}, {"retention": WHEN_READ}]
    for settings in others:
        with pytest.raises(ConfigurationError, match="for that service to say"):
            Topic("rooms", Opened, service="hostel", **settings)
    with pytest.raises(ConfigurationError, match="for that service to say: leave retention="):
        Topic("rooms", Opened, service="hostel", retention=timedelta(days=1))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"retention": 7}, "a timedelta or WHEN_READ, not 7"),
        ({"bytes_max": 1 << 20}, "bytes_max=1048576 is less than"),
        ({"replicas": 0}, "replicas=0 is not in 1 to 5"),
        ({"replicas": 6}, "replicas=6 is not in 1 to 5"),
    ],
)
def test_a_topic_that_cannot_be_kept_so(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        Topic("rooms", Opened, **settings)


def test_a_view_of_a_topic_that_does_not_keep_what_was_read() -> None:
    passing = Topic("passing", Opened, retention=WHEN_READ)

    @component("rooms")
    class Rooms(View):
        class Row(Record):
            id: str

        @on(passing)
        def opened(self, event: Opened, row: Row | None) -> Row:
            return self.Row("x")

        @query("SELECT * FROM rooms")
        def all(self) -> list[Row]: ...

    _, problems = Service("hostel", components=[Rooms], topics=[passing]).define()
    assert "a view is built anew from the beginning, and topic 'passing'" in problems[0]
