"""Unit kit of a consumer: give it an event, look at the effects it returns. No store, no node.

    effects = await ConsumerKit(place_order).run(CheckedOut(items={"x": 1}), subject="c1")
    assert effects.published == [(orders, OrderPlaced(order_id="c1", items={"x": 1}))]

Events go through the consumer's own dispatch: encoded, decoded, routed by type, guards on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from eventmill.adapters.memory.store import Store
from eventmill.engine.outgoing import Expansion
from eventmill.errors import Rejected
from eventmill.model import codec
from eventmill.model.commit import Commit
from eventmill.model.definition import ConsumerDefinition
from eventmill.model.effect import Effect, Outgoing
from eventmill.model.entry import Entry
from eventmill.model.handler import Handler
from eventmill.model.topic import Topic
from eventmill.runtime.dispatch.consumer import ConsumerReaction
from eventmill.runtime.room import Room
from eventmill.sdk.consumer import Consumer
from eventmill.sdk.context import Request
from eventmill.testing.clock import VirtualClock
from eventmill.testing.incoming import entry_of
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
    """A call that the consumer made through its context."""

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


class ConsumerKit:
    """Runs one consumer on events.

    Raises `ConfigurationError` for a consumer that no service would take.
    """

    def __init__(self, consumer: Consumer) -> None:
        self.definition: ConsumerDefinition = consumer.define()
        self.clock = VirtualClock()
        self._source = consumer.options["source"]
        self._answers: dict[str, Callable[..., Any]] = {}
        self._position = 0

    def __repr__(self) -> str:
        return f"<ConsumerKit {self.definition.id}>"

    def answer(self, handler: Handler[Any, Any] | str, reply: Any) -> ConsumerKit:
        """Say what `ctx.call` or `ctx.query` of a handler answers, also of another service's.

        Parameters: `handler` may be the name that is called, as `stock.reserve`; `reply` is the value, an exception to raise, or a function that gets the id
        (of an entity) and the arguments by name.
        """
        if isinstance(handler, Handler):
            handler.resolve()
        self._answers[_name_of(handler)] = reply if callable(reply) else lambda *_, **__: reply
        return self

    async def run(
        self,
        *events: Any,
        subject: str = "test",
        metadata: dict[str, Any] | None = None,
        attempt: int = 1,
    ) -> Effects:
        """Deliver events of one subject; return the effects of all.

        An event that the consumer does not take has none. Raises what the consumer raises, and
        `HandlerFailed` for what a guard finds.
        """
        entries = []
        for event in events:
            self._position += 1
            now = self.clock.now()
            entries.append(
                entry_of(self._source, event, subject, self._position, now=now, metadata=metadata)
            )
        calls = _Calls(self._answers)
        reaction = _Recording(self.definition, calls, Store(), self.clock, Room(), guarded=True)
        while entries:
            reacted = await reaction.react(entries, attempt)
            for _, error in reacted.failed:
                raise error
            for fill in reacted.fills:
                fill(Commit())
            entries = reacted.left
        wanted = reaction.outgoing
        return Effects(
            published(wanted), sent(wanted), scheduled(wanted), cancelled(wanted), calls.made
        )


class _Recording(ConsumerReaction):
    """Keeps the effects before they are expanded."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.outgoing: list[Outgoing] = []

    def _expanded(self, effect: Effect[Any], cause: Entry) -> Expansion:
        expansion = super()._expanded(effect, cause)
        self.outgoing += effect.outgoing
        return expansion


class _Calls:
    """The rest of the node, as far as the test described it."""

    def __init__(self, answers: dict[str, Callable[..., Any]]) -> None:
        self._answers = answers
        self.made: list[Called] = []

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

    def _answered(self, handler: Handler[Any, Any] | str, *args: Any, **named: Any) -> Any:
        answer = self._answers.get(_name_of(handler))
        if answer is None:
            said = repr(handler) if isinstance(handler, str) else handler.function.__qualname__
            raise AssertionError(
                f"the consumer called {said}; say what it answers: kit.answer({said}, …)"
            )
        reply = answer(*args, **named)
        if isinstance(reply, Exception):
            raise reply
        return reply


def _name_of(handler: Handler[Any, Any] | str) -> str:
    return handler if isinstance(handler, str) else f"{handler.component}.{handler.name}"
