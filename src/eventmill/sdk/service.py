"""The service: collects components and topics, checks everything, reports all problems at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from eventmill.errors import ConfigurationError
from eventmill.model.definition import ServiceDefinition
from eventmill.model.topic import Topic, not_ours
from eventmill.sdk.component import check_name, id_of, place_of
from eventmill.sdk.consumer import Consumer
from eventmill.sdk.entity import EventSourcedEntity, KeyValueEntity
from eventmill.sdk.publications import published_topics
from eventmill.sdk.reaction import check_event_type, issubclass_of, names_of, no_component
from eventmill.sdk.reading import check_names, define_entity
from eventmill.sdk.view import View, define_view


class Service:
    """A named set of components and topics: what `eventmill run` runs.

    Parameters: `name` is part of CloudEvents sources; `components` are entity and view classes and
    consumers, in any order; `topics` are the topics they publish to and consume from, those of other
    services included.
    """

    def __init__(
        self, name: str, *, components: Sequence[Any] = (), topics: Sequence[Topic[Any]] = ()
    ) -> None:
        for option, given in (("components", components), ("topics", topics)):
            if not isinstance(given, Sequence):
                raise ConfigurationError(f"service {name!r}: {option}= is a list: [{given!r}]")
        self.name = name
        self.components = list(components)
        self.topics = list(topics)

    def __repr__(self) -> str:
        return f"<Service {self.name} [{len(self.components)} components]>"

    def define(self) -> tuple[ServiceDefinition, list[str]]:
        """Read all components; return what was understood and every problem found."""
        reader = _Reader(self)
        reader.read()
        return reader.definition, reader.problems


class _Reader:
    def __init__(self, service: Service) -> None:
        self.service = service
        self.problems: list[str] = []
        self.definition = ServiceDefinition(service.name, {}, {}, {}, {})
        self.ids: dict[str, tuple[Any, str]] = {}
        """Id → who has it, and where it is written; broken ones too."""

    def read(self) -> None:
        with self.noting(f"service {self.service.name!r}"):
            check_name("service", self.service.name)
        for topic in self.service.topics:
            with self.noting(repr(topic)):
                self.read_topic(topic)
        for thing in self.service.components:
            with self.noting(place_of(thing)):
                self.read_component(thing)
        self.check_sources()
        self.check_publications()
        # What two components stumble over is told once.
        self.problems = list(dict.fromkeys(self.problems))

    def read_topic(self, topic: Any) -> None:
        if not isinstance(topic, Topic):
            raise ConfigurationError(f"{topic!r} is no topic: topics= lists Topic(…) objects")
        self.claim(topic.id, topic, f"topic {topic.id!r}")
        check_name("topic", topic.name)
        names_of(topic.event_types(), f"topic {topic.id!r}")
        for kind in topic.event_types():
            check_event_type(kind)
        if not topic.service:
            self.definition.topics[topic.id] = topic
            return
        check_name("service", topic.service)
        if topic.service == self.service.name:
            raise ConfigurationError(
                f"topic {topic.name!r} is of this service itself: leave service= out"
            )
        self.definition.foreign[topic.id] = topic

    def read_component(self, thing: Any) -> None:
        if isinstance(thing, Consumer):
            self.claim(thing.id, thing, f"consumer {place_of(thing.function)}")
            consumer = thing.define()
            if consumer.group:
                self.claim(consumer.subscription, thing, consumer.place)
            self.definition.consumers[consumer.id] = consumer
            return
        id, place = id_of(thing), place_of(thing)
        if not id:
            if id_of(type(thing)):
                self.claim(id_of(type(thing)), thing, place)
            raise ConfigurationError(_unmarked(thing))
        self.claim(id, thing, place)
        if issubclass_of(thing, View):
            check_names(thing)
            self.definition.views[id] = define_view(thing)
        elif issubclass_of(thing, EventSourcedEntity) or issubclass_of(thing, KeyValueEntity):
            self.definition.entities[id] = define_entity(thing)
        else:
            raise ConfigurationError(
                f"{place}: derive it from EventSourcedEntity, KeyValueEntity or View"
            )

    def check_sources(self) -> None:
        followers = [(c.place, c.source.id) for c in self.definition.consumers.values()]
        for view in self.definition.views.values():
            followers += [(place_of(h.route.function), h.source.id) for h in view.handlers]
        for place, source in followers:
            # A source that is listed but broken has its own problem already.
            if source not in self.ids:
                self.problems.append(
                    f"{place}: its source {source!r} is not part of service "
                    f"{self.service.name!r}; add it to components= or topics="
                )

    def check_publications(self) -> None:
        for consumer in self.definition.consumers.values():
            consumer.topics = self.definition.topics
            # `x.publish` may be a client's here, for a topic of another service.
            self.check_published(consumer.place, published_topics(consumer.route.function))
        for entity in self.definition.entities.values():
            entity.topics = self.definition.topics
            for handler in entity.commands.values():
                topics = published_topics(handler.function, effects=True)
                self.check_published(handler.place, topics)

    def check_published(self, place: str, topics: Iterable[Topic[Any]]) -> None:
        for topic in topics:
            if topic.service:
                self.problems.append(f"{place}: {not_ours(topic)}")
            elif topic.id not in self.ids:
                self.problems.append(
                    f"{place}: it publishes to {topic.id!r}, which is not part of service "
                    f"{self.service.name!r}; add it to topics="
                )

    def claim(self, id: str, thing: Any, place: str) -> None:
        other, its_place = self.ids.get(id, (None, ""))
        if other is thing:
            raise ConfigurationError(f"{place}: it is listed twice")
        if other is not None:
            raise ConfigurationError(f"{place}: the id {id!r} is already taken by {its_place}")
        self.ids[id] = (thing, place)

    @contextmanager
    def noting(self, place: str) -> Iterator[None]:
        try:
            yield
        except ConfigurationError as error:
            self.problems += error.details.get("problems", [error.message])
        except Exception as error:  # a class that Python or msgspec cannot make sense of
            self.problems.append(f"{place}: {type(error).__name__}: {error}")


def _unmarked(thing: Any) -> str:
    if isinstance(thing, Topic):
        return f"{thing!r} is a topic: it belongs into topics=, not into components="
    if id_of(type(thing)):
        name = type(thing).__name__
        return f"{place_of(type(thing))}: list the class {name}, not an instance of it: no {name}()"
    return no_component(thing)
