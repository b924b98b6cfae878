"""The graph of a service: its parts, and the connections between them."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Any

import msgspec

from eventmill.model.definition import ServiceDefinition
from eventmill.sdk.topology.reading import Mention, mentions_of


class Kind(StrEnum):
    """What a part is."""

    ENTITY = "entity"
    REPLICATED = "replicated"
    """An entity that is on every node."""
    TOPIC = "topic"
    WORKFLOW = "workflow"
    CONSUMER = "consumer"
    ACTION = "action"
    VIEW = "view"
    ENDPOINT = "endpoint"
    """A route of the service's own: its id is method and path."""
    TRANSFORM = "transform"
    REMOTE = "remote"
    """A part of another service: its id is `service/part`."""
    UNKNOWN = "unknown"


class Way(StrEnum):
    """How one part reaches another."""

    FEEDS = "feeds"
    """The target follows the source's events."""
    PUBLISHES = "publishes"
    SENDS = "sends"
    """A command that is delivered later."""
    SCHEDULES = "schedules"
    CALLS = "calls"
    """A command or query whose answer is waited for."""
    QUERIES = "queries"

    @property
    def is_synchronous(self) -> bool:
        """Whether the caller waits: a coupling in time."""
        return self in (Way.CALLS, Way.QUERIES)


class Part(msgspec.Struct, frozen=True):
    """An entity, topic, consumer, action, view or transform."""

    id: str
    kind: Kind
    types: list[str]
    """Stored event types that it has or takes; of a scheduled action, when it runs."""


class Connection(msgspec.Struct, frozen=True, order=True):
    """One way from a part to another."""

    source: str
    target: str
    way: Way
    what: str = ""
    """The command or query, for a way that names one."""
    place: str = ""
    """Where it is written: `file:line`."""


class Graph(msgspec.Struct, frozen=True):
    """A service seen from above."""

    service: str
    """Its name; empty: several, whose parts have their service's name and `/` in front."""
    parts: list[Part]
    connections: list[Connection]

    @property
    def inner(self) -> list[Connection]:
        """Connections without those of endpoints, which are at the edge: somebody waits there anyway."""
        edge = {part.id for part in self.parts if part.kind is Kind.ENDPOINT}
        return [c for c in self.connections if c.source not in edge]

    @property
    def couplings(self) -> list[Connection]:
        """Inner connections where a part waits for another."""
        return [c for c in self.inner if c.way.is_synchronous]

    @property
    def purity(self) -> float:
        """Share of the inner connections that are events; 1.0 without connections."""
        inner = self.inner
        return 1 - len(self.couplings) / len(inner) if inner else 1.0


def graph_of(service: ServiceDefinition) -> Graph:
    """Read a service."""
    parts = list(_parts(service))
    found = dict.fromkeys((*_followers(service), *_reaches(service)))
    known = {part.id for part in parts}
    unknown = {end for c in found for end in (c.source, c.target) if end not in known}
    parts += [
        Part(id, Kind.REMOTE if _is_remote(id) else Kind.UNKNOWN, []) for id in sorted(unknown)
    ]
    return Graph(service.name, parts, list(found))


def _parts(service: ServiceDefinition) -> Iterator[Part]:
    for entity in service.entities.values():
        kind = Kind.WORKFLOW if entity.workflow is not None else Kind.ENTITY
        if entity.replicated is not None:
            kind = Kind.REPLICATED
        yield Part(entity.id, kind, _names(entity.event_types.values()))
    for topic in service.topics.values():
        yield Part(topic.id, Kind.TOPIC, _names(topic.event_types()))
    for topic in service.foreign.values():
        yield Part(topic.id, Kind.REMOTE, _names(topic.event_types()))
    for consumer in service.consumers.values():
        yield Part(consumer.id, Kind.CONSUMER, [t.__name__ for t in consumer.route.types])
    for id, action in service.actions.items():
        yield Part(id, Kind.ACTION, [str(action.schedule)] if action.schedule else [])
    for view in service.views.values():
        yield Part(view.id, Kind.VIEW, [])
    for route in service.endpoints.routes:
        yield Part(route.id, Kind.ENDPOINT, [])
    for transform in service.transforms.values():
        taken = {t.__name__ for one in transform.inputs for t in one.types}
        yield Part(transform.id, Kind.TRANSFORM, sorted(taken))


def _is_remote(id: str) -> bool:
    return "/" in id and "‹" not in id


def _names(kinds: Any) -> list[str]:
    return sorted({kind.name for kind in kinds})


def _followers(service: ServiceDefinition) -> Iterator[Connection]:
    for consumer in service.consumers.values():
        yield Connection(consumer.source.id, consumer.id, Way.FEEDS)
    for entity in service.entities.values():
        for source in entity.workflow.sources if entity.workflow is not None else ():
            yield Connection(source, entity.id, Way.FEEDS)
    for view in service.views.values():
        for handler in view.handlers:
            yield Connection(handler.source.id, view.id, Way.FEEDS)
    for transform in service.transforms.values():
        for one in transform.inputs:
            yield Connection(one.source.id, transform.id, Way.FEEDS)


def _reaches(service: ServiceDefinition) -> Iterator[Connection]:
    for consumer in service.consumers.values():
        if consumer.stream:
            yield Connection(consumer.id, consumer.stream, Way.PUBLISHES)
    for transform in service.transforms.values():
        for topic in transform.published:
            yield Connection(transform.id, topic.id, Way.PUBLISHES)
    for id, function, owner in _functions(service):
        for mention in mentions_of(function, owner):
            yield _connection(id, mention)


def _functions(service: ServiceDefinition) -> Iterator[tuple[str, Any, type | None]]:
    """Yield each part's functions, with the class that it is written in."""
    for consumer in service.consumers.values():
        yield consumer.id, consumer.route.function, None
    for id, action in service.actions.items():
        yield id, action.handler.function, None
    for entity in service.entities.values():
        steps = entity.workflow.steps.values() if entity.workflow is not None else ()
        for handler in (*entity.handlers.values(), *(step.handler for step in steps)):
            yield entity.id, handler.function, entity.cls
    for route in service.endpoints.routes:
        yield route.id, route.function, route.owner


_WAYS = {
    "publish": Way.PUBLISHES,
    "send": Way.SENDS,
    "schedule": Way.SCHEDULES,
    "start_child": Way.SENDS,
    "call": Way.CALLS,
    "query": Way.QUERIES,
}


def _connection(source: str, mention: Mention) -> Connection:
    way = _WAYS[mention.verb]
    place = mention.place if way.is_synchronous else ""
    return Connection(source, mention.target, way, mention.what, place)
