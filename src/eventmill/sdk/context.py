"""The context: what a reaction is told about its event, and how it calls others, typed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple, ParamSpec, Protocol, TypeVar, overload

import msgspec

from eventmill.errors import ConfigurationError, InvalidPayload
from eventmill.model import codec
from eventmill.model.action import Action
from eventmill.model.effect import Cancelling, Outgoing, When, scheduling_of
from eventmill.model.entry import Entry, metadata_of
from eventmill.model.handler import Handler
from eventmill.model.topic import Topic

E = TypeVar("E")
P = ParamSpec("P")
R = TypeVar("R")


class Request(NamedTuple):
    """A command or query for another service."""

    service: str
    component: str
    id: str
    """Of the entity; empty for a view's query."""
    name: str
    arguments: bytes
    """A JSON object."""
    idempotency_key: str | None
    deadline: float | None
    """Monotonic clock, seconds: after it nobody waits for the answer."""
    cause: Entry | None
    metadata: dict[str, Any] | None = None
    """Of what it causes, where no event is its cause."""


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

    async def ask(self, request: Request) -> bytes: ...

    async def publish(
        self, topic: Topic[Any], events: tuple[Any, ...], key: str | None
    ) -> None: ...

    async def set_timer(self, change: Outgoing, cause: Entry | None) -> None: ...


class Context:
    """Handed to consumers, views and actions, one per event or call.

    `call` from a consumer carries an idempotency key made of the subscription, the event and the
    call's number, so a redelivered event has no second effect on the entities it calls.
    """

    __slots__ = ("_calls", "_count", "_deadline", "_entry", "attempt", "replay", "subscription")

    def __init__(
        self,
        entry: Entry,
        subscription: str = "",
        calls: Calls | None = None,
        attempt: int = 1,
        deadline: float | None = None,
    ) -> None:
        self._entry = entry
        self._calls = calls
        self._deadline = deadline
        self._count = 0
        self.subscription = subscription
        self.attempt = attempt
        """1 for the first delivery."""
        self.replay = False
        """Whether the event is replayed beside the consumer, which has handled it at its time."""

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

    def service(self, name: str) -> OtherService:
        """Return another service, found by its name wherever its nodes are."""
        return OtherService(self, name)

    async def publish(self, topic: Topic[E], *events: E) -> None:
        """Append events to a topic now. Prefer the effect, which is atomic with the reaction."""
        calls, key = self._reach()
        await calls.publish(topic, events, key)

    @overload
    async def schedule(
        self, name: str, when: When, action: Action[P], /, *args: P.args, **kwargs: P.kwargs
    ) -> None: ...

    @overload
    async def schedule(
        self,
        name: str,
        when: When,
        handler: Handler[P, Any],
        id: str,
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None: ...

    async def schedule(
        self, name: str, when: When, what: Any, /, *args: Any, **kwargs: Any
    ) -> None:
        """Set a timer now. Prefer the effect, which is atomic with the reaction."""
        calls, _ = self._reach()
        await calls.set_timer(scheduling_of(name, when, what, args, kwargs), self._entry)

    async def cancel(self, name: str) -> None:
        """Remove a timer now; an unknown name is fine. Prefer the effect."""
        calls, _ = self._reach()
        await calls.set_timer(Cancelling(name), self._entry)

    def _reach(self) -> tuple[Calls, str]:
        if self._calls is None:
            raise ConfigurationError("this context cannot call: views only fold events into rows")
        self._count += 1
        return self._calls, f"{self.idempotency_key}:{self._count}"

    async def _ask(
        self, service: str, component: str, id: str, name: str, arguments: bytes
    ) -> bytes:
        calls, key = self._reach()
        return await calls.ask(
            Request(service, component, id, name, arguments, key, self._deadline, self._entry)
        )


class OtherService:
    """A service that runs elsewhere, as a consumer calls it.

    A handler is given as the method itself where its class can be imported, which types the call,
    or else by its name, as `"stock.reserve"`, with arguments by name. Every call carries an
    idempotency key, as those of `Context.call` do, and the handler's time limit as its deadline.
    """

    __slots__ = ("_context", "name")

    def __init__(self, context: Context, name: str) -> None:
        self._context = context
        self.name = name

    def __repr__(self) -> str:
        return f"<OtherService {self.name}>"

    @overload
    async def call(
        self, handler: Handler[P, R], id: str, /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...

    @overload
    async def call(self, handler: str, id: str, /, **arguments: Any) -> Any: ...

    async def call(self, handler: Any, id: str, /, *args: Any, **kwargs: Any) -> Any:
        """Run a command or query of one of its entities and return its reply.

        Raises `Rejected` if the entity refuses, `Unavailable` with the code `unavailable.service`
        if no such service runs now, `Unavailable` if it cannot answer.
        """
        return await self._asked(handler, id, args, kwargs)

    @overload
    async def query(self, handler: Handler[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...

    @overload
    async def query(self, handler: str, /, **arguments: Any) -> Any: ...

    async def query(self, handler: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run a query of one of its views and return its rows. Raises as `call`."""
        return await self._asked(handler, "", args, kwargs)

    async def _asked(self, handler: Any, id: str, args: Any, kwargs: Any) -> Any:
        if isinstance(handler, str):
            component, _, name = handler.rpartition(".")
            if not component or args:
                raise InvalidPayload(
                    f"service({self.name!r}): a handler's name is 'component.handler', as "
                    f"'stock.reserve', not {handler!r}; its arguments are given by name"
                )
            body = codec.encode(kwargs)
            return msgspec.json.decode(
                await self._context._ask(self.name, component, id, name, body)
            )
        handler.resolve()
        body = handler.encode_arguments(handler.arguments(args, kwargs))
        return handler.decode_reply(
            await self._context._ask(self.name, handler.component, id, handler.name, body)
        )
