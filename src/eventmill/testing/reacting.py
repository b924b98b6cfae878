"""What the unit kits of consumers and actions share: recorded effects, and calls answered by the test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Self

import msgspec

from eventmill.engine.outgoing import Expansion
from eventmill.errors import Rejected
from eventmill.model import codec
from eventmill.model.commit import Commit
from eventmill.model.effect import Effect, Outgoing
from eventmill.model.entry import Entry
from eventmill.model.handler import Handler
from eventmill.model.topic import Topic
from eventmill.runtime.dispatch.consumer import ConsumerReaction
from eventmill.sdk.context import Request
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


class Called(NamedTuple):
    """A call that was made through the context."""

    handler: Handler[Any, Any] | str
    """In a call of another service its name, as `inventory/stock.reserve`."""
    id: str
    """Entity id; empty for a view's query."""
    arguments: dict[str, Any]
    idempotency_key: str | None


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
        self._answers: dict[str, Callable[..., Any]] = {}

    def answer(self, handler: Handler[Any, Any] | str, reply: Any) -> Self:
        """Say what `ctx.call` or `ctx.query` of a handler answers, also of another service's.

        Parameters: `handler` may be the name that is called, as `stock.reserve`; `reply` is the value, an exception to raise, or a function that gets the id
        (of an entity) and the arguments by name.
        """
        if isinstance(handler, Handler):
            handler.resolve()
        self._answers[_name_of(handler)] = reply if callable(reply) else lambda *_, **__: reply
        return self

    async def _effects(
        self, make: Callable[[Calls], Recording], entries: list[Entry], attempt: int
    ) -> Effects:
        """Give entries to the reaction; raises what it raises."""
        calls = Calls(self._answers)
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


class Calls:
    """The rest of the node, as far as the test described it."""

    def __init__(self, answers: dict[str, Callable[..., Any]]) -> None:
        self._answers = answers
        self.made: list[Called] = []
        self.timers: list[Outgoing] = []

    async def call(
        self,
        handler: Handler[Any, Any],
        id: str,
        arguments: tuple[Any, ...],
        idempotency_key: str | None,
        cause: Entry | None,
    ) -> Any:
        named = dict(zip(handler.parameters, arguments, strict=True))
        self.made.append(Called(handler, id, named, idempotency_key))
        return self._answered(handler, id, **named)

    async def query(self, handler: Handler[Any, Any], arguments: tuple[Any, ...]) -> Any:
        named = dict(zip(handler.parameters, arguments, strict=True))
        self.made.append(Called(handler, "", named, None))
        return self._answered(handler, **named)

    async def ask(self, request: Request) -> bytes:
        name = f"{request.component}.{request.name}"
        named = msgspec.json.decode(request.arguments)
        key = request.idempotency_key
        self.made.append(Called(f"{request.service}/{name}", request.id, named, key))
        given = (request.id,) if request.id else ()
        return codec.encode(self._answered(name, *given, **named))

    async def publish(self, topic: Topic[Any], events: tuple[Any, ...], key: str | None) -> None:
        raise Rejected("ctx.publish happens at once: test it with a Host, or return publish(…)")

    async def set_timer(self, change: Outgoing, cause: Entry | None) -> None:
        self.timers.append(change)

    def _answered(self, handler: Handler[Any, Any] | str, *args: Any, **named: Any) -> Any:
        answer = self._answers.get(_name_of(handler))
        if answer is None:
            said = repr(handler) if isinstance(handler, str) else handler.function.__qualname__
            raise AssertionError(
                f"the handler called {said}; say what it answers: kit.answer({said}, …)"
            )
        reply = answer(*args, **named)
        if isinstance(reply, Exception):
            raise reply
        return reply


def _name_of(handler: Handler[Any, Any] | str) -> str:
    return handler if isinstance(handler, str) else f"{handler.component}.{handler.name}"
