"""Workflows as they are read: each mistake is a problem at start that names its place."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from eventmill import (
    ConfigurationError,
    Effect,
    Event,
    EventSourcedEntity,
    Retry,
    Service,
    StepContext,
    Topic,
    Workflow,
    branch,
    command,
    component,
    step,
)
from eventmill.errors import HandlerFailed, InvalidPayload


class Heard(Event):
    what: str


news = Topic("news", Heard)


def problems_of(*components: Any, topics: tuple[Topic, ...] = (news,)) -> list[str]:
    return Service("hotel", components=components, topics=topics).define()[1]


@component("stay")
class Stay(Workflow):
    waits_on = (news,)
    timeout = timedelta(days=1)

    nights: int = 0

    @step(timeout=1.5, retry=Retry(attempts=2), failover="apologize", compensate="unbook")
    async def book(self, ctx: StepContext, room: str, nights: int = 1) -> Effect[None]:
        return self.update(nights=nights).go(Stay.leave)

    @step
    async def leave(self) -> Effect[None]:
        return self.end()

    @step
    async def apologize(self, room: str) -> Effect[None]:
        return self.end()

    @step
    async def unbook(self, ctx: StepContext, room: str) -> None: ...

    on_timeout = leave


def test_what_a_workflow_says_of_its_steps() -> None:
    definition, problems = Service("hotel", components=[Stay], topics=[news]).define()
    assert problems == []
    entity = definition.entities["stay"]
    assert entity.kind == "workflow"
    assert entity.workflow is not None
    book = entity.workflow.steps["book"]
    assert (book.timeout, book.retry.attempts) == (1.5, 2)
    assert (book.failover, book.compensate) == ("apologize", "unbook")
    assert book.handler.parameters == ["room", "nights"]
    assert entity.workflow.steps["leave"].timeout == 5.0
    assert entity.workflow.on_timeout == "leave"
    assert list(entity.workflow.sources) == ["news"]
    assert entity.handlers == {}


def test_all_problems_of_steps_are_told_at_once() -> None:
    @component("stay")
    class Broken(Workflow):
        status: str = ""

        @step
        def book(self, room: str) -> Effect[None]:
            return self.end()

        @step
        async def leave(self, room) -> int:  # type: ignore[no-untyped-def]
            return 3

    found = "\n".join(problems_of(Broken))
    assert "'status' is a name of Workflow itself" in found
    assert "a step is asynchronous: write async def" in found
    assert "parameter 'room' needs a type annotation" in found
    assert "a step returns an Effect" in found


def test_steps_that_others_name_must_fit() -> None:
    @component("stay")
    class Broken(Workflow):
        timeout = timedelta(hours=1)
        on_timeout = "book"

        @command
        def start(self) -> Effect[None]:
            return self.begin(Broken.boook, "x")  # type: ignore[attr-defined]

        @step(failover="nobody", compensate="unbook")
        async def book(self, room: str) -> Effect[None]:
            return self.go(Broken.leav)  # type: ignore[attr-defined]

        @step
        async def unbook(self, room: str, key: int) -> None: ...

    found = problems_of(Broken)
    assert len(found) == 5
    assert any("failover='nobody' is no @step; there is book, unbook" in one for one in found)
    assert any(
        "its compensate step 'unbook' takes key, which this step has not" in f for f in found
    )
    assert any("Broken.boook is no @step" in one for one in found)
    assert any("Broken.leav is no @step" in one for one in found)
    assert any("its on_timeout step 'book' takes room" in one for one in found)


def test_what_is_waited_for_must_be_read() -> None:
    @component("visit")
    class Visit(Workflow):
        waits_on = (news,)

        @command
        def start(self) -> Effect[None]:
            return self.wait_for(news, Heard, "x", then=Visit.back)

        @step
        async def home(self) -> Effect[None]:
            return self.update().wait_for_end(Stay, "s1", then=Visit.back)

        @step
        async def back(self, event: Any) -> Effect[None]:
            return self.end()

    (found,) = problems_of(Visit, Stay)
    assert "Visit.home" in found
    assert "waits for 'stay', which nobody reads for it: add Stay to waits_on" in found
    assert "it has news" in found


def test_a_workflow_needs_a_step_and_a_step_a_workflow() -> None:
    @component("stay")
    class Empty(Workflow):
        nights: int = 0

    @component("door")
    class Door(EventSourcedEntity):
        @step
        async def open(self) -> Effect[None]: ...

    found = "\n".join(problems_of(Empty, Door))
    assert "a workflow needs at least one @step" in found
    assert "@step belongs into a Workflow" in found


def test_what_is_waited_for_is_part_of_the_service() -> None:
    (found,) = problems_of(Stay, topics=())
    assert "its source 'news' is not part of service 'hotel'" in found


def test_limits_of_time() -> None:
    with pytest.raises(ConfigurationError, match="above 0 seconds"):
        step(timeout=0)

    @component("stay")
    class Backwards(Workflow):
        timeout = timedelta()

        @step
        async def book(self) -> Effect[None]:
            return self.end()

    (found,) = problems_of(Backwards)
    assert "timeout must be a timedelta above 0" in found


def test_a_workflow_cannot_keep_less_than_all() -> None:
    @component("stay")
    class Forgetful(Workflow):
        keep_history = timedelta(days=1)

        @step
        async def book(self) -> Effect[None]:
            return self.end()

    (found,) = problems_of(Forgetful)
    assert "a workflow keeps all" in found


def test_mistakes_of_effects_are_told_where_they_are_made() -> None:
    problems_of(Stay)
    stay = Stay()
    with pytest.raises(HandlerFailed, match="one effect has one transition"):
        stay.go(Stay.leave).end()
    with pytest.raises(HandlerFailed, match="on_timeout"):
        stay.pause(timeout=timedelta(hours=1))
    with pytest.raises(HandlerFailed, match="on_timeout"):
        stay.wait_for(news, Heard, "x", then=Stay.leave, timeout=timedelta(1))  # type: ignore[arg-type]
    with pytest.raises(InvalidPayload, match="room"):
        branch(Stay.book, nights=2)  # type: ignore[call-arg]
