"""Whether this code can go on with what is under way in a store: workflows, and open windows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

import msgspec

from eventmill.cli.surface.output import counted
from eventmill.engine.transforms.windows import stage_of
from eventmill.engine.workflows.unfit import unfit
from eventmill.errors import HandlerFailed
from eventmill.model.definition import ServiceDefinition
from eventmill.model.progress import decode_moved
from eventmill.model.transform import Windowing
from eventmill.runtime.transforms.rows import tables_of

Newest = Callable[[str], Iterable[tuple[str, bytes]]]
"""Gives id and newest progress of every workflow of a component."""

Rows = Callable[[str], Iterable[tuple[Any, ...]]]
"""Gives the rows of a table."""


def stuck(service: ServiceDefinition, newest: Newest) -> Iterator[str]:
    """Name what workflows would be stuck at, each reason once."""
    for entity in service.entities.values():
        if entity.workflow is None:
            continue
        found: dict[str, list[str]] = {}
        for id, payload in newest(entity.id):
            with suppress(msgspec.DecodeError):  # told where types are judged
                progress = decode_moved(payload).progress
                for reason in dict.fromkeys(unfit(entity.workflow, progress)):
                    found.setdefault(reason, []).append(id)
        for reason, ids in found.items():
            number = counted(len(ids), "workflow")
            yield f"{entity.id}/{ids[0]}: {reason} ({number} of {entity.id!r} under way)"


def unreadable_windows(service: ServiceDefinition, rows: Rows) -> Iterator[str]:
    """Name transforms whose open windows were collected by another definition.

    What joins keep are events, which are judged where they are stored.
    """
    for transform in service.transforms.values():
        if not isinstance(transform.stage, Windowing):
            continue
        stage, found = stage_of(transform.stage), dict[str, list[str]]()
        keys, generations = (table.name for table in tables_of(transform.id))
        current = min((number for _, number in rows(generations)), default=0)
        for key, generation, state in rows(keys):
            try:
                if generation >= current:  # older ones are void since a reset
                    stage.decode(state, generation)
            except HandlerFailed as error:
                found.setdefault(error.message, []).append(key)
        for reason, unread in found.items():
            number = counted(len(unread), "key")
            yield f"transform {transform.id!r}, {unread[0]!r} ({number}): {reason}"
