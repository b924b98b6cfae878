"""Topic probes: what came out on a topic since the last look, with failures that explain."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from eventmill.model.commit import LetterStatus
from eventmill.model.entry import Entry
from eventmill.model.topic import Topic
from eventmill.runtime.dispatch.taking import event_of
from eventmill.runtime.runtime import Runtime
from eventmill.sdk.reaction import source_of

E = TypeVar("E")

LETTERS_SHOWN = 5


class TopicProbe:
    """Watches one topic from the moment it is made. Made by `Host.probe`.

    Each `expect_…` first lets the host settle, then judges all messages since the expectation
    before it, and uses them up.
    """

    def __init__(
        self,
        topic: Topic[Any],
        runtime: Callable[[], Runtime],
        settle: Callable[[], Awaitable[None]],
    ) -> None:
        self.topic = topic
        self._runtime = runtime
        self._settle = settle
        self._source = source_of(topic, f"probe of {topic!r}")
        self._positions = self._ends()
        self.entries: list[Entry] = []
        """Those that the last expectation judged: subjects, metadata, positions."""

    async def expect_one(self, kind: type[E]) -> E:
        """Return the only new event, which must be of that type."""
        found = await self.expect_n(1, kind)
        return found[0]

    async def expect_n(self, count: int, kind: type[E] = object) -> list[E]:  # type: ignore[assignment]
        """Return the new events; there must be exactly that many, all of that type."""
        events = await self._new()
        if len(events) != count or not all(isinstance(event, kind) for event in events):
            wanted = "event" if kind is object else kind.__name__
            raise AssertionError(await self._explained(f"{count} {wanted}", events))
        return events

    async def expect_none(self) -> None:
        """Check that nothing new was published."""
        events = await self._new()
        if events:
            raise AssertionError(await self._explained("nothing", events))

    async def _new(self) -> list[Any]:
        await self._settle()
        self.entries = []
        tails, sources = self._runtime().tails, frozenset({self.topic.id})
        while tails.lag(self._positions):
            stretch = await tails.read(self._positions, limit=1_000, sources=sources)
            self.entries += stretch.entries
            self._positions.update(stretch.positions)
        return [event_of(self._source, entry, (), False) for entry in self.entries]

    def _ends(self) -> dict[int, int]:
        runtime = self._runtime()
        return runtime.tails.ends(runtime.store.placement.of_topic(self.topic.id))

    async def _explained(self, wanted: str, events: list[Any]) -> str:
        got = f"{len(events)}:" if events else "nothing"
        lines = [f"expected {wanted} on topic {self.topic.id!r}, got {got}"]
        for entry, event in zip(self.entries, events, strict=True):
            lines.append(f"  {entry.subject or '(no key)'}: {event!r}")
        parked = await self._runtime().store.parking.letters(
            statuses=(LetterStatus.RETRYING, LetterStatus.DEAD), limit=LETTERS_SHOWN
        )
        if parked:
            lines.append("letters are parked, which may be why:")
        lines += [
            f"  {x.subscription} at {x.key}, {x.status}, attempt {x.attempts}: {x.error}"
            for x in parked
        ]
        return "\n".join(lines)
