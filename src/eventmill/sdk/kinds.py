"""Kinds of components: how each is told from the others, read, and looked through by its service."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any

from eventmill.errors import ConfigurationError
from eventmill.model.action import Action
from eventmill.model.definition import ServiceDefinition
from eventmill.model.problems import Problems
from eventmill.model.topic import Topic
from eventmill.sdk.action import define_action
from eventmill.sdk.component import id_of, place_of
from eventmill.sdk.consumer import Consumer
from eventmill.sdk.entity import EventSourcedEntity, KeyValueEntity
from eventmill.sdk.handlers import ON, Command
from eventmill.sdk.publications import published_topics
from eventmill.sdk.reaction import issubclass_of
from eventmill.sdk.reading import check_names, define_entity
from eventmill.sdk.reading_replicated import define_replicated
from eventmill.sdk.replicated import ReplicatedEntity
from eventmill.sdk.transform import Transform
from eventmill.sdk.view import View, define_view, read_view
from eventmill.sdk.workflow import Step, Workflow


class Kind(ABC):
    """What a service has to know of one kind of components."""

    @abstractmethod
    def has(self, thing: Any) -> bool:
        """Whether something is of this kind, well made or not."""

    @abstractmethod
    def kept_in(self, service: ServiceDefinition) -> dict[str, Any]:
        """Return where a service keeps them, by id."""

    @abstractmethod
    def define(self, thing: Any) -> Any:
        """Read one.

        Raises `ConfigurationError` that tells every problem.
        """

    def understood(self, thing: Any) -> Any:
        """Return what can be checked further of a broken one; None if there is nothing."""
        return None

    def id(self, thing: Any) -> str:
        """Return its id, empty if it was given none."""
        return str(thing.id)

    def place(self, thing: Any) -> str:
        """Return where it is written, for messages."""
        return place_of(thing)

    def title(self, thing: Any) -> str:
        """Return what it is and where, for messages about others."""
        return self.place(thing)

    def followed(self, thing: Any) -> Iterator[tuple[str, Any]]:
        """Yield the topics and entities that it follows, each with where that is written."""
        yield from ()

    def published(self, thing: Any) -> Iterator[tuple[str, Iterable[Topic[Any]]]]:
        """Yield the topics that it publishes to, as far as its code shows, and where."""
        yield from ()


class _Consumers(Kind):
    def has(self, thing: Any) -> bool:
        return isinstance(thing, Consumer)

    def kept_in(self, service: ServiceDefinition) -> dict[str, Any]:
        return service.consumers

    def define(self, thing: Consumer) -> Any:
        return thing.define()

    def place(self, thing: Consumer) -> str:
        return f"{thing.mark} {place_of(thing.function)}"

    def title(self, thing: Consumer) -> str:
        return f"{thing.mark[1:]} {place_of(thing.function)}"

    def followed(self, thing: Consumer) -> Iterator[tuple[str, Any]]:
        yield self.place(thing), thing.options["source"]

    def published(self, thing: Consumer) -> Iterator[tuple[str, Iterable[Topic[Any]]]]:
        # `x.publish` may be a client's here, for a topic of another service.
        yield self.place(thing), published_topics(thing.function)


class _Actions(Kind):
    def has(self, thing: Any) -> bool:
        return isinstance(thing, Action)

    def kept_in(self, service: ServiceDefinition) -> dict[str, Any]:
        return service.actions

    def define(self, thing: Action[Any]) -> Any:
        return define_action(thing)

    def place(self, thing: Action[Any]) -> str:
        return place_of(thing.handler.function)

    def title(self, thing: Action[Any]) -> str:
        return f"action {self.place(thing)}"

    def published(self, thing: Action[Any]) -> Iterator[tuple[str, Iterable[Topic[Any]]]]:
        yield self.title(thing), published_topics(thing.handler.function)


class _Transforms(Kind):
    def has(self, thing: Any) -> bool:
        return isinstance(thing, Transform)

    def kept_in(self, service: ServiceDefinition) -> dict[str, Any]:
        return service.transforms

    def define(self, thing: Transform) -> Any:
        return thing.define()

    def followed(self, thing: Transform) -> Iterator[tuple[str, Any]]:
        for source in thing.sources:
            yield thing.place, source

    def published(self, thing: Transform) -> Iterator[tuple[str, Iterable[Topic[Any]]]]:
        ends = (thing.target, thing.plan.late)
        yield thing.place, [end for end in ends if isinstance(end, Topic)]


class _Views(Kind):
    def has(self, thing: Any) -> bool:
        return issubclass_of(thing, View)

    def kept_in(self, service: ServiceDefinition) -> dict[str, Any]:
        return service.views

    def define(self, thing: type[View]) -> Any:
        problems, place = Problems(), self.place(thing)
        with problems.noting(place):
            check_names(thing)
        with problems.noting(place):
            view = define_view(thing)
        problems.refuse()
        return view

    def understood(self, thing: type[View]) -> Any:
        # Its queries, whose problems are found by those who know its store.
        return read_view(thing, Problems())

    def id(self, thing: type[View]) -> str:
        return id_of(thing)

    def followed(self, thing: type[View]) -> Iterator[tuple[str, Any]]:
        for function in vars(thing).values():
            for source in getattr(function, ON, ((), ""))[0]:
                yield place_of(function), source


class _Entities(Kind):
    """Workflows are entities; and a class that is nothing else ought to have been one."""

    def has(self, thing: Any) -> bool:
        return isinstance(thing, type)

    def kept_in(self, service: ServiceDefinition) -> dict[str, Any]:
        return service.entities

    def define(self, thing: type) -> Any:
        if issubclass_of(thing, ReplicatedEntity):
            return define_replicated(thing)
        if issubclass_of(thing, EventSourcedEntity) or issubclass_of(thing, KeyValueEntity):
            return define_entity(thing)
        raise ConfigurationError(
            f"{self.place(thing)}: derive it from EventSourcedEntity, KeyValueEntity, "
            "ReplicatedEntity, Workflow or View"
        )

    def id(self, thing: type) -> str:
        return id_of(thing)

    def followed(self, thing: type) -> Iterator[tuple[str, Any]]:
        if issubclass(thing, Workflow):
            for source in thing.waits_on:
                yield f"{self.place(thing)}: waits_on", source

    def published(self, thing: type) -> Iterator[tuple[str, Iterable[Topic[Any]]]]:
        for handler in vars(thing).values():
            if isinstance(handler, Command | Step):
                yield handler.place, published_topics(handler.function, effects=True)


_KINDS: tuple[Kind, ...] = (_Consumers(), _Actions(), _Transforms(), _Views(), _Entities())


def kind_of(thing: Any) -> Kind | None:
    """Return the kind of a component; None for what is none of these."""
    return next((kind for kind in _KINDS if kind.has(thing)), None)
