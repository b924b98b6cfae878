"""Topics of other services: found by name, followed from then on.

Place on the road: beside the streams. A foreign topic is a stream of its service in the broker that
both share; here it has a number and message shards like our own topics, so whatever follows it runs
where its shards are, with offsets of this store. What lies in it is decided by that service alone.

Invariants: nothing is read before the stream is known to be the one that was read before: positions
say nothing about another; who is not there yet is waited for, and looked for again and again; what
does not fit is told whenever it changes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

import msgspec
import structlog

from eventmill.errors import ConfigurationError, Conflict, NotFound, Unavailable
from eventmill.model.commit import Commit
from eventmill.model.topic import Topic
from eventmill.ports.broker import Neighbour
from eventmill.runtime import description
from eventmill.runtime.description import Description

if TYPE_CHECKING:
    from eventmill.runtime.runtime import Runtime

log = structlog.get_logger()

LOOK_SECONDS: Final = 5.0
"""How often a node looks for topics that are missing, and whether the others are what they were."""

State = Literal["there", "missing", "other"]
"""Of a topic's stream: it is read, there is none, it must not be read: it is not the one that was
read before, or not for others."""

FACT: Final = "stream/"
"""Begins the durable fact which stream a foreign topic is; the topic's id follows."""


def check_reachable(topics: Mapping[str, Topic[Any]], neighbours: Collection[str]) -> None:
    """Refuse topics of services that are not in this process, on a node that has no broker to read
    them from.

    Raises `ConfigurationError` if there are any.
    """
    for topic in topics.values():
        if topic.service not in neighbours:
            raise ConfigurationError(
                f"topic {topic.name!r} of service {topic.service!r} cannot be read from here: run "
                "both in one process (eventmill run SERVICE SERVICE), or both on one broker: start "
                "with --store postgresql://… --broker nats://…, and without --topics store",
                code="configuration.topics",
            )


class Place(Protocol):
    """Where topics of other services are: the broker, or the stores of neighbours."""

    async def attach(self, number: int, service: str, topic: str) -> Neighbour | None:
        """Find a topic, as `Broker.attach` does."""
        ...

    def let_in(self, topic: str) -> bool:
        """Let a topic be read from now on; return whether it was not before."""
        ...

    def shut(self, topic: str) -> None:
        """Let a topic be read no more: it is not there."""
        ...


class ForeignTopics:
    """Looks for the topics of other services that are followed here."""

    def __init__(self, runtime: Runtime, place: Place) -> None:
        self._runtime = runtime
        self._place = place
        self._topics = runtime.service.foreign
        self._news = asyncio.Event()
        self._known: dict[str, Neighbour] = {}
        """As which each was read last."""
        self._compared: set[str] = set()
        """Those whose contract was seen."""
        self.waiting: dict[str, str] = {}
        """Why some are not read now, as it was told."""

    def __repr__(self) -> str:
        return f"<ForeignTopics {sorted(self._topics)}>"

    async def attach(self) -> None:
        """Let those be read that there are.

        Raises `BrokerUnavailable`, `StoreUnavailable`.
        """
        for topic in self._topics.values():
            await self._attach(topic)

    async def start(self) -> None:
        """Look at all, now and again and again.

        Raises `ConfigurationError` for a topic that will never be in the broker.
        """
        for topic in self._topics.values():
            await self._look(topic, is_first=True)
        if self._topics:
            self._runtime.supervisor.start("foreign topics", self._run())

    def wake(self) -> None:
        """Look soon: one may have come or gone."""
        self._news.set()

    def check_other(self, topic: str) -> None:
        """Raise `Conflict` unless a topic's stream is not the one that was read before."""
        if self.waiting.get(topic) != _other(self._topics[topic]):
            raise Conflict(f"topic {topic!r} is the one that was read before: reset its readers")

    async def adopt(self, topic: str) -> None:
        """Forget which stream a topic was: the one that is there now is read from now on."""
        name = FACT + topic
        await self._runtime.facts.change(Commit(registry={name: None}))
        self._known.pop(topic, None)
        await self._look(self._topics[topic])

    async def _run(self) -> None:
        while True:
            await self._runtime.clock.wait(self._news, LOOK_SECONDS)
            self._news.clear()
            for topic in self._topics.values():
                await self._look(topic)

    async def _look(self, topic: Topic[Any], *, is_first: bool = False) -> None:
        try:
            state = await self._attach(topic)
            if state == "other" or topic.id in self._compared:
                return
            service = await self._ask(topic.service)
        except Unavailable as error:
            if topic.id not in self._known:
                self._tell(topic, f"it cannot be looked for now: {error.message}")
            return
        if state == "there":
            self._compare(topic, service)
        else:
            self._miss(topic, service, is_first=is_first)

    async def _attach(self, topic: Topic[Any]) -> State:
        """Look for the topic's stream; let it be read if it is the one that it was before."""
        number = self._runtime.store.placement.topics[topic.id]
        found = await self._place.attach(number, topic.service, topic.name)
        is_theirs = found is not None and found.when_read
        if found is not None and not is_theirs and await self._is_known(topic, found):
            if self._place.let_in(topic.id):
                self.waiting.pop(topic.id, None)
                log.info("topic of another service is read", topic=topic.id, shards=found.shards)
            return "there"
        self._place.shut(topic.id)
        self._compared.discard(topic.id)
        if found is None:
            return "missing"
        self._tell(topic, _unread(topic) if is_theirs else _other(topic), is_wrong=True)
        return "other"

    async def _is_known(self, topic: Topic[Any], found: Neighbour) -> bool:
        """Whether it is the stream that was read before; the first that is found is remembered."""
        if self._known.get(topic.id) == found:
            return True
        name, fact, store = FACT + topic.id, msgspec.json.encode(found), self._runtime.store
        if name not in await store.registry():
            first = Commit(registry={name: fact}, expected={name: None})
            with suppress(Conflict):  # another node was faster
                await self._runtime.committer.submit_alone(first)
        if (await store.registry())[name] != fact:
            return False
        self._known[topic.id] = found
        return True

    async def _ask(self, service: str) -> Description | None:
        services = self._runtime.services
        if services is None:
            return None
        with suppress(NotFound):
            return await services.describe(service)
        return None

    def _miss(self, topic: Topic[Any], service: Description | None, *, is_first: bool) -> None:
        """Tell why there is no stream."""
        if service is None:
            self._tell(topic, f"no node of service {topic.service!r} answers")
            return
        theirs = {one.id: one.place for one in service.topics if not one.service}
        if topic.name not in theirs:
            known = ", ".join(theirs) or "none"
            self._tell(topic, f"service {topic.service!r} has no such topic; it has {known}", True)
        elif theirs[topic.name] == description.STORE:
            text = (
                f"service {topic.service!r} keeps topic {topic.name!r} in its store, where only "
                "its own nodes read it: start that service, with a store without messages, with "
                "--broker nats://… and without --topics store; or let it push the topic over HTTP"
            )
            if is_first:
                raise ConfigurationError(text, code="configuration.topics")
            self._tell(topic, text, True)
        else:
            self._tell(topic, "its stream is not there yet")

    def _compare(self, topic: Topic[Any], service: Description | None) -> None:
        """Tell if what is declared here is not what the service says of its topic."""
        if service is None:
            return  # it is away; what it left is read
        self._compared.add(topic.id)
        carried = {t for one in service.topics if one.id == topic.name for t in one.types}
        kinds = [{kind.name, *kind.aliases} for kind in topic.event_types()]
        missing = sorted(min(names) for names in kinds if not names & carried)
        if missing:
            log.error(
                "topic of another service does not carry what is declared here",
                topic=topic.id,
                missing=missing,
                carried=sorted(carried),
            )
        unknown = sorted(carried - set().union(*kinds))
        if unknown and self._parks_unknown(topic):
            log.error(
                "topic of another service carries types that are not declared here: their messages "
                "become dead letters, unless ignore_unknown is set",
                topic=topic.id,
                unknown=unknown,
            )

    def _parks_unknown(self, topic: Topic[Any]) -> bool:
        service = self._runtime.service
        views, consumers = service.views.values(), service.consumers.values()
        followers = [(c.ignore_unknown, {c.source.id}) for c in consumers]
        followers += [(v.ignore_unknown, {h.source.id for h in v.handlers}) for v in views]
        transforms = service.transforms.values()
        followers += [(t.ignore_unknown, {one.source.id for one in t.inputs}) for t in transforms]
        return any(topic.id in sources and not ignores for ignores, sources in followers)

    def _tell(self, topic: Topic[Any], why: str, is_wrong: bool = False) -> None:
        """Log why a topic is not read, once. Parameter: `is_wrong`: somebody must act."""
        if self.waiting.get(topic.id) == why:
            return
        self.waiting[topic.id] = why
        tell = log.error if is_wrong else log.info
        tell("waiting for a topic of another service", topic=topic.id, why=why)


def _unread(topic: Topic[Any]) -> str:
    return (
        f"service {topic.service!r} removes its messages as soon as it has read them itself "
        "(retention=WHEN_READ): nobody else can follow it. Keep them for a time there, and change "
        "the stream, too"
    )


def _other(topic: Topic[Any]) -> str:
    return (
        f"its stream is not the one that was read before: service {topic.service!r} has a new "
        "store, or somebody made it anew. To read it from its beginning: eventmill topics adopt "
        f"{topic.id}"
    )
