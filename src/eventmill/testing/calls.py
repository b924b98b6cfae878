"""Calls that a handler makes through its context, answered by the test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from eventmill.errors import Rejected
from eventmill.model import codec
from eventmill.model.effect import Outgoing
from eventmill.model.entry import Entry
from eventmill.model.handler import Handler
from eventmill.model.topic import Topic
from eventmill.sdk.context import Request


class Called(NamedTuple):
    """A call that a handler made through its context."""

    handler: Handler[Any, Any] | str
    """In a call of another service its name, as `inventory/stock.reserve`."""
    id: str
    """Entity id; empty for a view's query."""
    arguments: dict[str, Any]
    idempotency_key: str | None


class Calls:
    """The rest of the node, as far as the test described it."""

    def __init__(self) -> None:
        self._answers: dict[str, Callable[..., Any]] = {}
        self.made: list[Called] = []
        self.timers: list[Outgoing] = []
        """Set and cancelled at once."""

    def forget(self) -> None:
        """Forget what was called."""
        self.made, self.timers = [], []

    def answer(self, handler: Handler[Any, Any] | str, reply: Any) -> None:
        """Say what a call or query of a handler answers: a value, an exception, or a function."""
        if isinstance(handler, Handler):
            handler.resolve()
        self._answers[name_of(handler)] = reply if callable(reply) else lambda *_, **__: reply

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
        answer = self._answers.get(name_of(handler))
        if answer is None:
            said = repr(handler) if isinstance(handler, str) else handler.function.__qualname__
            raise AssertionError(
                f"the handler called {said}; say what it answers: kit.answer({said}, …)"
            )
        reply = answer(*args, **named)
        if isinstance(reply, Exception):
            raise reply
        return reply


def name_of(handler: Handler[Any, Any] | str) -> str:
    """Return the name that answers are found by."""
    return handler if isinstance(handler, str) else f"{handler.component}.{handler.name}"
