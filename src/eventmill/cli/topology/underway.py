"""Whether this code can go on with the workflows of a store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from eventmill.cli.surface.output import counted
from eventmill.engine.workflows.unfit import unfit
from eventmill.model.definition import ServiceDefinition
from eventmill.model.progress import decode_moved

Newest = Callable[[str], Iterable[tuple[str, bytes]]]
"""Gives id and newest progress of every workflow of a component."""


def stuck(service: ServiceDefinition, newest: Newest) -> Iterator[str]:
    """Name what workflows would be stuck at, each reason once."""
    for entity in service.entities.values():
        if entity.workflow is None:
            continue
        found: dict[str, list[str]] = {}
        for id, payload in newest(entity.id):
            for reason in dict.fromkeys(unfit(entity.workflow, decode_moved(payload).progress)):
                found.setdefault(reason, []).append(id)
        for reason, ids in found.items():
            number = counted(len(ids), "workflow")
            yield f"{entity.id}/{ids[0]}: {reason} ({number} of {entity.id!r} under way)"
