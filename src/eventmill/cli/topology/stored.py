"""Whether this code can still read a store: every stored type, version and command."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from eventmill.cli.surface.output import counted, show
from eventmill.cli.surface.progress import bar
from eventmill.cli.topology import parked, underway
from eventmill.cli.topology.judging import Decode, decoder, failure, undeliverable
from eventmill.model.action import CALLS
from eventmill.model.definition import ServiceDefinition
from eventmill.model.entry import COMMANDS, DELETED
from eventmill.node import offline
from eventmill.node.offline import StoredType, Subscriber

Payloads = Callable[[StoredType], Iterable[tuple[int, bytes]]]
"""Gives position and payload of every entry of a stored type."""


class Reading(msgspec.Struct):
    """One stored source, type and version, as this code sees it."""

    source: str
    type: str
    version: int
    is_outside: bool
    """Messages that clients published. They may be anything, so that this code does not read them
    is no fault of it: whoever follows the topic parks them."""
    count: int
    unreadable: int = 0
    """How many of them this code cannot read."""
    problem: str = ""
    """Why; empty: all can be read."""
    is_orphan: bool = False
    """The service has no such source any more; of an entity that is a problem."""

    @property
    def told(self) -> str:
        """What cannot be read, and why; empty: nothing."""
        if not self.problem:
            return ""
        what = f"{self.source} {self.type} v{self.version}"
        if not self.is_outside:
            number = counted(self.count, "entry", "entries")
            if self.unreadable < self.count:
                number = f"{self.unreadable:,} of {number}"
            return f"{what}, {number}: {self.problem}"
        number = counted(self.count, "message")
        return (
            f"{what}: {self.unreadable:,} of {number} from outside cannot be read: {self.problem}. "
            "Whoever follows the topic made dead letters of them, or ignores them; a new follower "
            "from the beginning does so again"
        )


class Stored(msgspec.Struct):
    """What a store holds, as this code sees it."""

    data: str
    types: list[Reading]
    undeliverable: list[str]
    stuck: list[str]
    """What keeps workflows and windows from going on."""
    leftovers: list[str]
    """Of consumers and views that are gone: they break nothing."""
    letters: list[str]
    """Of no use to this code: they fail again when they are redriven."""

    @property
    def problems(self) -> list[str]:
        """What the code itself wrote and cannot read, deliver or go on with any more."""
        unreadable = [r.told for r in self.types if r.told and not r.is_outside]
        return unreadable + self.undeliverable + self.stuck

    @property
    def warnings(self) -> list[str]:
        """What should be known, and breaks nothing."""
        orphans = sorted({r.source for r in self.types if r.is_orphan and not r.told})
        return [
            *(r.told for r in self.types if r.told and r.is_outside),
            *self.leftovers,
            *self.letters,
            *(
                f"topic {source!r} is not part of the service: its messages stay, nobody reads them"
                for source in orphans
            ),
        ]


def examined(service: ServiceDefinition, data: Path | None, store: str) -> Stored | None:
    """Examine the store of the URL `store`, or a data directory's; None if neither is named.

    Raises `ConfigurationError` if there is no store., `UsageError` if both are named.
    """
    if data is None and not store:
        return None
    if data is not None and store:
        raise click.UsageError("give --data or --store, not both")
    data = data or Path()
    with bar("Reading the journal") as progress:
        kinds = offline.stored_types(data, store, progress)
    lost, useless = parked.unread(service, offline.letters(data, store))
    waiting = [
        *undeliverable(service, offline.waiting_commands(data, store)),
        *parked.unfit_deltas(service, offline.waiting_deltas(data, store)),
        *lost,
    ]
    types = judged(service, kinds, lambda kind: offline.payloads(data, store, kind))
    stuck = [
        *underway.stuck(service, lambda id: offline.progresses(data, store, id)),
        *underway.unreadable_windows(service, lambda table: offline.rows(data, store, table)),
    ]
    left = list(leftovers(service, offline.subscribers(data, store)))
    return Stored("PostgreSQL" if store else str(data), types, waiting, stuck, left, useless)


def show_types(found: Stored) -> None:
    """Show a line for each stored type and version."""
    columns = ["source", "type", "version", "from", "count", "readable"]
    show([_row(reading) for reading in found.types], columns, "table", empty="Nothing yet.")


def judged(
    service: ServiceDefinition, kinds: list[StoredType], payloads: Payloads
) -> list[Reading]:
    """Try the samples of every stored type, and all of its entries if one cannot be read."""
    return [_judge(service, kind, payloads) for kind in kinds]


def leftovers(service: ServiceDefinition, subscribers: list[Subscriber]) -> Iterator[str]:
    """Name what consumers and views have left that are not part of the service any more.

    Offsets and letters of built-in and pushed subscriptions, and of replays, go when these end.
    """
    consumers = {consumer.subscription for consumer in service.consumers.values()}
    consumers |= service.actions.keys()
    consumers |= service.transforms.keys()
    for one in subscribers:
        view, _, version = one.name.partition("@")
        if one.name in consumers or one.name.startswith(("$", "push@", "replay@")):
            continue
        if version and view in service.views:
            continue
        what = f"view {view!r} (version {version})" if version else f"consumer {one.name!r}"
        text = f"{what} is not part of the service; its offset, position {one.position}, stays"
        if one.letters:
            text += (
                f", and {counted(one.letters, 'letter')}: "
                f"eventmill dead-letters discard {one.name} --all"
            )
        yield text


def _judge(service: ServiceDefinition, kind: StoredType, payloads: Payloads) -> Reading:
    reading = Reading(kind.source, kind.type, kind.version, kind.is_outside, kind.count)
    assert kind.source != COMMANDS
    if kind.source.startswith(CALLS):
        return reading  # calls of the past; those to come are commands that wait
    if kind.source not in service.entities and kind.source not in service.topics:
        reading.is_orphan = True
        if kind.of_entity:
            reading.unreadable = kind.count
            reading.problem = (
                f"no component {kind.source!r} is part of the service: nobody can read them any "
                "more; if it was renamed, give it back its id"
            )
        return reading
    if kind.type == DELETED:
        return reading
    decode = decoder(service, kind)
    if isinstance(decode, str):
        reading.unreadable, reading.problem = kind.count, decode
    elif any(failure(decode, payload) for _, payload in kind.samples):
        reading.unreadable, reading.problem = _failures(decode, payloads(kind))
    return reading


def _failures(decode: Decode, payloads: Iterable[tuple[int, bytes]]) -> tuple[int, str]:
    """Return how many cannot be read, and why the first of them cannot."""
    number, first = 0, ""
    for position, payload in payloads:
        if reason := failure(decode, payload):
            number += 1
            first = first or f"position {position}: {reason}"
    return number, first


def _row(reading: Reading) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(reading)
    origin = "outside" if reading.is_outside else "handlers"
    return {**plain, "from": origin, "readable": _readable(reading)}


def _readable(reading: Reading) -> str:
    if reading.is_orphan:
        return "not part of the service"
    if not reading.unreadable:
        return "yes"
    return "no" if reading.unreadable == reading.count else f"all but {reading.unreadable:,}"
