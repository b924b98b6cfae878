"""What a service tells of itself: its entry in the directory, and the whole of it to who asks.

The entry is small, since every node sends one to everybody who looks. Where the contracts (event
schemas, commands) are in full is a part of it: the service's OpenAPI and AsyncAPI documents.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from eventmill.model.definition import ServiceDefinition
from eventmill.ports.cluster import Claim, Member
from eventmill.ports.directory import Endpoint, Instance
from eventmill.runtime.keeping import Keeping, keeping_of
from eventmill.sdk.topology.graph import Connection, Part, graph_of

TOLD: Final[tuple[str, ...]] = ("node", "store", "process", "url", "admin_url", "started")
"""Facts of a node that everybody may know."""


class Component(msgspec.Struct, frozen=True):
    """An entity, view, consumer, action or transform, and what it answers to or follows."""

    id: str
    kind: str
    commands: list[str] = []
    queries: list[str] = []
    source: str = ""


BROKER: Final = "broker"
STORE: Final = "store"


class Topic(msgspec.Struct, frozen=True):
    """A topic and the types that it carries."""

    id: str
    types: list[str]
    place: str = ""
    """Where it lives: `BROKER` or `STORE`; empty if a node of an earlier version tells."""
    service: str = ""
    """Whose it is, if it is followed here and another's."""
    keeping: Keeping = Keeping()
    """How its messages are kept, if it is this service's."""
    stream_of: str = ""
    """Whose events it makes public, if it is a service stream."""


class NodeShare(msgspec.Struct, frozen=True):
    """A member of the cluster by the store's rows."""

    node: str
    shards: int
    """Home shards that it holds."""


class Description(msgspec.Struct, frozen=True):
    """A service as one of its nodes knows it."""

    service: str
    nodes: list[NodeShare]
    components: list[Component]
    topics: list[Topic]
    parts: list[Part]
    connections: list[Connection]


def address(service: str) -> str:
    """Where a description is asked for."""
    return f"{service}/describe"


def instance(service: ServiceDefinition, id: str, facts: dict[str, Any]) -> Instance:
    """Return a node's entry. Parameters: `facts` are the node's own, texts and numbers."""
    named = {name: str(facts[name]) for name in TOLD if name in facts}
    named["topics"] = ", ".join(service.topics)
    contracts = {"openapi": f"{named['url']}/openapi.json"}
    if service.topics:
        contracts["asyncapi"] = f"{named['url']}/asyncapi.json"
    return Instance(
        service.name, id, str(facts["version"]), {**named, **contracts}, list(_endpoints(service))
    )


async def describe(
    service: ServiceDefinition, members: list[Member], claims: list[Claim], place: str
) -> Description:
    """Describe a service whole. Parameter: `place` is where its topics live."""
    # Reads source files, which must not hold up the node's work.
    graph = await asyncio.to_thread(graph_of, service)
    held = Counter(claim.owner for claim in claims)
    return Description(
        service.name,
        [NodeShare(member.node, held[member.node]) for member in members],
        list(_components(service)),
        list(_topics(service, place)),
        graph.parts,
        graph.connections,
    )


def _components(service: ServiceDefinition) -> Iterator[Component]:
    for entity in service.entities.values():
        yield Component(entity.id, entity.kind, list(entity.commands), list(entity.queries))
    for view in service.views.values():
        sources = dict.fromkeys(handler.source.id for handler in view.handlers)
        yield Component(view.id, "view", [], list(view.queries), ", ".join(sources))
    for consumer in service.consumers.values():
        yield Component(consumer.id, "consumer", source=consumer.source.id)
    for id, action in service.actions.items():
        yield Component(id, "action", source=str(action.schedule or ""))
    for transform in service.transforms.values():
        sources = dict.fromkeys(one.source.id for one in transform.inputs)
        yield Component(transform.id, "transform", source=", ".join(sources))


def _topics(service: ServiceDefinition, place: str) -> Iterator[Topic]:
    streams = service.streams
    for topic in service.topics.values():
        types = [kind.name for kind in topic.event_types()]
        yield Topic(topic.id, types, place, "", keeping_of(topic), streams.get(topic.id, ""))
    for topic in service.foreign.values():
        types = [kind.name for kind in topic.event_types()]
        yield Topic(topic.id, types, place, topic.service)


def _endpoints(service: ServiceDefinition) -> Iterator[Endpoint]:
    for component in _components(service):
        if component.kind in ("consumer", "action", "transform"):
            continue  # nobody calls it
        asked = {"commands": component.commands, "queries": component.queries}
        lists = {name: ", ".join(names) for name, names in asked.items() if names}
        yield Endpoint(component.id, service.name, {"kind": component.kind, **lists})
    yield Endpoint("describe", address(service.name), {"kind": "about the service"})
