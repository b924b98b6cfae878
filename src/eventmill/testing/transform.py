"""Unit kit of a transform: feed it events, look at what it publishes. No store, no loop.

    kit = TransformKit(daily)
    kit.feed(Reading(station="JFK", at=noon, temperature=20.5))
    kit.advance(timedelta(days=2))
    assert kit.published == [Day(station="JFK", day=midnight, warmest=20.5)]

Events and states go through the transform's own dispatch and codec: what cannot be stored fails here.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

import msgspec

from eventmill.errors import ConfigurationError
from eventmill.model.commit import Commit, Timer
from eventmill.model.entry import Entry
from eventmill.model.placement import EMBEDDED
from eventmill.model.topic import Topic
from eventmill.runtime.room import Room
from eventmill.runtime.transforms.transformer import Transformer
from eventmill.sdk.transform import Transform
from eventmill.testing.clock import VirtualClock
from eventmill.testing.fitting import check_fit
from eventmill.testing.incoming import entry_of
from eventmill.testing.view import StoredRows, finished


class TransformKit:
    """One transform with its state in memory.

    Raises `ConfigurationError` for a transform that no service would take.
    """

    def __init__(self, transform: Transform) -> None:
        check_fit("TransformKit", transform)
        self.definition = transform.define()
        self.clock = VirtualClock()
        self.late: list[Any] = []
        """Events that came too late, in order."""
        self.published: list[Any] = []
        """What it published to its topic, in order."""
        self._sources = transform.sources
        self._rows = StoredRows()
        self._position = 0
        self._timers: dict[str, Timer] = {}
        self.restart()

    def __repr__(self) -> str:
        return f"<TransformKit {self.definition.id}>"

    def restart(self) -> None:
        """Go on from what is stored, as after a crash."""
        store = _Store(self._rows)
        self._reaction = Transformer(
            self.definition, cast(Any, store), self.clock, Room(), is_new=False
        )
        self._reaction.is_read = lambda shard: True

    def feed(self, *events: Any, subject: str = "test", source: Any = None) -> TransformKit:
        """Let the transform handle events in one batch.

        Parameters: `subject` is the entity's id, if the source is no topic; `source` is needed if
        there are two. Raises what the transform's functions raise.
        """
        origin = self._source(source)
        entries = []
        for event in events:
            self._position += 1
            entries.append(entry_of(origin, event, subject, self._position, now=self.clock.now()))
        self._handle(entries)
        return self

    def advance(self, by: timedelta) -> TransformKit:
        """Move the clock on; silent keys are closed at their own times."""
        target = self.clock.now() + round(by.total_seconds() * 1e6)
        while due := [timer for timer in self._timers.values() if timer.due <= target]:
            timer = min(due, key=lambda timer: timer.due)
            del self._timers[timer.name]
            self.clock.move_to(max(timer.due, self.clock.now()))
            self._position += 1
            now = self.clock.now()
            self._handle(
                [msgspec.structs.replace(timer.command, time=now, position=self._position)]
            )
        self.clock.move_to(target)
        return self

    def _handle(self, entries: list[Entry]) -> None:
        while entries:
            reacted = finished(self._reaction.react(entries, 1))
            for _, error in reacted.failed:
                raise error
            commit = Commit()
            for fill in reacted.fills:
                fill(commit)
            self._rows.write(commit)
            self._timers.update({name: one for name, one in commit.timers.items() if one})
            for entry in commit.entries:
                self._note(entry)
            late = {id(entry) for entry, _ in reacted.refused}
            self.late += [self._read(entry) for entry in entries if id(entry) in late]
            self._reaction.committed()
            entries = reacted.left

    def _note(self, entry: Entry) -> None:
        definition = self.definition
        if definition.late is not None and entry.source == definition.late.id:
            self.late.append(_decoded(definition.late, entry))
        else:
            self.published.append(_decoded(definition.target, entry))

    def _read(self, entry: Entry) -> Any:
        (source,) = (one.source for one in self.definition.inputs if one.source.id == entry.source)
        return source.event_types[entry.type].decode(entry.payload, entry.version)

    def _source(self, source: Any) -> Any:
        if source is None and len(self._sources) == 1:
            return self._sources[0]
        if source not in self._sources:
            raise ConfigurationError(f"name one of the sources: {self._sources}")
        return source


class _Store:
    """As much of a store as a transformer uses."""

    def __init__(self, rows: StoredRows) -> None:
        self.views = rows
        self.placement = EMBEDDED


def _decoded(topic: Topic[Any], entry: Entry) -> Any:
    types = {name: kind for kind in topic.event_types() for name in (kind.name, *kind.aliases)}
    return types[entry.type].decode(entry.payload, entry.version)
