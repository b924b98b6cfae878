"""The service: collects components and topics, checks everything, reports all problems at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from eventmill.errors import ConfigurationError
from eventmill.model.definition import ConsumerDefinition, ServiceDefinition
from eventmill.model.problems import Problems
from eventmill.model.topic import WHEN_READ, Topic, not_ours
from eventmill.sdk.component import check_name, id_of, place_of
from eventmill.sdk.endpoints.reading import EndpointReader, has_routes, is_endpoint
from eventmill.sdk.kinds import kind_of
from eventmill.sdk.reaction import check_event_type, names_of, no_component
from eventmill.sdk.streams import Stream


class Service:
    """A named set of components and topics: what `eventmill run` runs.

    Parameters: `name` is part of CloudEvents sources; `components` are entity and view classes,
    consumers, transforms and endpoints, in any order; `topics` are the topics they publish to and
    consume from, those of other services included.
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
        return reader.definition, reader.found


class _Reader:
    def __init__(self, service: Service) -> None:
        self.service = service
        self.problems = Problems()
        self.definition = ServiceDefinition(service.name, {}, {}, {}, {})
        self.endpoints = EndpointReader(self.definition.endpoints)
        self.ids: dict[str, tuple[Any, str]] = {}
        """Id → who has it, and where it is written; broken ones too."""

    @property
    def found(self) -> list[str]:
        """Every problem; what two components stumble over is told once."""
        return list(dict.fromkeys(self.problems.found))

    def read(self) -> None:
        with self.problems.noting():
            check_name("service", self.service.name)
        for topic in self.service.topics:
            with self.problems.noting(repr(topic)):
                self.read_topic(topic)
        for thing in self.service.components:
            with self.problems.noting(place_of(thing)):
                self.read_component(thing)
        self.read_followed()
        for thing in self.service.components:
            with self.problems.noting(place_of(thing)):
                self.check_sources(thing)
                self.check_publications(thing)
        self.check_views()
        parts = self.definition
        for known in (parts.consumers, parts.entities, parts.transforms):
            for component in known.values():
                component.topics = parts.topics
        for action in parts.actions.values():
            action.reaction.topics = parts.topics

    def read_topic(self, topic: Any, place: str = "") -> None:
        if not isinstance(topic, Topic):
            raise ConfigurationError(f"{topic!r} is no topic: topics= lists Topic(…) objects")
        problems, place = Problems(), place or f"topic {topic.id!r}"
        with problems.noting():
            self.claim(topic.id, topic, place)
        with problems.noting():
            check_name("topic", topic.name)
        with problems.noting():
            names_of(topic.event_types(), place)
        for kind in topic.event_types():
            with problems.noting():
                check_event_type(kind)
        with problems.noting():
            self.check_foreign(topic)
        problems.refuse()
        known = self.definition.foreign if topic.service else self.definition.topics
        known[topic.id] = topic

    def read_followed(self) -> None:
        """Declare the topics of other services that are followed here. If nobody said what one
        carries, it is what its followers take, all together."""
        sources = [consumer.source for consumer in self.definition.consumers.values()]
        sources += [h.source for view in self.definition.views.values() for h in view.handlers]
        followed = (source for thing in self.service.components for source in _followed(thing))
        for place, topic in followed:
            if not isinstance(topic, Topic) or not topic.service:
                continue
            mine = [source for source in sources if source.id == topic.id]
            declared = self.definition.foreign.get(topic.id, topic)
            taken = (kind.cls for source in mine for kind in source.event_types.values())
            types = dict.fromkeys([*declared.types, *topic.types, *taken])
            if not types or (topic.id in self.ids and topic.id not in self.definition.foreign):
                continue  # what is wrong with it is told already
            with self.problems.noting(place):
                whole = declared
                if types.keys() != set(declared.types):
                    whole = Topic(topic.name, *types, key=declared.key, service=topic.service)
                if topic.id not in self.ids:
                    self.read_topic(whole)
                self.definition.foreign[topic.id] = whole
                for source in mine:
                    source.event_types.update(names_of(whole.event_types(), place))

    def check_foreign(self, topic: Topic[Any]) -> None:
        if not topic.service:
            return
        check_name("service", topic.service)
        if topic.service == self.service.name:
            raise ConfigurationError(
                f"topic {topic.name!r} is of this service itself: leave service= out"
            )

    def read_component(self, thing: Any) -> None:
        if isinstance(thing, Stream):
            self.read_topic(thing.topic, f"stream {place_of(thing.function)}")
        if is_endpoint(thing):
            self.endpoints.read(thing)
            return
        kind = kind_of(thing)
        id = kind.id(thing) if kind is not None else ""
        if kind is None or not id:
            if id_of(type(thing)):
                self.claim(id_of(type(thing)), thing, place_of(thing))
            raise ConfigurationError(_unmarked(thing))
        place, problems = kind.place(thing), Problems()
        with problems.noting():
            self.claim(id, thing, kind.title(thing))
        with problems.noting(place):
            definition = kind.define(thing)
        if problems.found and (rest := kind.understood(thing)) is not None:
            kind.kept_in(self.definition).setdefault(id, rest)
        problems.refuse()
        if isinstance(definition, ConsumerDefinition) and definition.group:
            self.claim(definition.subscription, thing, place)
        kind.kept_in(self.definition)[id] = definition

    def check_sources(self, thing: Any) -> None:
        for place, source in _followed(thing):
            id = source.id if isinstance(source, Topic) else id_of(source)
            # A source that is listed but broken has its own problem already.
            if id and id not in self.ids:
                self.problems.found.append(
                    f"{place}: its source {id!r} is not part of service "
                    f"{self.service.name!r}; add it to components= or topics="
                )

    def check_views(self) -> None:
        for view in self.definition.views.values():
            for handler in view.handlers:
                topic = self.definition.topics.get(handler.source.id)
                if topic is not None and topic.retention is WHEN_READ:
                    self.problems.found.append(
                        f"{place_of(handler.route.function)}: a view is built anew from the "
                        f"beginning, and topic {topic.id!r} removes what was read "
                        "(WHEN_READ): give it a time, or let a consumer keep it in an entity"
                    )

    def check_publications(self, thing: Any) -> None:
        kind = kind_of(thing)
        for place, topics in kind.published(thing) if kind is not None else ():
            self.check_published(place, topics)

    def check_published(self, place: str, topics: Iterable[Topic[Any]]) -> None:
        for topic in topics:
            if topic.service:
                self.problems.found.append(f"{place}: {not_ours(topic)}")
            elif topic.id not in self.ids:
                self.problems.found.append(
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


def _followed(thing: Any) -> Iterator[tuple[str, Any]]:
    """Return what a component follows, and where that is written."""
    kind = kind_of(thing)
    return iter(()) if kind is None else kind.followed(thing)


def _unmarked(thing: Any) -> str:
    if isinstance(thing, Topic):
        return f"{thing!r} is a topic: it belongs into topics=, not into components="
    if id_of(type(thing)):
        name = type(thing).__name__
        return f"{place_of(type(thing))}: list the class {name}, not an instance of it: no {name}()"
    if has_routes(thing):
        return f'{place_of(thing)}: write @endpoint("/…") before the class, its paths\' beginning'
    return no_component(thing)
