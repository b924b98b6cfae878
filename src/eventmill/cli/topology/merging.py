"""One graph of several services: every id has its service in front."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from eventmill.sdk.topology.graph import Connection, Graph, Kind, Part


def merged(services: Iterable[Graph]) -> Graph:
    """Put services together; what one calls in another leads there."""
    parts: dict[str, Part] = {}
    connections: list[Connection] = []
    for service in services:
        remote = {part.id for part in service.parts if part.kind is Kind.REMOTE}
        for part in _named(service, remote):
            if part.kind is not Kind.REMOTE or part.id not in parts:
                parts[part.id] = part
        connections += _led(service, remote)
    ordered = sorted(parts.values(), key=lambda part: part.id.partition("/")[0])
    return Graph("", ordered, connections)


def _named(service: Graph, remote: set[str]) -> Iterator[Part]:
    for part in service.parts:
        yield Part(_name(service, part.id, remote), part.kind, part.types)


def _led(service: Graph, remote: set[str]) -> Iterator[Connection]:
    for c in service.connections:
        source, target = (_name(service, id, remote) for id in (c.source, c.target))
        yield Connection(source, target, c.way, c.what, c.place)


def _name(service: Graph, id: str, remote: set[str]) -> str:
    return id if id in remote else f"{service.service}/{id}"
