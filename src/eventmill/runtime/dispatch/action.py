"""The reaction of an action: each call is an entry of a source of its own, handled as a consumer's.

What timers call comes through the courier (`engine.outgoing.call_of`), the runs of a schedule from the
scheduler (`engine.ticks`). Those of a schedule never overlap: one after the other, retries too.
"""

from __future__ import annotations

from typing import Any

from eventmill.model.definition import ActionDefinition
from eventmill.model.entry import Entry
from eventmill.ports.clock import Clock
from eventmill.ports.store import Store
from eventmill.runtime.dispatch.consumer import ConsumerReaction
from eventmill.runtime.room import Room
from eventmill.sdk.context import Calls


class ActionReaction(ConsumerReaction):
    """Runs one action."""

    def __init__(
        self,
        definition: ActionDefinition,
        calls: Calls,
        store: Store,
        clock: Clock,
        room: Room,
        *,
        guarded: bool,
    ) -> None:
        super().__init__(definition.reaction, calls, store, clock, room, guarded=guarded)
        self._handler = definition.handler
        self.exclusive = definition.schedule is not None

    def _arguments(self, entry: Entry, attempt: int) -> tuple[Any, ...]:
        handler = self._handler
        # The function of a schedule need not take its tick.
        arguments = handler.decode_arguments(entry.payload) if handler.parameters else ()
        return (self._context(entry, attempt), *arguments)
