"""Drawing a graph: as text, and as a Mermaid flowchart for documents."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby

from eventmill.cli.surface.output import counted
from eventmill.sdk.topology.graph import Connection, Graph, Kind, Part

_SHAPES = {
    Kind.ENTITY: ("[", "]"),
    Kind.REPLICATED: ("[", "]"),
    Kind.TOPIC: ("([", "])"),
    Kind.WORKFLOW: ("[/", "/]"),
    Kind.CONSUMER: ("{{", "}}"),
    Kind.ACTION: ("[/", "/]"),
    Kind.VIEW: ("[(", ")]"),
    Kind.ENDPOINT: (">", "]"),
    Kind.TRANSFORM: ("[/", "/]"),
    Kind.REMOTE: ("[[", "]]"),
    Kind.UNKNOWN: ("(", ")"),
}


def text(graph: Graph) -> str:
    """Draw a line per part, followed by where it leads."""
    width = max((len(part.id) for part in graph.parts), default=0)
    lines = []
    for part in graph.parts:
        kind = "?" if part.kind is Kind.UNKNOWN else part.kind.value
        shown = f"{part.id.ljust(width)}  {kind.ljust(10)}  {', '.join(part.types)}"
        lines.append(shown.rstrip())
        lines += ["  " + _arrow(c) for c in graph.connections if c.source == part.id]
    return "\n".join(lines)


def mermaid(graph: Graph) -> str:
    """Draw a Mermaid flowchart, each of several services in a box; waiting is a thick line."""
    return "\n".join(["flowchart LR", *_mermaid_lines(graph)])


def judgement(graph: Graph) -> str:
    """Say how pure the service is."""
    couplings, total = len(graph.couplings), len(graph.inner)
    if not total:
        return "No part of it is connected with another."
    if not couplings:
        return f"Pure: {counted(total, 'connection')}, nothing but events."
    waits = f"{counted(couplings, 'connection waits', 'connections wait')} for an answer"
    return f"{graph.purity:.0%} pure: {waits}, {total - couplings:,} of {total:,} are events."


def _arrow(connection: Connection) -> str:
    arrow = "══" if connection.way.is_synchronous else "──"
    target = connection.target + (f".{connection.what}" if connection.what else "")
    place = f"  ({connection.place})" if connection.place else ""
    return f"{arrow} {connection.way} {arrow}▶ {target}{place}"


def _mermaid_lines(graph: Graph) -> Iterator[str]:
    several = not graph.service
    for service, parts in groupby(graph.parts, lambda part: _service_of(part) if several else ""):
        if several:
            yield f'    subgraph {_key(service)}["{service}"]'
        for part in parts:
            opening, closing = _SHAPES[part.kind]
            yield f'    {_key(part.id)}{opening}"{_label(part)}"{closing}'
        if several:
            yield "    end"
    for c in graph.connections:
        label = f"{c.way} {c.what}".strip().replace('"', "#quot;")
        arrow = "==>" if c.way.is_synchronous else "-->"
        yield f'    {_key(c.source)} {arrow}|"{label}"| {_key(c.target)}'


def _service_of(part: Part) -> str:
    return part.id.partition("/")[0]


def _label(part: Part) -> str:
    return part.id.replace('"', "#quot;")


def _key(id: str) -> str:
    """Return a name that Mermaid takes, different for different ids."""
    return "n_" + re.sub(r"[^A-Za-z0-9]", lambda match: f"_{ord(match[0]):x}_", id)
