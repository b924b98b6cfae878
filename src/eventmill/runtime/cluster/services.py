"""Services: this one for all others, and the others by their names.

Place on the road: routing, across services. Every node of a service takes requests to it and lets
the router bring them to the entity's owner; so whoever asks needs the service's name, nothing else.

Invariants: a store belongs to one service, and a name on one transport to one store, else requests
would be answered from the wrong data; what comes from another service can do what the service's
handlers allow, nothing that nodes ask of each other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final

import msgspec

from eventmill.engine.causation import causation_of
from eventmill.errors import (
    ConfigurationError,
    Conflict,
    NotFound,
    NotOwner,
    Unavailable,
    UnknownHandler,
    Unreachable,
)
from eventmill.model.commit import Commit
from eventmill.model.definition import ServiceDefinition, ViewDefinition
from eventmill.model.entry import Entry
from eventmill.model.envelope import Envelope
from eventmill.ports.clock import Clock
from eventmill.ports.cluster import Claim, Member
from eventmill.ports.directory import Counts, Directory, Instance
from eventmill.ports.store import Store
from eventmill.ports.transport import Transport
from eventmill.runtime import description
from eventmill.runtime.cluster.forwarding import Answer, Forwarder, Lookup, Reception, Request
from eventmill.runtime.committer import Committer
from eventmill.runtime.description import Description
from eventmill.runtime.views.views import Views
from eventmill.sdk.context import Request as Asked

DESCRIBE_SECONDS: Final = 5.0

OWNER: Final = "service"
"""Durable fact: name of the service that the store belongs to."""


class Services:
    """This node's door to other services, and theirs to it.

    Parameters: `shares` tells which nodes it has and what they hold, `topics_in` where its topics
    live, `meets_in`, for people, where services find each other.
    """

    def __init__(
        self,
        service: ServiceDefinition,
        transport: Transport,
        directory: Directory,
        shares: Callable[[], Awaitable[tuple[list[Member], list[Claim]]]],
        reception: ServiceReception,
        forwarder: Forwarder,
        clock: Clock,
        *,
        topics_in: str,
        meets_in: str,
    ) -> None:
        self._service = service
        self._topics_in = topics_in
        self._meets_in = meets_in
        self._transport = transport
        self._directory = directory
        self._shares = shares
        self._reception = reception
        self._forwarder = forwarder
        self._clock = clock
        self._store = ""

    def __repr__(self) -> str:
        return f"<Services seen by {self._service.name}>"

    async def start(self, store: str) -> None:
        """Take requests for this service. Parameter: `store` is the identity of its store.

        Raises `ConfigurationError` when another store's service has this name.
        """
        name, self._store = self._service.name, store
        for other in await self._directory.find(name):
            if other.metadata.get("store") != self._store:
                raise ConfigurationError(
                    f"a service {name!r} with another store runs on this broker already, at "
                    f"{other.metadata.get('url')}: rename one of them, or give it a broker, or a "
                    "NATS account, of its own"
                )
        await self._transport.serve(name, self._reception.receive)
        await self._transport.serve(description.address(name), self._describe)

    async def announce(self, id: str, facts: dict[str, Any]) -> None:
        """Let this node be found. Parameters: `id` is of this life of it; `facts` tell of it."""
        entry = description.instance(self._service, id, {**facts, "store": self._store})
        await self._directory.announce(entry, lambda: self._reception.counts)

    async def stop(self) -> None:
        """Be found no more, take no requests."""
        await self._directory.withdraw()
        await self._transport.withdraw(self._service.name)
        await self._transport.withdraw(description.address(self._service.name))

    async def ask(self, request: Asked) -> bytes:
        """Let another service run a command or query; return its encoded reply.

        Raises what it raised there, `Unreachable` with the code `unavailable.service` if there is
        no such service, `DeadlineExceeded`.
        """
        deadline = request.deadline
        sent = Request(
            request.component,
            request.id,
            request.name,
            request.arguments,
            None if request.idempotency_key is None else self._unique(request.idempotency_key),
            None if deadline is None else deadline - self._clock.monotonic(),
            request.metadata if request.cause is None else self._caused_by(request.cause),
            None,
            keeps_rejection=False,
        )
        try:
            return await self._forwarder.send(request.service, sent)
        except Unreachable as error:
            raise Unreachable(
                f"no service {request.service!r} can be reached now ({error.message}): start it "
                + self._meets_in,
                code="unavailable.service",
            ) from error

    def _unique(self, id: str) -> str:
        """Ids of events, and keys made of them, are one service's own until its name is there."""
        return f"{self._service.name}/{id}"

    def _caused_by(self, cause: Entry) -> dict[str, Any]:
        caused: dict[str, Any] = msgspec.to_builtins(causation_of(cause, self._unique(cause.id)))
        return caused

    async def find(self, service: str = "") -> list[Instance]:
        """Return the living nodes of a service, or of all."""
        return await self._directory.find(service)

    async def describe(self, service: str) -> Description:
        """Return what a service is, as one of its nodes tells it.

        Raises `NotFound` when none lives.
        """
        return await described(self._transport, service)

    async def _describe(self, payload: bytes) -> bytes:
        told = await description.describe(self._service, *await self._shares(), self._topics_in)
        return msgspec.json.encode(told)


class ServiceReception(Reception):
    """Takes what other services ask for: commands and queries of entities, queries of views."""

    def __init__(
        self,
        execute: Callable[[Envelope], Awaitable[bytes]],
        lookup: Lookup,
        clock: Clock,
        definitions: Mapping[str, ViewDefinition],
        views: Views,
    ) -> None:
        super().__init__(execute, lookup, clock)
        self._definitions = definitions
        self._views = views
        self.counts = Counts()

    async def _answer(self, request: Request) -> Answer:
        began = self._clock.monotonic()
        answer = await super()._answer(request)
        self.counts.requests += 1
        self.counts.errors += answer.failure is not None
        self.counts.seconds += self._clock.monotonic() - began
        return answer

    async def _reply(self, request: Request) -> bytes:
        if request.name.startswith("$") or request.origin is not None:
            raise UnknownHandler(f"{request.name[:40]!r} is not for other services")
        definition = self._definitions.get(request.component)
        if definition is None:
            return await self._entity(request)
        query = definition.queries.get(request.name)
        if query is None:
            known = ", ".join(definition.queries)
            raise UnknownHandler(
                f"view {request.component!r} has no query {request.name!r}; there is {known}"
            )
        arguments = query.handler.decode_arguments(request.arguments)
        return (await self._views.reply(request.component, request.name, arguments)).content

    async def _entity(self, request: Request) -> bytes:
        try:
            return await super()._reply(request)
        except (NotOwner, Unreachable) as error:
            # Said to who asked, it would mean that nobody of this service is there.
            raise Unavailable(f"the entity is between two nodes: {error.message}") from error


async def described(transport: Transport, service: str) -> Description:
    """Ask one of a service's nodes what it is.

    Raises `NotFound` when none lives.
    """
    try:
        answer = await transport.request(description.address(service), b"", DESCRIBE_SECONDS)
    except Unreachable as error:
        raise NotFound(f"no service {service!r} runs now") from error
    return msgspec.json.decode(answer, type=Description)


async def check_owner(store: Store, committer: Committer, service: str) -> None:
    """Make the store this service's if it is nobody's.

    Raises `ConfigurationError` if it is another's.
    """
    if OWNER not in await store.registry():
        taking = Commit(registry={OWNER: service.encode()}, expected={OWNER: None})
        with suppress(Conflict):  # another node was faster, perhaps of another service
            await committer.submit_alone(taking)
    owner = (await store.registry())[OWNER]
    if owner.decode() != service:
        raise ConfigurationError(
            f"the store belongs to service {owner.decode()!r}: give {service!r} a database of its "
            "own (several may be on one PostgreSQL server)"
        )
