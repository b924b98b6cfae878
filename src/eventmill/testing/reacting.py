"""What the unit kits of consumers and actions share: recorded effects, and calls answered by the test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Self

from eventmill.engine.outgoing import Expansion
from eventmill.model.commit import Commit
from eventmill.model.effect import Effect, Outgoing
from eventmill.model.entry import Entry
from eventmill.model.handler import Handler
from eventmill.runtime.dispatch.consumer import ConsumerReaction
from eventmill.testing.calls import Called, Calls
from eventmill.testing.clock import VirtualClock
from eventmill.testing.outgoing import (
    Published,
    Scheduled,
    Sent,
    cancelled,
    published,
    scheduled,
    sent,
)


class Effects(NamedTuple):
    """What a reaction wants to happen."""

    published: list[Published]
    sent: list[Sent]
    scheduled: list[Scheduled]
    cancelled: list[str]
    calls: list[Called]
    """What it called while it ran: these happened at once."""


class ReactionKit:
    """A reaction alone, and the rest of the node as far as the test describes it."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self._calls = Calls()

    def answer(self, handler: Handler[Any, Any] | str, reply: Any) -> Self:
        """Say what `ctx.call` or `ctx.query` of a handler answers, also of another service's.

        Parameters: `handler` may be the name that is called, as `stock.reserve`; `reply` is the value, an exception to raise, or a function that gets the id
        (of an entity) and the arguments by name.
        """
        self._calls.answer(handler, reply)
        return self

    async def _effects(
        self, make: Callable[[Calls], Recording], entries: list[Entry], attempt: int
    ) -> Effects:
        """Give entries to the reaction; raises what it raises."""
        calls = self._calls
        calls.forget()
        reaction = make(calls)
        while entries:
            reacted = await reaction.react(entries, attempt)
            for _, error in reacted.failed:
                raise error
            for fill in reacted.fills:
                fill(Commit())
            entries = reacted.left
        wanted = [*calls.timers, *reaction.outgoing]
        return Effects(
            published(wanted), sent(wanted), scheduled(wanted), cancelled(wanted), calls.made
        )


class Recording(ConsumerReaction):
    """Keeps the effects before they are expanded."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.outgoing: list[Outgoing] = []

    def _expanded(self, effect: Effect[Any], cause: Entry) -> Expansion:
        expansion = super()._expanded(effect, cause)
        self.outgoing += effect.outgoing
        return expansion
