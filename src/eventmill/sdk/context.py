"""The context: what a reaction is told about its event, and how it calls others, typed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ParamSpec, Protocol, TypeVar

from eventmill.errors import ConfigurationError
from eventmill.model.entry import Entry, metadata_of
from eventmill.model.handler import Handler
from eventmill.model.topic import Topic

E = TypeVar("E")
P = ParamSpec("P")
R = TypeVar("R")


class Calls(Protocol):
    """How a context reaches the rest of the node."""

    async def call(
        self,
        handler: Handler[Any, Any],
        id: str,
        arguments: tuple[Any, ...],
        idempotency_key: str | None,
        cause: Entry | None,
    ) -> Any: ...

    async def query(self, handler: Handler[Any, Any], arguments: tuple[Any, ...]) -> Any: ...

    async def publish(
        self, topic: Topic[Any], events: tuple[Any, ...], key: str | None
    ) -> None: ...


class Context:
    """Handed to consumers and views, one per event.

    `call` from a consumer carries an idempotency key made of the subscription, the event and the
    call's number, so a redelivered event has no second effect on the entities it calls.
    """

    __slots__ = ("_calls", "_count", "_entry", "attempt", "subscription")

    def __init__(
        self, entry: Entry, subscription: str = "", calls: Calls | None = None, attempt: int = 1
    ) -> None:
        self._entry = entry
        self._calls = calls
        self._count = 0
        self.subscription = subscription
        self.attempt = attempt
        """1 for the first delivery."""

    @property
    def subject(self) -> str:
        """Entity id or message key."""
        return self._entry.subject

    @property
    def source(self) -> str:
        """Component or topic id that the event came from."""
        return self._entry.source

    @property
    def sequence(self) -> int:
        """Number of the event within its entity; 0 for a topic's message."""
        return self._entry.sequence

    @property
    def position(self) -> int:
        """Position in the journal's shard."""
        return self._entry.position

    @property
    def event_id(self) -> str:
        """Id of the event: the same at every delivery."""
        return self._entry.id

    @property
    def time(self) -> datetime:
        """When the event was decided."""
        return datetime.fromtimestamp(self._entry.time / 1e6, UTC)

    @property
    def metadata(self) -> dict[str, Any]:
        """The event's metadata."""
        return metadata_of(self._entry)

    @property
    def idempotency_key(self) -> str:
        """Stable key for calls to the outside world: the same at every delivery of this event."""
        return f"{self.subscription}:{self._entry.id}"

    async def call(
        self, handler: Handler[P, R], id: str, /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run a command or query of an entity and return its reply.

        Raises `Rejected` if the entity refuses, `Unavailable` if it cannot answer now.
        """
        calls, key = self._reach()
        arguments = handler.arguments(args, kwargs)
        reply: R = await calls.call(
            handler, id, arguments, key if handler.writes else None, self._entry
        )
        return reply

    async def query(self, handler: Handler[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a view's query and return its rows."""
        calls, _ = self._reach()
        rows: R = await calls.query(handler, handler.arguments(args, kwargs))
        return rows

    async def publish(self, topic: Topic[E], *events: E) -> None:
        """Append events to a topic now. Prefer the effect, which is atomic with the reaction."""
        calls, key = self._reach()
        await calls.publish(topic, events, key)

    def _reach(self) -> tuple[Calls, str]:
        if self._calls is None:
            raise ConfigurationError("this context cannot call: views only fold events into rows")
        self._count += 1
        return self._calls, f"{self.idempotency_key}:{self._count}"
