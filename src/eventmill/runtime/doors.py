"""The doors: what HTTP, admin, the test kit and handlers ask of a node.

Place on the road: routing. Each leads to whoever does it, wherever that is; nothing happens here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, ParamSpec, TypeVar

from eventmill.engine import outgoing
from eventmill.engine.causation import caused_by
from eventmill.errors import NotFound, NotOwner, UnknownHandler, Unreachable
from eventmill.model.definition import ServiceDefinition
from eventmill.model.effect import Outgoing
from eventmill.model.entry import Entry
from eventmill.model.envelope import Envelope
from eventmill.model.handler import Handler, Texts
from eventmill.model.page import is_page
from eventmill.model.topic import Topic
from eventmill.ports.clock import Clock
from eventmill.ports.store import Store
from eventmill.runtime.cluster.services import Services
from eventmill.runtime.committer import Committer
from eventmill.runtime.topics.publisher import Publisher
from eventmill.runtime.turns import past
from eventmill.runtime.turns.turn import Entities
from eventmill.runtime.views.views import Answer, Views
from eventmill.sdk.context import Request

P = ParamSpec("P")
R = TypeVar("R")


class Doors(ABC):
    """A node, as those see it who want something of it."""

    service: ServiceDefinition
    store: Store
    clock: Clock
    committer: Committer
    entities: Entities
    held: set[int]
    publisher: Publisher
    views: Views
    execute: Callable[[Envelope], Awaitable[bytes]]
    """Runs a command or query of an entity, wherever it lives."""

    @property
    @abstractmethod
    def services(self) -> Services | None:
        """The door to other services, if any can be met."""

    async def call(
        self,
        handler: Handler[P, R],
        id: str,
        arguments: tuple[Any, ...],
        idempotency_key: str | None = None,
        cause: Entry | None = None,
    ) -> R:
        """Run a command or query of an entity; return its decoded reply."""
        metadata = caused_by(cause) if cause is not None else None
        envelope = Envelope(
            handler.component,
            id,
            handler.name,
            arguments,
            idempotency_key,
            metadata=metadata,
            keeps_rejection=cause is None,
        )
        reply: R = handler.decode_reply(await self.execute(envelope))
        return reply

    async def ask_past(
        self,
        handler: Handler[Any, Any],
        id: str,
        arguments: tuple[Any, ...],
        *,
        sequence: int | None,
        time: int | None,
    ) -> bytes:
        """Run a query on an entity as it was; return its encoded answer. See `turns.past`."""
        definition = self.entities.definition(handler.component)
        return await past.query(
            self.store.journal, definition, handler, id, arguments, sequence=sequence, time=time
        )

    async def ask(self, request: Request) -> bytes:
        """Let another service run a command or query; return its encoded reply.

        Raises `Unreachable` with the code `unavailable.service` if there is none of that name.
        """
        if self.services is None:
            raise Unreachable(
                f"service {request.service!r} cannot be called: this node meets no others",
                code="unavailable.service",
            )
        return await self.services.ask(request)

    async def publish(
        self, topic: Topic[Any], events: tuple[Any, ...], key: str | None = None
    ) -> None:
        """Append events to a topic.

        Raises `HandlerFailed` for a topic that is not the service's.
        """
        outgoing.check_topic(topic, self.service.topics)
        await self.publisher.events(topic, events, dedupe=key)

    async def set_timer(self, change: Outgoing, cause: Entry | None) -> None:
        """Set or remove a timer. Without a cause it belongs to any shard of this node.

        Raises `NotOwner` if this node has none.
        """
        placement = self.store.placement
        home = next(iter(self.held), None) if cause is None else placement.home(cause.shard)
        if home is None:
            raise NotOwner("this node holds no shards now, so it can set no timer")
        metadata = caused_by(cause) if cause is not None else None
        author = outgoing.Author("ctx.schedule", self.service.topics, placement, home)
        changed = outgoing.expand((change,), self.clock.now(), metadata, author)
        await self.committer.write(changed.add_to)

    async def query(self, handler: Handler[P, R], arguments: tuple[Any, ...]) -> R:
        """Run a view's query; return its typed result."""
        result: R = await self.views.query(handler.component, handler.name, arguments)
        return result

    async def query_view(self, view: str, query: str, texts: Texts) -> Answer[bytes]:
        """Run a view's query with arguments given as texts; return JSON."""
        arguments = self._view_query(view, query).parse_arguments(texts)
        return await self.views.reply(view, query, arguments)

    async def stream_view(self, view: str, query: str, texts: Texts) -> Answer[list[bytes]]:
        """The same, JSON by row."""
        arguments = self._view_query(view, query).parse_arguments(texts)
        return await self.views.items(view, query, arguments)

    def watch_view(self, view: str, query: str, texts: Texts) -> AsyncIterator[list[bytes]]:
        """Follow a view's query; yields lists of rows as JSON."""
        arguments = self._view_query(view, query).parse_arguments(texts)
        return self.views.watch(view, query, arguments)

    def is_paged(self, view: str, query: str) -> bool:
        """Tell whether a view's query answers page by page."""
        return is_page(self._view_query(view, query).result_type)

    def _view_query(self, view: str, query: str) -> Handler[Any, Any]:
        definition = self.service.views.get(view)
        if definition is None:
            known = ", ".join(self.service.views) or "none"
            raise NotFound(f"no view {view!r}; there is {known}")
        found = definition.queries.get(query)
        if found is None:
            known = ", ".join(definition.queries) or "none"
            raise UnknownHandler(f"view {view!r} has no query {query!r}; there is {known}")
        return found.handler

    def topic(self, id: str) -> Topic[Any]:
        """Return a topic of the service.

        Raises `NotFound`.
        """
        topic = self.service.topics.get(id)
        if topic is None:
            known = ", ".join(self.service.topics) or "none"
            raise NotFound(f"no topic {id!r}; there is {known}")
        return topic
