"""Calls that an endpoint makes through its context: the request is their cause.

What a request brought as metadata (trace context, correlation, its id) ends up in the events;
there is no event that caused them, so no causation is named.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from eventmill.engine import outgoing
from eventmill.model.effect import Outgoing
from eventmill.model.entry import Entry, read_metadata
from eventmill.model.envelope import Envelope
from eventmill.model.handler import Handler
from eventmill.model.topic import Topic
from eventmill.runtime.runtime import Runtime
from eventmill.sdk.context import Request


class RequestCalls:
    """The rest of the node as one request reaches it.

    Parameter: `asked` has what the request's headers say.
    """

    def __init__(self, runtime: Runtime, asked: Envelope) -> None:
        self._runtime = runtime
        self._metadata = asked.metadata
        self._has_key = asked.idempotency_key is not None
        self._deadline = asked.deadline

    @classmethod
    def over(cls, runtime: Runtime) -> Callable[[Envelope], RequestCalls]:
        """Return what makes them for each request."""
        return lambda asked: cls(runtime, asked)

    async def call(
        self,
        handler: Handler[Any, Any],
        id: str,
        arguments: tuple[Any, ...],
        idempotency_key: str | None,
        cause: Entry | None,
    ) -> Any:
        """Run a command or query of an entity; return its decoded reply."""
        envelope = Envelope(
            handler.component,
            id,
            handler.name,
            arguments,
            idempotency_key if self._has_key else None,
            self._deadline,
            self._metadata,
        )
        return handler.decode_reply(await self._runtime.execute(envelope))

    async def query(self, handler: Handler[Any, Any], arguments: tuple[Any, ...]) -> Any:
        """Run a view's query; return its typed result."""
        return await self._runtime.query(handler, arguments)

    async def ask(self, request: Request) -> bytes:
        """Let another service run a command or query; return its encoded reply."""
        key = request.idempotency_key if self._has_key else None
        metadata = read_metadata(self._metadata)
        asked = request._replace(idempotency_key=key, cause=None, metadata=metadata)
        return await self._runtime.ask(asked)

    async def publish(self, topic: Topic[Any], events: tuple[Any, ...], key: str | None) -> None:
        """Append events to a topic."""
        outgoing.check_topic(topic, self._runtime.service.topics)
        dedupe = key if self._has_key else None
        await self._runtime.publisher.events(topic, events, metadata=self._metadata, dedupe=dedupe)

    async def set_timer(self, change: Outgoing, cause: Entry | None) -> None:
        """Set or remove a timer. It belongs to this node: no event caused it."""
        await self._runtime.set_timer(change, None)
