"""The service: collects components and topics, checks everything, reports all problems at once."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from eventmill.errors import ConfigurationError
from eventmill.model import codec
from eventmill.model.definition import EntityDefinition, ServiceDefinition
from eventmill.model.events import event_type_of
from eventmill.model.handler import Handler
from eventmill.model.topic import Topic
from eventmill.sdk.component import check_name, id_of, place_of
from eventmill.sdk.consumer import Consumer
from eventmill.sdk.entity import EventSourcedEntity, KeyValueEntity
from eventmill.sdk.handlers import Command, Query, SqlQuery
from eventmill.sdk.reaction import (
    check_annotated,
    check_event_type,
    fields_need_defaults,
    folds_of,
    issubclass_of,
    names_of,
)
from eventmill.sdk.view import View, define_view


class Service:
    """A named set of components and topics: what `eventmill run` runs.

    Parameters: `name` is part of CloudEvents sources; `components` are entity and view classes and
    consumers, in any order; `topics` are the topics they publish to and consume from.
    """

    def __init__(
        self, name: str, *, components: Sequence[Any] = (), topics: Sequence[Topic] = ()
    ) -> None:
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
        self.ids: dict[str, str] = {}

    def read(self) -> None:
        with self.noting():
            check_name("service", self.service.name)
        for topic in self.service.topics:
            with self.noting():
                self.claim(topic.id, f"topic {topic.id!r}")
                check_name("topic", topic.id)
                names_of(topic.event_types(), f"topic {topic.id!r}")
                for kind in topic.event_types():
                    check_event_type(kind)
                self.definition.topics[topic.id] = topic
        for thing in self.service.components:
            with self.noting():
                self.read_component(thing)
        self.check_sources()

    def read_component(self, thing: Any) -> None:
        if isinstance(thing, Consumer):
            self.claim(thing.id, f"consumer {place_of(thing.function)}")
            consumer = thing.define()
            if consumer.group:
                self.claim(consumer.subscription, consumer.place)
            self.definition.consumers[consumer.id] = consumer
            return
        id, place = id_of(thing), place_of(thing)
        if not id:
            raise ConfigurationError(
                f'{place}: a component needs @component("…") (a class) or @consumer (a function)'
            )
        self.claim(id, place)
        if issubclass_of(thing, View):
            self.definition.views[id] = define_view(thing)
        elif issubclass_of(thing, (EventSourcedEntity)) or issubclass_of(thing, KeyValueEntity):
            self.definition.entities[id] = define_entity(thing)
        else:
            raise ConfigurationError(
                f"{place}: derive it from EventSourcedEntity, KeyValueEntity or View"
            )

    def check_sources(self) -> None:
        known = self.definition.entities.keys() | self.definition.topics.keys()
        followers = [(c.place, c.source.id) for c in self.definition.consumers.values()]
        for view in self.definition.views.values():
            followers += [(place_of(h.route.function), h.source.id) for h in view.handlers]
        for place, source in followers:
            if source not in known:
                self.problems.append(
                    f"{place}: its source {source!r} is not part of service "
                    f"{self.service.name!r}; add it to components= or topics="
                )

    def claim(self, id: str, place: str) -> None:
        if id in self.ids:
            raise ConfigurationError(f"{place}: the id {id!r} is already taken by {self.ids[id]}")
        self.ids[id] = place

    @contextmanager
    def noting(self) -> Iterator[None]:
        try:
            yield
        except ConfigurationError as error:
            self.problems.append(error.message)


def define_entity(cls: type) -> EntityDefinition:
    """Read an entity class.

    Raises `ConfigurationError` that names the method.
    """
    id, place = id_of(cls), place_of(cls)
    required = fields_need_defaults(cls)
    if required:
        raise ConfigurationError(
            f"{place}: give {', '.join(required)} a default: it is the state of a new entity"
        )
    check_annotated(cls)
    members = vars(cls)
    commands: dict[str, Handler[Any, Any]] = {
        n: v for n, v in members.items() if isinstance(v, Command)
    }
    queries: dict[str, Handler[Any, Any]] = {
        n: v for n, v in members.items() if isinstance(v, Query)
    }
    for name, function in members.items():
        if name.startswith("_") or not inspect.isfunction(function):
            continue
        if "Effect" in str(function.__annotations__.get("return")):
            raise ConfigurationError(f"{place_of(function)}: {name!r} needs @command above it")
    for handler in (*commands.values(), *queries.values()):
        if inspect.iscoroutinefunction(handler.function):
            raise ConfigurationError(
                f"{handler.place}: commands and queries are not async, they only decide and read; "
                "calls to the outside belong into a consumer"
            )
        if isinstance(handler, SqlQuery):
            raise ConfigurationError(f"{handler.place}: @query with SQL belongs into a View")
        handler.resolve()
    is_key_value = issubclass_of(cls, KeyValueEntity)
    folds = folds_of(cls)
    for event_class in folds:
        check_event_type(event_type_of(event_class))
    if is_key_value and folds:
        raise ConfigurationError(f"{place}: a key-value entity has no @on; use self.update(…)")
    return EntityDefinition(
        id=id,
        cls=cls,
        commands=commands,
        queries=queries,
        folds=folds,
        event_types=names_of(map(event_type_of, folds), place),
        is_key_value=is_key_value,
        snapshot_every=getattr(cls, "snapshot_every", 0),
        retention=cls.retention,  # type: ignore[attr-defined]  # both entity bases have it
        schema=f"{getattr(cls, 'snapshot_version', 1)}|{codec.schema_fingerprint(cls)}",
        encode_state=codec.encode,
        decode_state=codec.decoder(cls).decode,
    )
